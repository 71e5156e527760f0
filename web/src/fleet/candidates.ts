/** Who could take a delivery: ranked by road time by the server, by distance where it knows no roads. */
import { metresBetween } from '../live/glide';
import { ApiError, get, type Page } from '../net/api';
import type { Candidate, CourierRow, Delivery } from './types';

const MOST = 20;

export async function candidates(path: string, delivery: Delivery, signal: AbortSignal): Promise<Candidate[]> {
  try {
    return (await get<Page<Candidate>>(`${path}/candidates`, { limit: MOST }, signal)).items;
  } catch (cause) {
    if (!(cause instanceof ApiError) || cause.status !== 404) throw cause;
    const { items } = await get<Page<CourierRow>>('/v1/fleet/couriers', { limit: 500 }, signal);
    return byDistance(items, delivery.pickup);
  }
}

/** Those on duty whose place is known: without work first, then the nearest. */
export function byDistance(couriers: CourierRow[], pickup: { lat: number; lon: number }): Candidate[] {
  return couriers
    .filter((courier) => courier.on_duty && courier.position && courier.status !== 'offline')
    .map((courier) => ({
      courier_id: courier.id,
      name: courier.name,
      vehicle: courier.vehicle,
      travel_s: null,
      distance_m: metresBetween(courier.position!, pickup),
      open_deliveries: courier.open_deliveries,
    }))
    .sort((a, b) => Number(a.open_deliveries > 0) - Number(b.open_deliveries > 0) || a.distance_m - b.distance_m)
    .slice(0, MOST);
}
