/** Names of couriers who are not on the map: asked for once each, when somebody wants to read them. */
import { createSignal } from 'solid-js';
import { get, id } from '../net/api';
import type { Courier } from './types';

/** More are not remembered: the fleet's own limit is far above what anybody reads. */
const MOST = 20_000;

/** Answers with a courier's name, or the id until the name is known. */
export function createNames(live: (courierId: string) => string | undefined): (courierId: string) => string {
  const known = new Map<string, string>();
  const [version, setVersion] = createSignal(0);
  const ask = async (courierId: string): Promise<void> => {
    known.set(courierId, courierId);
    const courier = await get<Courier>(`/v1/couriers/${id(courierId)}`).catch(() => undefined);
    if (!courier?.name) return;
    known.set(courierId, courier.name);
    setVersion((n) => n + 1);
  };
  return (courierId) => {
    version();
    const name = live(courierId) ?? known.get(courierId);
    if (name === undefined && known.size < MOST) void ask(courierId);
    return name ?? courierId;
  };
}
