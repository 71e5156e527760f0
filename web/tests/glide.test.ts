import { describe, expect, it } from 'vitest';
import { ahead, Glide, glideMs, metresBetween } from '../src/live/glide';
import type { Fix } from '../src/live/track';

const START = 1_764_000_000_000;
const fix = (seconds: number, lat: number, lon: number, more: Partial<Fix> = {}): Fix => ({ lat, lon, fix_time: START + seconds * 1000, ...more });

describe('the gliding dot', () => {
  it('stands on the first fix', () => {
    const glide = new Glide();
    expect(glide.at(0)).toBeUndefined();
    glide.observe(fix(0, 35.9, 14.5), 0);
    expect(glide.at(0)).toMatchObject({ lat: 35.9, lon: 14.5, opacity: 1, animating: false });
  });

  it('moves evenly over the observed interval, then rests', () => {
    const glide = new Glide();
    glide.observe(fix(0, 35.9, 14.5), 0);
    glide.observe(fix(4, 35.9004, 14.5), 4_000);
    expect(glide.at(4_000)!.lat).toBeCloseTo(35.9, 9);
    expect(glide.at(5_000)!.lat).toBeCloseTo(35.9001, 9);
    expect(glide.at(8_000)).toMatchObject({ lat: 35.9004, animating: false });
    expect(glide.at(600_000)!.lat).toBe(35.9004);
  });

  it('never takes longer than 5 s', () => {
    expect(glideMs(20_000)).toBe(5_000);
    const glide = new Glide();
    glide.observe(fix(0, 35.9, 14.5), 0);
    glide.observe(fix(20, 35.9008, 14.5), 20_000);
    expect(glide.at(25_000)!.lat).toBeCloseTo(35.9008, 9);
  });

  it('starts the next glide from where it is, without a jump', () => {
    const glide = new Glide();
    glide.observe(fix(0, 35.9, 14.5), 0);
    glide.observe(fix(4, 35.9004, 14.5), 4_000);
    const halfWay = glide.at(6_000)!;
    glide.observe(fix(6, 35.9006, 14.5), 6_000);
    expect(metresBetween(glide.at(6_000)!, halfWay)).toBeLessThan(0.01);
  });

  it('fades to the new place after 30 s or 300 m, and never sweeps', () => {
    for (const next of [fix(31, 35.9001, 14.5), fix(5, 35.9031, 14.5)]) {
      const glide = new Glide();
      glide.observe(fix(0, 35.9, 14.5), 0);
      glide.observe(next, 5_000);
      expect(glide.at(5_000)).toMatchObject({ lat: next.lat, opacity: 0 });
      expect(glide.at(5_200)!.opacity).toBeCloseTo(0.5);
      expect(glide.at(5_400)).toMatchObject({ lat: next.lat, opacity: 1, animating: false });
    }
  });

  it('is never further ahead of a fix than 2.5 s of its speed, however long the silence', () => {
    const glide = new Glide();
    const moving = { speed_mps: 12, heading_deg: 0 };
    glide.observe(fix(0, 35.9, 14.5, moving), 0);
    const next = fix(5, 35.90054, 14.5, moving);
    glide.observe(next, 5_000);
    for (const wait of [5_000, 10_000, 60_000, 3_600_000]) {
      expect(metresBetween(glide.at(5_000 + wait)!, next)).toBeLessThanOrEqual(12 * 2.5 + 0.1);
    }
  });

  it('stays within 60 m of a courier in town at a fix every 5 s', () => {
    // 50 km/h with a right turn every 200 m, compared every 100 ms.
    const glide = new Glide();
    const truth = { lat: 35.9, lon: 14.5, heading: 0 };
    const errors: number[] = [];
    for (let tick = 0; tick < 3_000; tick += 1) {
      if (tick % 144 === 143) truth.heading = (truth.heading + 90) % 360;
      const moved = ahead({ ...truth, speed_mps: 13.9, heading_deg: truth.heading, fix_time: 0 }, 0.1);
      Object.assign(truth, moved);
      if (tick % 50 === 0) glide.observe(fix(tick / 10, truth.lat, truth.lon, { speed_mps: 13.9, heading_deg: truth.heading }), tick * 100);
      errors.push(metresBetween(glide.at(tick * 100)!, truth));
    }
    errors.sort((a, b) => a - b);
    expect(errors[Math.floor(errors.length * 0.95)]).toBeLessThanOrEqual(60);
  });

  it('turns the short way round', () => {
    const glide = new Glide();
    glide.observe(fix(0, 35.9, 14.5, { heading_deg: 350 }), 0);
    glide.observe(fix(4, 35.9002, 14.5, { heading_deg: 10 }), 4_000);
    const heading = glide.at(4_500)!.headingDeg!;
    expect(Math.min(heading, 360 - heading)).toBeLessThanOrEqual(10.001);
  });

  it('crosses the date line instead of the world', () => {
    const glide = new Glide();
    glide.observe(fix(0, -17, 179.9995), 0);
    glide.observe(fix(4, -17, -179.9995), 4_000);
    expect(Math.abs(glide.at(6_000)!.lon)).toBeGreaterThan(179.99);
  });

  it('does not move at all with reduced motion', () => {
    const glide = new Glide(true);
    glide.observe(fix(0, 35.9, 14.5), 0);
    glide.observe(fix(4, 35.9004, 14.5), 4_000);
    expect(glide.at(4_000)).toMatchObject({ lat: 35.9004, opacity: 1, animating: false });
  });
});
