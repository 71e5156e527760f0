/**
 * The binary frames of the fleet channel.
 *
 * Little-endian header of 40 B {type u8, version u8, count u16, topic u64, epoch u32, seq u32,
 * server_ms u64, origin lat i32, lon i32 at 1e-7°, reserved u32}, then 16 B an entry {handle u32,
 * dlat i32, dlon i32 at 1e-6°, heading u8 in 360/256°, speed u8 in 0.5 m/s, age u8 in s, status u8}.
 */

export const HEADER_BYTES = 40;
export const ENTRY_BYTES = 16;
export const VERSION = 1;

export const SNAPSHOT = 1;
export const DELTA = 2;

/** The status byte, in the protocol's order. */
export const STATUSES = ['idle', 'to_pickup', 'delivering', 'stopped', 'stale', 'offline'] as const;
export type FleetStatus = (typeof STATUSES)[number];

export interface FrameHeader {
  type: typeof SNAPSHOT | typeof DELTA;
  count: number;
  /** Sixteen hex digits, as in the text frames. */
  topic: string;
  epoch: number;
  seq: number;
  serverMs: number;
  originLat: number;
  originLon: number;
}

export interface Entry {
  handle: number;
  lat: number;
  lon: number;
  headingDeg: number;
  speedMps: number;
  /** Seconds since the fix; 255 means that or more. */
  ageS: number;
  status: number;
}

export class FrameError extends Error {}

/** Reads the header, checking that the frame is whole. */
export function readHeader(buffer: ArrayBuffer): FrameHeader {
  if (buffer.byteLength < HEADER_BYTES) throw new FrameError(`frame of ${buffer.byteLength} bytes has no header`);
  const view = new DataView(buffer);
  const type = view.getUint8(0);
  const version = view.getUint8(1);
  const count = view.getUint16(2, true);
  if (version !== VERSION) throw new FrameError(`frame version ${version} is unknown`);
  if (type !== SNAPSHOT && type !== DELTA) throw new FrameError(`frame type ${type} is unknown`);
  if (buffer.byteLength !== HEADER_BYTES + count * ENTRY_BYTES) {
    throw new FrameError(`frame of ${buffer.byteLength} bytes does not hold ${count} entries`);
  }
  return {
    type,
    count,
    topic: view.getBigUint64(4, true).toString(16).padStart(16, '0'),
    epoch: view.getUint32(12, true),
    seq: view.getUint32(16, true),
    serverMs: Number(view.getBigUint64(20, true)),
    originLat: view.getInt32(28, true) * 1e-7,
    originLon: view.getInt32(32, true) * 1e-7,
  };
}

/**
 * Calls `visit` with each entry. The entry object is one and the same and overwritten at each call:
 * thousands of them are read a second.
 */
export function eachEntry(buffer: ArrayBuffer, header: FrameHeader, visit: (entry: Entry) => void): void {
  const view = new DataView(buffer);
  const entry: Entry = { handle: 0, lat: 0, lon: 0, headingDeg: 0, speedMps: 0, ageS: 0, status: 0 };
  for (let at = HEADER_BYTES; at < buffer.byteLength; at += ENTRY_BYTES) {
    entry.handle = view.getUint32(at, true);
    entry.lat = header.originLat + view.getInt32(at + 4, true) * 1e-6;
    entry.lon = header.originLon + view.getInt32(at + 8, true) * 1e-6;
    entry.headingDeg = (view.getUint8(at + 12) * 360) / 256;
    entry.speedMps = view.getUint8(at + 13) * 0.5;
    entry.ageS = view.getUint8(at + 14);
    entry.status = view.getUint8(at + 15);
    visit(entry);
  }
}

/** A topic or cell id as it comes in text frames, brought to sixteen digits. */
export function topicId(hex: string): string {
  return hex.toLowerCase().replace(/^0x/, '').padStart(16, '0');
}
