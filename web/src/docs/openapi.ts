/** An OpenAPI 3.1 document as the page reads it: operations by tag, schemas as rows. Pure. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  additionalProperties?: boolean | Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  default?: unknown;
  example?: unknown;
}

interface Content {
  [mediaType: string]: { schema?: Schema; example?: unknown };
}

interface Parameter {
  $ref?: string;
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema?: Schema;
}

interface RawOperation {
  tags?: string[];
  summary?: string;
  description?: string;
  operationId?: string;
  parameters?: Parameter[];
  requestBody?: { description?: string; content?: Content };
  responses?: Record<string, { $ref?: string; description?: string; content?: Content }>;
  security?: Record<string, string[]>[];
  deprecated?: boolean;
}

export interface Document {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, RawOperation>>;
  tags?: { name: string; description?: string }[];
  components?: Record<string, Record<string, unknown>>;
}

export interface Operation extends RawOperation {
  method: string;
  path: string;
  anchor: string;
}

export interface Row {
  name: string;
  depth: number;
  type: string;
  required: boolean;
  description: string;
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const DEEPEST = 5;

/** Operations in the document's order, under their first tag. */
export function operationsByTag(document: Document): [string, Operation[]][] {
  const groups = new Map<string, Operation[]>((document.tags ?? []).map(({ name }) => [name, []]));
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const raw = item[method];
      if (!raw) continue;
      const tag = raw.tags?.[0] ?? '…';
      const anchor = `${method}-${path}`.replace(/[^a-zA-Z0-9]+/g, '-').replace(/-$/, '');
      groups.set(tag, [...(groups.get(tag) ?? []), { ...raw, method, path, anchor }]);
    }
  }
  return [...groups].filter(([, operations]) => operations.length > 0);
}

/** Follows a local reference. */
export function resolve<T extends { $ref?: string }>(document: Document, value: T): T {
  if (!value.$ref?.startsWith('#/')) return value;
  const found = value.$ref
    .slice(2)
    .split('/')
    .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document);
  return (found as T | undefined) ?? value;
}

/** The type of a schema in one short text. */
export function typeOf(document: Document, given: Schema | undefined): string {
  if (!given) return '';
  if (given.$ref && !resolve(document, given).enum) {
    const target = resolve(document, given);
    if (target.type === 'object' || target.properties || target.oneOf || target.allOf) return given.$ref.split('/').at(-1)!;
  }
  const schema = resolve(document, given);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map((one) => typeOf(document, one)).filter(Boolean).join(' | ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.items) return `${typeOf(document, schema.items)}[]`;
  const types = Array.isArray(schema.type) ? schema.type.join(' | ') : (schema.type ?? '');
  return schema.format ? `${types} (${schema.format})` : types;
}

/** What limits a value, in words of the standard. */
function limits(schema: Schema): string {
  const parts: string[] = [];
  if (schema.minimum !== undefined) parts.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) parts.push(`≤ ${schema.maxLength} characters`);
  if (schema.pattern) parts.push(schema.pattern);
  if (schema.default !== undefined) parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.join(', ');
}

/** A schema's fields as indented rows; references are opened once on each way down. */
export function rowsOf(document: Document, given: Schema | undefined, depth = 0, seen: readonly string[] = []): Row[] {
  if (!given || depth > DEEPEST) return [];
  if (given.$ref) {
    if (seen.includes(given.$ref)) return [];
    return rowsOf(document, resolve(document, given), depth, [...seen, given.$ref]);
  }
  const parts = [...(given.allOf ?? []), ...(given.oneOf ?? []), ...(given.anyOf ?? [])];
  const inherited = parts.flatMap((part) => rowsOf(document, part, depth, seen));
  if (given.items) return [...inherited, ...rowsOf(document, given.items, depth, seen)];
  const own = Object.entries(given.properties ?? {}).flatMap(([name, property]): Row[] => {
    const target = resolve(document, property);
    const description = [property.description ?? target.description, limits(target)].filter(Boolean).join(' · ');
    return [
      { name, depth, type: typeOf(document, property), required: given.required?.includes(name) ?? false, description },
      ...rowsOf(document, property, depth + 1, seen),
    ];
  });
  return [...inherited, ...own];
}
