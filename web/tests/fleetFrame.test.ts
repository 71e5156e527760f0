import { describe, expect, it } from 'vitest';
import { DELTA, ENTRY_BYTES, eachEntry, FrameError, HEADER_BYTES, readHeader, SNAPSHOT, topicId } from '../src/live/fleetFrame';
import { entriesOf, frame } from './frames';

describe('a frame of the fleet channel', () => {
  it('reads back what the layout says, byte by byte', () => {
    // Written out by hand: nothing here comes from the code under test.
    const hex =
      '02' + '01' + '0100' + // delta, version 1, one entry
      'ffff0f1228f35208' + // topic 0x0852f328120fffff
      '07000000' + '2a000000' + // epoch 7, seq 42
      '00e1f50500000000' + // server_ms 100,000,000
      'c0e76515' + '4086a408' + // 35.9° and 14.5° at 1e-7°
      '00000000' +
      '39300000' + 'd0070000' + '18fcffff' + // handle 12345, dlat +2000, dlon −1000 at 1e-6°
      '40' + '14' + '05' + '02'; // 90°, 10 m/s, 5 s old, delivering
    const buffer = Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16)).buffer;
    const header = readHeader(buffer);
    expect(header).toMatchObject({ type: DELTA, count: 1, topic: '0852f328120fffff', epoch: 7, seq: 42, serverMs: 100_000_000 });
    expect(header.originLat).toBeCloseTo(35.9, 7);
    expect(header.originLon).toBeCloseTo(14.5, 7);
    const [entry] = entriesOf(buffer);
    expect(entry).toMatchObject({ handle: 12_345, headingDeg: 90, speedMps: 10, ageS: 5, status: 2 });
    expect(entry!.lat).toBeCloseTo(35.902, 6);
    expect(entry!.lon).toBeCloseTo(14.499, 6);
  });

  it('holds no entry at all, or tens of thousands', () => {
    expect(entriesOf(frame({ type: SNAPSHOT, entries: [] }))).toEqual([]);
    const many = Array.from({ length: 60_000 }, (_, i) => ({ handle: i, lat: 35.9 + i * 1e-6, lon: 14.5 }));
    const read = entriesOf(frame({ type: SNAPSHOT, entries: many }));
    expect(read).toHaveLength(60_000);
    expect(read.at(-1)!.lat).toBeCloseTo(35.959_999, 6);
  });

  it('lies on both sides of the equator and of Greenwich', () => {
    const [entry] = entriesOf(frame({ type: DELTA, originLat: -33.9, originLon: -70.6, entries: [{ handle: 1, lat: -33.95, lon: -70.55 }] }));
    expect(entry!.lat).toBeCloseTo(-33.95, 6);
    expect(entry!.lon).toBeCloseTo(-70.55, 6);
  });

  it.each([
    ['no header', new ArrayBuffer(HEADER_BYTES - 1)],
    ['half an entry', frame({ type: DELTA, entries: [{ handle: 1, lat: 0, lon: 0 }] }).slice(0, HEADER_BYTES + ENTRY_BYTES - 1)],
    ['more bytes than entries', (() => { const b = new Uint8Array(HEADER_BYTES + 1); b.set([2, 1]); return b.buffer; })()],
    ['another version', frame({ type: DELTA, version: 2, entries: [] })],
    ['an unknown type', frame({ type: 9, entries: [] })],
  ])('is refused with %s', (_, buffer) => {
    expect(() => readHeader(buffer)).toThrow(FrameError);
  });

  it('visits with one object, to spare the collector', () => {
    const buffer = frame({ type: DELTA, entries: [{ handle: 1, lat: 0, lon: 0 }, { handle: 2, lat: 0, lon: 0 }] });
    const seen = new Set<object>();
    eachEntry(buffer, readHeader(buffer), (entry) => seen.add(entry));
    expect(seen.size).toBe(1);
  });
});

describe('topic ids', () => {
  it('are the same in text and in binary frames', () => {
    expect(topicId('852f328120fffff')).toBe('0852f328120fffff');
    expect(topicId('0x852F328120FFFFF')).toBe('0852f328120fffff');
    expect(readHeader(frame({ type: DELTA, topic: 0x852f328120fffffn, entries: [] })).topic).toBe(topicId('852f328120fffff'));
  });
});
