import { describe, expect, it } from 'vitest';
import { operationsByTag, rowsOf, typeOf, type Document } from '../src/docs/openapi';

const document: Document = {
  info: { title: 'Waylog', version: '1' },
  tags: [{ name: 'couriers' }, { name: 'empty' }],
  paths: {
    '/v1/couriers': { get: { tags: ['couriers'], responses: {} }, post: { tags: ['couriers'], responses: {} } },
    '/v1/me': { get: { responses: {} } },
  },
  components: {
    schemas: {
      Courier: { type: 'object', required: ['id'], properties: { id: { type: 'string', maxLength: 64 }, lead: { $ref: '#/components/schemas/Courier' }, tags: { type: 'array', items: { type: 'string' } }, status: { $ref: '#/components/schemas/Status' } } },
      Status: { type: 'string', enum: ['idle', 'offline'] },
    },
  },
};

describe('the API’s description', () => {
  it('is grouped by tag, in its own order', () => {
    expect(operationsByTag(document).map(([tag, operations]) => [tag, operations.map((one) => one.anchor)])).toEqual([
      ['couriers', ['get-v1-couriers', 'post-v1-couriers']],
      ['…', ['get-v1-me']],
    ]);
  });

  it('opens references, and ends where a schema holds itself', () => {
    const rows = rowsOf(document, { $ref: '#/components/schemas/Courier' });
    expect(rows.map((row) => [row.name, row.type, row.required])).toEqual([
      ['id', 'string', true], ['lead', 'Courier', false], ['tags', 'string[]', false], ['status', '"idle" | "offline"', false],
    ]);
    expect(rows[0]!.description).toBe('≤ 64 characters');
    expect(typeOf(document, { type: 'array', items: { $ref: '#/components/schemas/Courier' } })).toBe('Courier[]');
  });
});
