/** Shapes on the ground as rings of corners. */

const EARTH_M = 6_371_008.8;

/** A circle of `radiusM` metres as a closed ring of [lon, lat]. */
export function circleRing(lat: number, lon: number, radiusM: number, corners = 64): [number, number][] {
  const angle = radiusM / EARTH_M;
  const middle = (lat * Math.PI) / 180;
  return Array.from({ length: corners + 1 }, (_, i): [number, number] => {
    const bearing = (2 * Math.PI * (i % corners)) / corners;
    const y = Math.asin(Math.sin(middle) * Math.cos(angle) + Math.cos(middle) * Math.sin(angle) * Math.cos(bearing));
    const x = Math.atan2(
      Math.sin(bearing) * Math.sin(angle) * Math.cos(middle),
      Math.cos(angle) - Math.sin(middle) * Math.sin(y),
    );
    return [lon + (x * 180) / Math.PI, (y * 180) / Math.PI];
  });
}

/** Middle and radius of a ring that was drawn as a circle. */
export function circleOf(ring: number[][]): { lat: number; lon: number; radius_m: number } {
  const corners = ring.slice(1);
  const lon = corners.reduce((sum, corner) => sum + corner[0]!, 0) / corners.length;
  const lat = corners.reduce((sum, corner) => sum + corner[1]!, 0) / corners.length;
  const [edgeLon, edgeLat] = ring[0] as [number, number];
  const x = (edgeLon - lon) * Math.cos((((lat + edgeLat) / 2) * Math.PI) / 180);
  const radius = (Math.hypot(x, edgeLat - lat) * Math.PI * EARTH_M) / 180;
  const exact = (degrees: number): number => Math.round(degrees * 1e6) / 1e6;
  return { lat: exact(lat), lon: exact(lon), radius_m: Math.round(radius) };
}
