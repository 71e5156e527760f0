/**
 * What the page shows right now, readable from outside as `window.__waylog`: browser tests wait on it
 * instead of on time, and the honesty of the dot is measured by it. Nothing in the page reads it.
 */
export interface Shown {
  /** Where the customer's courier is drawn. */
  courier?: { lat: number; lon: number } | null;
  /** When the customer could read the text, milliseconds after the page was asked for. */
  textMs?: number;
  /** The map has been drawn with its style. */
  mapReady?: boolean;
  /** Couriers drawn one by one on the fleet map. */
  couriers?: number;
  /** Cells drawn with counts on the fleet map. */
  cells?: number;
  /** Couriers that these cells count. */
  inCells?: number;
  /** The map takes a drawing. */
  drawing?: boolean;
  /** Couriers that a filter has found, drawn at every zoom. */
  found?: number;
  /** Milliseconds of script that the fleet's positions have taken so far, and how many they were. */
  scriptMs?: number;
  updates?: number;
}

declare global {
  interface Window {
    __waylog?: Shown;
  }
}

export function show(change: Shown): void {
  window.__waylog = Object.assign(window.__waylog ?? {}, change);
}

/** Adds what a piece of the fleet's script took since `began`, for so many positions. */
export function spend(began: number, updates = 0): void {
  const { scriptMs = 0, updates: before = 0 } = window.__waylog ?? {};
  show({ scriptMs: scriptMs + performance.now() - began, updates: before + updates });
}
