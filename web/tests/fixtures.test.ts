/** Messages as the server writes them (`web/fixtures`, made by the server's own tests), read by the pages. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHeader } from '../src/live/fleetFrame';
import { parseTrackMessage, reduce, type Track } from '../src/live/track';
import { entriesOf } from './frames';

const FOLDER = join(import.meta.dirname, '../fixtures');
const names = existsSync(FOLDER) ? readdirSync(FOLDER).sort() : [];
const KNOWN = ['snapshot', 'fix', 'hidden', 'status', 'eta', 'hb', 'drain', 'error', 'hello', 'topics', 'names', 'removed', 'cells'];

describe.skipIf(names.length === 0)('the server’s messages', () => {
  it.each(names.filter((name) => name.endsWith('.json')))('%s is known', (name) => {
    const given: unknown = JSON.parse(readFileSync(join(FOLDER, name), 'utf8'));
    for (const message of Array.isArray(given) ? given : [given]) {
      expect(KNOWN).toContain(parseTrackMessage(JSON.stringify(message))?.type);
    }
  });

  it.each(names.filter((name) => name.endsWith('.bin')))('%s is a whole frame with places on Earth', (name) => {
    const bytes = readFileSync(join(FOLDER, name));
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    const header = readHeader(buffer);
    const entries = entriesOf(buffer);
    expect(entries).toHaveLength(header.count);
    for (const entry of entries) {
      expect(Math.abs(entry.lat)).toBeLessThanOrEqual(90);
      expect(Math.abs(entry.lon)).toBeLessThanOrEqual(180);
      expect(entry.status).toBeLessThanOrEqual(5);
    }
  });

  it('the customer’s messages can be applied one after the other', () => {
    const messages = names.filter((name) => /^track.*\.json$/.test(name)).flatMap((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as unknown);
    const track = messages.flat().reduce<Track | undefined>((known, message) => reduce(known, parseTrackMessage(JSON.stringify(message))!), undefined);
    if (messages.length > 0) expect(track?.snapshot.delivery.timeline.length).toBeGreaterThan(0);
  });
});
