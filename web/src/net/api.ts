/**
 * The REST API as the pages use it: one function a call, errors as one class with words a person
 * can read. Unsafe methods carry the session's CSRF token.
 */

export interface Session {
  name: string;
  role: 'admin' | 'dispatcher' | 'analyst';
  csrf_token: string;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** A refused or failed request. `status` is 0 when no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly retryAfterS?: number,
  ) {
    super(message);
  }
}

let csrfToken: string | undefined;

/** Remembers the CSRF token of a session that was just opened or read. */
export function adopt(session: Session): Session {
  csrfToken = session.csrf_token;
  return session;
}

export type Query = Record<string, string | number | boolean | undefined | null>;

/** `/path?…` with the values that are given. */
export function withQuery(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return search.size > 0 ? `${path}?${search}` : path;
}

export interface CallOptions {
  query?: Query;
  /** Sent as JSON; a file as it is, with its own type. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** A bearer token instead of the session cookie. */
  token?: string;
}

/** Makes one call and answers with its JSON (`undefined` for an empty answer). */
export async function call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  const file = options.body instanceof Blob ? options.body : undefined;
  if (options.body !== undefined) headers['content-type'] = file ? file.type : 'application/json';
  if (options.token) headers.authorization = `Bearer ${options.token}`;
  else if (method !== 'GET' && csrfToken) headers['x-csrf-token'] = csrfToken;
  let response: Response;
  try {
    response = await fetch(withQuery(path, options.query), {
      method,
      headers,
      credentials: options.token ? 'omit' : 'same-origin',
      ...(options.body === undefined ? {} : { body: file ?? JSON.stringify(options.body) }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    throw new ApiError(0, navigator.onLine ? 'no-answer' : 'offline');
  }
  const text = await response.text();
  const value: unknown = text ? parse(text) : undefined;
  if (!response.ok) throw refusal(response, value);
  return value as T;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(response: Response, problem: unknown): ApiError {
  const { detail, title } = (problem ?? {}) as { detail?: string; title?: string };
  const retryAfter = Number(response.headers.get('retry-after'));
  return new ApiError(
    response.status,
    detail || title || `${response.status} ${response.statusText}`.trim(),
    Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : undefined,
  );
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> =>
  call<T>('GET', path, { ...(query ? { query } : {}), ...(signal ? { signal } : {}) });

export const post = <T>(path: string, body: unknown = {}, headers?: Record<string, string>): Promise<T> =>
  call<T>('POST', path, { body, ...(headers ? { headers } : {}) });

export const remove = (path: string): Promise<void> => call<void>('DELETE', path);

/** Hex digits that nobody else has; `crypto.randomUUID` is missing on plain http in a local network. */
export function chance(digits: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(digits / 2)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('').slice(0, digits);
}

/** A POST that creates, safe to repeat: the same key gets the same answer. */
export const create = <T>(path: string, body: unknown): Promise<T> =>
  post<T>(path, body, { 'idempotency-key': chance(32) });

/** Where to go to sign in and come back. */
export function signInUrl(): string {
  return `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
}

/** The signed-in person; goes to the sign-in page, and never returns, when there is none. */
export async function requireSession(): Promise<Session> {
  try {
    return adopt(await get<Session>('/v1/me'));
  } catch (error) {
    if (error instanceof ApiError && (error.status === 401 || error.status === 403)) {
      location.replace(signInUrl());
      return new Promise(() => {});
    }
    throw error;
  }
}

/** The path segment of an id. */
export const id = encodeURIComponent;
