/** A trip as numbers, for the path, the chart and the marker on one cursor: pure. */
import { metresBetween } from '../live/glide';
import type { TrackFix } from './types';

export interface Replay {
  /** Seconds since the epoch, ascending. */
  times: number[];
  lons: number[];
  lats: number[];
  /** Metres a second; measured between fixes where a phone says nothing. */
  speeds: number[];
  headings: (number | undefined)[];
}

/** A gap longer than this is not driven through, but jumped. */
export const GAP_S = 120;

/** Five speed bands, by their lower bounds in m/s: standing, slow, town, fast, faster. */
export const SPEED_BANDS = [0, 1.5, 5.5, 11, 17] as const;

export function replayOf(fixes: TrackFix[]): Replay {
  const sorted = [...fixes].sort((a, b) => Date.parse(a.fix_time) - Date.parse(b.fix_time));
  const replay: Replay = { times: [], lons: [], lats: [], speeds: [], headings: [] };
  sorted.forEach((fix, i) => {
    const time = Date.parse(fix.fix_time) / 1000;
    const before = sorted[i - 1];
    const seconds = before ? time - Date.parse(before.fix_time) / 1000 : 0;
    const measured = before && seconds > 0 ? metresBetween(before, fix) / seconds : 0;
    replay.times.push(time);
    replay.lons.push(fix.lon);
    replay.lats.push(fix.lat);
    replay.speeds.push(fix.speed_mps ?? measured);
    replay.headings.push(fix.heading_deg ?? undefined);
  });
  return replay;
}

/** The index of the last fix at or before a time; 0 before the first. */
export function indexAt(replay: Replay, time: number): number {
  let low = 0;
  let high = replay.times.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (replay.times[middle]! <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Where the courier was at a time, in between two fixes of one stretch. */
export function placeAt(replay: Replay, time: number): { lon: number; lat: number; headingDeg: number | undefined; speed: number } {
  const i = indexAt(replay, time);
  const next = Math.min(i + 1, replay.times.length - 1);
  const gap = replay.times[next]! - replay.times[i]!;
  const share = gap > 0 && gap <= GAP_S ? Math.min(Math.max((time - replay.times[i]!) / gap, 0), 1) : 0;
  return {
    lon: replay.lons[i]! + (replay.lons[next]! - replay.lons[i]!) * share,
    lat: replay.lats[i]! + (replay.lats[next]! - replay.lats[i]!) * share,
    headingDeg: replay.headings[i],
    speed: replay.speeds[i]!,
  };
}

/** The band of a speed: an index of `SPEED_BANDS`. */
export function bandOf(speed: number): number {
  let band = 0;
  while (band + 1 < SPEED_BANDS.length && speed >= SPEED_BANDS[band + 1]!) band += 1;
  return band;
}

/** The path as lines of one speed band each, broken at gaps. */
export function pathBySpeed(replay: Replay): GeoJSON.Feature<GeoJSON.LineString, { band: number }>[] {
  const features: GeoJSON.Feature<GeoJSON.LineString, { band: number }>[] = [];
  for (let i = 1; i < replay.times.length; i += 1) {
    if (replay.times[i]! - replay.times[i - 1]! > GAP_S) continue;
    const band = bandOf(replay.speeds[i]!);
    const from = [replay.lons[i - 1]!, replay.lats[i - 1]!];
    const to = [replay.lons[i]!, replay.lats[i]!];
    const last = features.at(-1);
    const end = last?.geometry.coordinates.at(-1);
    if (last && last.properties.band === band && end?.[0] === from[0] && end?.[1] === from[1]) last.geometry.coordinates.push(to);
    else features.push({ type: 'Feature', properties: { band }, geometry: { type: 'LineString', coordinates: [from, to] } });
  }
  return features;
}
