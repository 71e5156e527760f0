/** Pages of events as one list. */
import type { WaylogEvent } from './types';

/** The newest page, and behind it what was loaded before: none twice. */
export function joined(newest: readonly WaylogEvent[], before: readonly WaylogEvent[]): WaylogEvent[] {
  const known = new Set(newest.map((one) => one.id));
  return [...newest, ...before.filter((one) => !known.has(one.id))];
}
