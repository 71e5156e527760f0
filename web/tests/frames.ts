/** Frames written from the specification, for tests. */
import { eachEntry, ENTRY_BYTES, HEADER_BYTES, readHeader, type Entry } from '../src/live/fleetFrame';

export interface Written {
  handle: number;
  lat: number;
  lon: number;
  heading?: number;
  speed?: number;
  age?: number;
  status?: number;
}

export function frame(given: { type: number; version?: number; topic?: bigint; epoch?: number; seq?: number; originLat?: number; originLon?: number; entries: Written[] }): ArrayBuffer {
  const { originLat = 35.9, originLon = 14.5, entries } = given;
  const buffer = new ArrayBuffer(HEADER_BYTES + entries.length * ENTRY_BYTES);
  const view = new DataView(buffer);
  view.setUint8(0, given.type);
  view.setUint8(1, given.version ?? 1);
  view.setUint16(2, entries.length, true);
  view.setBigUint64(4, given.topic ?? 1n, true);
  view.setUint32(12, given.epoch ?? 1, true);
  view.setUint32(16, given.seq ?? 1, true);
  view.setBigUint64(20, 1_764_000_000_000n, true);
  view.setInt32(28, Math.round(originLat * 1e7), true);
  view.setInt32(32, Math.round(originLon * 1e7), true);
  entries.forEach((entry, i) => {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    view.setUint32(at, entry.handle, true);
    view.setInt32(at + 4, Math.round((entry.lat - originLat) * 1e6), true);
    view.setInt32(at + 8, Math.round((entry.lon - originLon) * 1e6), true);
    view.setUint8(at + 12, Math.round(((entry.heading ?? 0) * 256) / 360));
    view.setUint8(at + 13, Math.round((entry.speed ?? 0) * 2));
    view.setUint8(at + 14, entry.age ?? 0);
    view.setUint8(at + 15, entry.status ?? 2);
  });
  return buffer;
}

export function entriesOf(buffer: ArrayBuffer): Entry[] {
  const entries: Entry[] = [];
  eachEntry(buffer, readHeader(buffer), (entry) => entries.push({ ...entry }));
  return entries;
}
