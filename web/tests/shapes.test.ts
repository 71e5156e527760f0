import { describe, expect, it } from 'vitest';
import { metresBetween } from '../src/live/glide';
import { circleOf, circleRing } from '../src/map/shapes';

describe('a circle on the ground', () => {
  it.each([[0, 0, 100], [35.9, 14.5, 250], [-54.8, -68.3, 2_000], [69.6, 18.9, 500]])('around %f, %f has every corner at %i m and is read back as it was', (lat, lon, radius) => {
    const ring = circleRing(lat, lon, radius);
    expect(ring[0]).toEqual(ring.at(-1));
    for (const [x, y] of ring) expect(metresBetween({ lat, lon }, { lat: y, lon: x })).toBeGreaterThan(radius * 0.99);
    const circle = circleOf(ring);
    expect(circle.radius_m / radius).toBeCloseTo(1, 1);
    expect(metresBetween(circle, { lat, lon })).toBeLessThan(radius * 0.01);
  });
});
