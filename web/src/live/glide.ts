/**
 * The dot between two fixes.
 *
 * It glides from where it is to where the courier should be by the time it gets there, over the
 * interval at which fixes have been coming (at most 5 s): along its route where one is known and the
 * courier keeps to it, else straight. Gaps of more than 30 s or 300 m fade to the new place instead of
 * sweeping across the map. Without a new fix the dot rests: what is shown is never further ahead of
 * the newest fix than `LEAD_SHARE` of one interval (2.5 s at the most).
 */
import type { Fix } from './track';
import { millis } from './track';
import type { Way } from './way';

export interface Shown {
  lon: number;
  lat: number;
  headingDeg: number | undefined;
  /** 0 while fading in at a new place, else 1. */
  opacity: number;
  /** False when the same answer will be given until the next fix. */
  animating: boolean;
}

export const LONGEST_GLIDE_MS = 5_000;
export const FADE_AFTER_MS = 30_000;
export const FADE_OVER_M = 300;
const SHORTEST_GLIDE_MS = 250;
const FADE_MS = 400;
const LEAD_SHARE = 0.5;
const MOVING_MPS = 1;
/** Further beside its route than this a courier is not on it. */
const BESIDE_M = 35;
const EARTH_M_PER_DEG = 111_195;

/** Metres between two places, good to 0.5 % over the few kilometres that matter here. */
export function metresBetween(a: { lat: number; lon: number }, b: { lat: number; lon: number }): number {
  const x = wrap(b.lon - a.lon) * Math.cos((((a.lat + b.lat) / 2) * Math.PI) / 180);
  return Math.hypot(x, b.lat - a.lat) * EARTH_M_PER_DEG;
}

/** Where a fix will be after `seconds` at its own speed and heading. */
export function ahead(fix: Fix, seconds: number): { lat: number; lon: number } {
  const speed = fix.speed_mps ?? 0;
  if (fix.heading_deg == null || speed < MOVING_MPS) return { lat: fix.lat, lon: fix.lon };
  const degrees = (speed * seconds) / EARTH_M_PER_DEG;
  const heading = (fix.heading_deg * Math.PI) / 180;
  return {
    lat: fix.lat + degrees * Math.cos(heading),
    lon: fix.lon + (degrees * Math.sin(heading)) / Math.cos((fix.lat * Math.PI) / 180),
  };
}

/** How long to glide, given the time between the last two fixes. */
export function glideMs(intervalMs: number): number {
  return Math.min(Math.max(intervalMs, SHORTEST_GLIDE_MS), LONGEST_GLIDE_MS);
}

function wrap(degrees: number): number {
  return ((((degrees + 180) % 360) + 360) % 360) - 180;
}

/** A glide along a route, in metres of it. */
interface Stretch {
  way: Way;
  from: number;
  to: number;
  /** Where the dot was beside the route when it began: the difference fades out. */
  beside: { lon: number; lat: number };
}

/** One courier's dot. Times are milliseconds of one monotonic clock, given by the caller. */
export class Glide {
  private from: { lon: number; lat: number } | undefined;
  private to: { lon: number; lat: number } = { lon: 0, lat: 0 };
  private stretch: Stretch | undefined;
  private fromHeading: number | undefined;
  private toHeading: number | undefined;
  private startMs = 0;
  private durationMs = 0;
  private fadeFromMs = Number.NEGATIVE_INFINITY;
  private lastFixTime = Number.NaN;

  /** `still` (reduced motion) places the dot on each fix without any movement. */
  constructor(private readonly still = false) {}

  /** Takes a fix that arrived at `nowMs`; `way` is the courier's route, if it is known. */
  observe(fix: Fix, nowMs: number, way?: Way): void {
    const fixTime = millis(fix.fix_time);
    const gapMs = fixTime - this.lastFixTime;
    this.lastFixTime = fixTime;
    const shown = this.from && this.at(nowMs);
    const jump =
      !shown || this.still || !(gapMs <= FADE_AFTER_MS) || metresBetween(shown, fix) > FADE_OVER_M;
    this.durationMs = jump ? 0 : glideMs(gapMs);
    const lead = jump ? 0 : (this.durationMs / 1000) * LEAD_SHARE;
    const before = this.stretch?.way === way ? this.stretch?.to : undefined;
    this.stretch = shown && !jump && way ? stretchOf(way, shown, fix, lead, before) : undefined;
    this.to = jump ? { lon: fix.lon, lat: fix.lat } : ahead(fix, lead);
    this.from = jump ? this.to : { lon: shown.lon, lat: shown.lat };
    this.fromHeading = shown?.headingDeg;
    this.toHeading = fix.heading_deg ?? shown?.headingDeg;
    this.startMs = nowMs;
    if (jump && shown && !this.still) this.fadeFromMs = nowMs;
  }

  /** Metres of the route that lie behind the dot at `nowMs`, while it follows one. */
  along(nowMs: number): number | undefined {
    const { stretch } = this;
    return stretch && stretch.from + (stretch.to - stretch.from) * this.share(nowMs);
  }

  private share(nowMs: number): number {
    return this.durationMs > 0 ? Math.min(Math.max((nowMs - this.startMs) / this.durationMs, 0), 1) : 1;
  }

  /** The dot at `nowMs`; `undefined` before the first fix. */
  at(nowMs: number): Shown | undefined {
    if (!this.from) return undefined;
    const share = this.share(nowMs);
    const fade = Math.min(Math.max((nowMs - this.fadeFromMs) / FADE_MS, 0), 1);
    const place = this.stretch
      ? onStretch(this.stretch, share)
      : {
          lon: this.from.lon + wrap(this.to.lon - this.from.lon) * share,
          lat: this.from.lat + (this.to.lat - this.from.lat) * share,
          headingDeg: this.toHeading,
        };
    return {
      lon: place.lon,
      lat: place.lat,
      headingDeg: turn(this.fromHeading, place.headingDeg, Math.min(share * 4, 1)),
      opacity: fade,
      animating: share < 1 || fade < 1,
    };
  }
}

/** From where the dot is to where the courier will be, by the route; `undefined` if it has left it. */
function stretchOf(way: Way, shown: Shown, fix: Fix, seconds: number, before: number | undefined): Stretch | undefined {
  const here = way.project(fix, before, BESIDE_M);
  const from = here && way.project(shown, here.along, BESIDE_M);
  if (!here || !from) return undefined;
  const speed = (fix.speed_mps ?? 0) < MOVING_MPS ? 0 : fix.speed_mps!;
  const start = way.at(from.along);
  return {
    way,
    from: from.along,
    // A dot that has run ahead waits; it does not go back.
    to: Math.max(Math.min(here.along + speed * seconds, way.length), from.along),
    beside: { lon: wrap(shown.lon - start.lon), lat: shown.lat - start.lat },
  };
}

function onStretch({ way, from, to, beside }: Stretch, share: number): { lon: number; lat: number; headingDeg: number } {
  const { lon, lat, headingDeg } = way.at(from + (to - from) * share);
  return { lon: lon + beside.lon * (1 - share), lat: lat + beside.lat * (1 - share), headingDeg };
}

/** Part of the way from one heading to another, the short way round. */
function turn(from: number | undefined, to: number | undefined, share: number): number | undefined {
  if (to === undefined) return from;
  if (from === undefined) return to;
  return (from + wrap(to - from) * share + 360) % 360;
}
