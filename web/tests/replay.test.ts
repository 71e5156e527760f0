import { describe, expect, it } from 'vitest';
import { bandOf, indexAt, pathBySpeed, placeAt, replayOf } from '../src/trips/replay';

const START = Date.parse('2026-11-22T10:00:00Z');
const fix = (seconds: number, lat: number, speed?: number) => ({ fix_time: new Date(START + seconds * 1000).toISOString(), lat, lon: 14.5, ...(speed === undefined ? {} : { speed_mps: speed }) });

describe('a replayed trip', () => {
  it('is in order of time whatever the order of arrival', () => {
    const replay = replayOf([fix(10, 35.902), fix(0, 35.9), fix(5, 35.901)]);
    expect(replay.lats).toEqual([35.9, 35.901, 35.902]);
  });

  it('measures the speed that a phone did not tell', () => {
    const replay = replayOf([fix(0, 35.9), fix(10, 35.901)]);
    expect(replay.speeds[1]).toBeCloseTo(11.1, 1);
  });

  it('is in between two fixes, but not in a gap', () => {
    const replay = replayOf([fix(0, 35.9), fix(10, 35.901), fix(1_000, 35.95)]);
    expect(placeAt(replay, START / 1000 + 5).lat).toBeCloseTo(35.9005, 6);
    expect(placeAt(replay, START / 1000 + 500).lat).toBe(35.901);
    expect(placeAt(replay, 0).lat).toBe(35.9);
    expect(placeAt(replay, 1e12).lat).toBe(35.95);
    expect([indexAt(replay, 0), indexAt(replay, 1e12)]).toEqual([0, 2]);
  });

  it('is drawn as one line a stretch of one speed, broken at gaps', () => {
    const replay = replayOf([fix(0, 35.9, 8), fix(5, 35.9004, 8), fix(10, 35.9008, 8), fix(15, 35.901, 1), fix(900, 35.92, 1), fix(905, 35.9201, 1)]);
    const path = pathBySpeed(replay);
    expect(path.map((line) => [line.properties.band, line.geometry.coordinates.length])).toEqual([[2, 3], [0, 2], [0, 2]]);
  });

  it.each([[0, 0], [1.5, 1], [5.5, 2], [11, 3], [17, 4], [60, 4]])('puts %f m/s into band %i', (speed, band) => {
    expect(bandOf(speed)).toBe(band);
  });
});
