import { describe, expect, it } from 'vitest';
import { Glide, metresBetween } from '../src/live/glide';
import type { Fix } from '../src/live/track';
import { Way } from '../src/live/way';

const START = 1_764_000_000_000;
/** East for 500 m, then north for 500 m. */
const M = 1 / 111_195;
const east = (metres: number): number => 14.5 + (metres * M) / Math.cos((35.9 * Math.PI) / 180);
const north = (metres: number): number => 35.9 + metres * M;
const corner = new Way([[east(0), north(0)], [east(500), north(0)], [east(500), north(500)]]);
const fix = (seconds: number, lon: number, lat: number, more: Partial<Fix> = {}): Fix => ({ lat, lon, speed_mps: 10, fix_time: START + seconds * 1000, ...more });

describe('a way', () => {
  it('knows its length, its places and where they lead', () => {
    expect(corner.length).toBeCloseTo(1000, 0);
    expect(metresBetween(corner.at(250), { lon: east(250), lat: north(0) })).toBeLessThan(0.5);
    expect(corner.at(250).headingDeg).toBeCloseTo(90, 0);
    expect(corner.at(750).headingDeg).toBeCloseTo(0, 0);
    expect(metresBetween(corner.at(5_000), { lon: east(500), lat: north(500) })).toBeLessThan(0.5);
  });

  it('finds the nearest place within reach', () => {
    const on = corner.project({ lon: east(300), lat: north(12) }, undefined, 35)!;
    expect(on.along).toBeCloseTo(300, 0);
    expect(on.off).toBeCloseTo(12, 0);
    expect(corner.project({ lon: east(100), lat: north(200) }, undefined, 35)).toBeUndefined();
  });

  it('means the part that follows where it crosses itself', () => {
    // East, a loop back, and over the same street again.
    const loop = new Way([[east(0), north(0)], [east(800), north(0)], [east(800), north(700)], [east(400), north(700)], [east(400), north(-300)]]);
    const crossing = { lon: east(400), lat: north(0) };
    expect(loop.project(crossing, undefined, 35)!.along).toBeCloseTo(400, 0);
    expect(loop.project(crossing, 2_300, 35)!.along).toBeCloseTo(2_600, 0);
  });

  it('gives what is left', () => {
    const rest = corner.rest(700);
    expect(rest).toHaveLength(2);
    expect(rest[0]![1]).toBeCloseTo(north(200), 5);
    expect(corner.rest(0)).toHaveLength(3);
  });
});

describe('a dot on its way', () => {
  it('goes round the corner instead of across it', () => {
    const glide = new Glide();
    glide.observe(fix(0, east(470), north(0)), 0, corner);
    glide.observe(fix(5, east(500), north(20)), 5_000, corner);
    for (let ms = 5_000; ms <= 10_000; ms += 100) {
      const shown = glide.at(ms)!;
      expect(corner.project(shown, undefined, 35)!.off).toBeLessThan(0.5);
    }
    expect(glide.at(9_900)!.headingDeg).toBeCloseTo(0, 0);
    expect(glide.along(10_000)).toBeCloseTo(545, 0);
  });

  it('comes to the street without a jump, and leaves it when the courier does', () => {
    const glide = new Glide();
    glide.observe(fix(0, east(100), north(20)), 0, corner);
    glide.observe(fix(5, east(150), north(0)), 5_000, corner);
    expect(metresBetween(glide.at(5_000)!, { lon: east(100), lat: north(20) })).toBeLessThan(0.5);
    expect(metresBetween(glide.at(10_000)!, { lon: east(175), lat: north(0) })).toBeLessThan(0.5);
    glide.observe(fix(10, east(200), north(-80)), 10_000, corner);
    expect(glide.along(10_000)).toBeUndefined();
    expect(metresBetween(glide.at(15_000)!, { lon: east(200), lat: north(-80) })).toBeLessThan(26);
  });

  it('waits when it has run ahead, and never goes back', () => {
    const glide = new Glide();
    glide.observe(fix(0, east(0), north(0)), 0, corner);
    glide.observe(fix(5, east(50), north(0)), 5_000, corner);
    const before = glide.along(10_000)!;
    glide.observe(fix(10, east(60), north(0), { speed_mps: 0 }), 10_000, corner);
    expect(glide.along(15_000)).toBeGreaterThanOrEqual(before - 0.1);
  });

  it('never runs past the end', () => {
    const glide = new Glide();
    glide.observe(fix(0, east(500), north(460)), 0, corner);
    glide.observe(fix(5, east(500), north(495)), 5_000, corner);
    expect(metresBetween(glide.at(60_000)!, { lon: east(500), lat: north(500) })).toBeLessThan(0.5);
  });
});
