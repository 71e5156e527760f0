/**
 * A line on the ground by metres from its start: where a courier is on its route, and what is left.
 *
 * A courier only goes forward: of two parts of the line that lie near a place, the one that follows
 * on the last is meant, so that a route that crosses itself does not lead astray.
 */
import { metresBetween } from './glide';

export interface OnWay {
  /** Metres from the start of the line. */
  along: number;
  /** Metres beside the line. */
  off: number;
}

/** How far behind and ahead of the last known place is looked first, metres. */
const BACK_M = 60;
const AHEAD_M = 600;

export class Way {
  private readonly metres: number[] = [0];

  constructor(readonly line: readonly [number, number][]) {
    for (let i = 1; i < line.length; i += 1) {
      this.metres.push(this.metres[i - 1]! + metresBetween(place(line[i - 1]!), place(line[i]!)));
    }
  }

  get length(): number {
    return this.metres.at(-1)!;
  }

  /** The place on the line nearest to `at`; near `after` metres if there is one within `reach`. */
  project(at: { lat: number; lon: number }, after: number | undefined, reach: number): OnWay | undefined {
    if (after !== undefined) {
      const near = this.nearest(at, after - BACK_M, after + AHEAD_M);
      if (near && near.off <= reach) return near;
    }
    const any = this.nearest(at, 0, this.length);
    return any && any.off <= reach ? any : undefined;
  }

  private nearest(at: { lat: number; lon: number }, from: number, to: number): OnWay | undefined {
    let best: OnWay | undefined;
    const squeeze = Math.cos((at.lat * Math.PI) / 180);
    for (let i = 1; i < this.line.length; i += 1) {
      if (this.metres[i]! < from || this.metres[i - 1]! > to) continue;
      const [aLon, aLat] = this.line[i - 1]!;
      const [bLon, bLat] = this.line[i]!;
      const [x, y] = [(bLon - aLon) * squeeze, bLat - aLat];
      const square = x * x + y * y;
      const share = square > 0 ? Math.min(Math.max(((at.lon - aLon) * squeeze * x + (at.lat - aLat) * y) / square, 0), 1) : 0;
      const off = metresBetween(at, { lon: aLon + (bLon - aLon) * share, lat: aLat + (bLat - aLat) * share });
      if (!best || off < best.off) {
        best = { along: this.metres[i - 1]! + (this.metres[i]! - this.metres[i - 1]!) * share, off };
      }
    }
    return best;
  }

  /** The place `along` metres from the start, and where the line leads there. */
  at(along: number): { lat: number; lon: number; headingDeg: number } {
    const i = this.segment(along);
    const [a, b] = [place(this.line[i - 1]!), place(this.line[i]!)];
    const span = this.metres[i]! - this.metres[i - 1]!;
    const share = span > 0 ? Math.min(Math.max((along - this.metres[i - 1]!) / span, 0), 1) : 0;
    const east = (b.lon - a.lon) * Math.cos((a.lat * Math.PI) / 180);
    return {
      lat: a.lat + (b.lat - a.lat) * share,
      lon: a.lon + (b.lon - a.lon) * share,
      headingDeg: ((Math.atan2(east, b.lat - a.lat) * 180) / Math.PI + 360) % 360,
    };
  }

  /** The line from `along` metres on. */
  rest(along: number): [number, number][] {
    const { lon, lat } = this.at(along);
    return [[lon, lat], ...this.line.slice(this.segment(along))];
  }

  /** The end of the segment that holds `along`. */
  private segment(along: number): number {
    const i = this.metres.findIndex((end, at) => at > 0 && end >= along);
    return i < 0 ? this.line.length - 1 : i;
  }
}

function place([lon, lat]: readonly [number, number]): { lat: number; lon: number } {
  return { lat, lon };
}
