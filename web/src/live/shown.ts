/**
 * What the page shows right now, readable from outside as `window.__waylog`: browser tests wait on it
 * instead of on time, and the honesty of the dot is measured by it. Nothing in the page reads it.
 */
export interface Shown {
  /** Where the customer's courier is drawn. */
  courier?: { lat: number; lon: number } | null;
  /** The map has been drawn with its style. */
  mapReady?: boolean;
  /** Couriers drawn one by one on the fleet map. */
  couriers?: number;
  /** Cells drawn with counts on the fleet map. */
  cells?: number;
  /** Milliseconds of script that the newest fleet tick took. */
  tickMs?: number;
}

declare global {
  interface Window {
    __waylog?: Shown;
  }
}

export function show(change: Shown): void {
  window.__waylog = Object.assign(window.__waylog ?? {}, change);
}
