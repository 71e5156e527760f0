/**
 * The customer channel: its messages and what a page knows after each of them.
 *
 * `reduce` is pure. A snapshot replaces everything; any other message is applied only when its
 * sequence number is newer than what is known, so that a resumed stream may repeat itself.
 */

export type Status =
  | 'created'
  | 'assigned'
  | 'picked_up'
  | 'arrived'
  | 'delivered'
  | 'failed'
  | 'cancelled';

export type WhyHidden = 'not_started' | 'other_stop' | 'stale' | 'finished';

export interface Fix {
  lat: number;
  lon: number;
  heading_deg?: number | null;
  speed_mps?: number | null;
  accuracy_m?: number | null;
  /** RFC 3339 or milliseconds since the epoch. */
  fix_time: string | number;
}

export interface Place {
  lat: number;
  lon: number;
  label?: string | null;
}

export interface TimelineStep {
  status: Status;
  at: string;
}

export interface Snapshot {
  type: 'snapshot';
  epoch: string | number;
  seq: number;
  delivery: {
    status: Status;
    timeline: TimelineStep[];
    dropoff: Place | null;
    window?: { from?: string | null; to?: string | null } | null;
    reference?: string | null;
  };
  courier: { name?: string | null; vehicle?: string | null } | null;
  brand?: Brand | null;
  position: Fix | null;
  why_hidden: WhyHidden | null;
  eta: { from: string; to: string } | null;
  stops_before: number | null;
  path: [number, number][] | null;
  route: [number, number][] | null;
  viewers?: number;
}

export interface Brand {
  name?: string | null;
  logo_url?: string | null;
  accent?: string | null;
  phone?: string | null;
}

export type TrackMessage =
  | Snapshot
  | ({ type: 'fix'; seq: number } & Fix)
  | { type: 'hidden'; seq: number; why: WhyHidden }
  | { type: 'status'; seq: number; status: Status; at: string }
  | { type: 'eta'; seq: number; from: string | null; to: string | null }
  | { type: 'hb'; server_time: string | number }
  | { type: 'drain'; retry_ms: number }
  | { type: 'error'; code: string; detail?: string };

/** What the page shows. `clockOffsetMs` = server clock − this device's clock. */
export interface Track {
  epoch: string | number;
  seq: number;
  snapshot: Snapshot;
}

/** Milliseconds since the epoch of a time given either way; NaN when it is neither. */
export function millis(time: string | number | null | undefined): number {
  if (typeof time === 'number') return time;
  return time ? Date.parse(time) : Number.NaN;
}

/** Reads one text frame; `undefined` for anything that is no message (ignored, newer servers may say more). */
export function parseTrackMessage(text: string): TrackMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined;
  return value as TrackMessage;
}

/** The track after a message; the same object when nothing changed. */
export function reduce(track: Track | undefined, message: TrackMessage): Track | undefined {
  if (message.type === 'snapshot') {
    return { epoch: message.epoch, seq: message.seq, snapshot: message };
  }
  if (!track || !('seq' in message) || message.seq <= track.seq) return track;
  const known = track.snapshot;
  const after = (change: Partial<Snapshot>): Track => ({
    epoch: track.epoch,
    seq: message.seq,
    snapshot: { ...known, ...change },
  });
  switch (message.type) {
    case 'fix': {
      const { type: _type, seq: _seq, ...position } = message;
      return after({ position, why_hidden: null, path: longer(known.path, position) });
    }
    case 'hidden':
      return after({ position: null, why_hidden: message.why, path: null, route: null });
    case 'eta':
      return after({ eta: message.from && message.to ? { from: message.from, to: message.to } : null });
    case 'status': {
      const step = { status: message.status, at: message.at };
      const delivery = {
        ...known.delivery,
        status: message.status,
        timeline: [...known.delivery.timeline, step],
      };
      const ended = isOver(message.status);
      return after(
        ended
          ? { delivery, position: null, why_hidden: 'finished', eta: null, path: null, route: null }
          : { delivery },
      );
    }
  }
}

/** Most corners that a path may have here; the server sends a simpler one with every snapshot. */
const MOST_CORNERS = 1_000;

/** The path with a new end, where one may be shown. */
function longer(path: Snapshot['path'], { lon, lat }: Fix): Snapshot['path'] {
  return path && [...path.slice(1 - MOST_CORNERS), [lon, lat]];
}

/** Whether a delivery in this status will not change any more. */
export function isOver(status: Status): boolean {
  return status === 'delivered' || status === 'failed' || status === 'cancelled';
}
