/**
 * Where the fleet is: plain arrays outside reactive state, one slot a courier, laid out as the
 * vertex shader reads them. A tick writes the slots that changed; the layer uploads once.
 *
 * Invariant: `floats` holds `FLOATS` numbers a slot for slots 0..count, in Mercator units relative to
 * `origin`; a removed slot is refilled by the last one, so there are no holes.
 */
import { FADE_AFTER_MS, FADE_OVER_M, glideMs } from './glide';
import { eachEntry, readHeader, STATUSES, type Entry, type FleetStatus } from './fleetFrame';

/** from x, from y, to x, to y, start s, duration s, heading °, look. */
export const FLOATS = 8;
const LEAD_SHARE = 0.5;
const MOVING_MPS = 1;
/** Round the Earth by the equator, metres. */
const EARTH_ROUND_M = 40_030_228;
const FADE_MS = 400;

/** Added to the status byte in the shader's `look`. */
export const SELECTED = 8;
export const PROBLEM = 16;
export const HIDDEN = 32;

export interface CourierName {
  handle: number;
  courier_id: string;
  name?: string | null;
  vehicle?: string | null;
}

export interface Known {
  courierId: string;
  name: string;
  vehicle: string | undefined;
  lat: number;
  lon: number;
  headingDeg: number;
  speedMps: number;
  status: FleetStatus;
  /** When its newest fix was taken, on the store's clock. */
  fixMs: number;
}

interface Slot extends Known {
  handle: number;
  topic: string;
  observedMs: number;
}

export function mercatorX(lon: number): number {
  return (lon + 180) / 360;
}

export function mercatorY(lat: number): number {
  return (1 - Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360)) / Math.PI) / 2;
}

function latitude(y: number): number {
  return (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;
}

/** Mercator units of a metre at a latitude. */
function unitsPerMetre(lat: number): number {
  return 1 / (EARTH_ROUND_M * Math.cos((lat * Math.PI) / 180));
}

export class FleetStore {
  floats = new Float32Array(1024 * FLOATS);
  count = 0;
  /** Set when `floats` has changed since the layer last took it. */
  changed = false;
  /** Until when something moves or fades, on the store's clock. */
  busyUntilMs = 0;
  private origin = { x: 0.5, y: 0.5 };
  private readonly slots: Slot[] = [];
  private readonly byHandle = new Map<number, number>();
  private readonly byCourier = new Map<string, number>();
  private readonly names = new Map<number, CourierName>();
  private readonly selected = new Set<string>();
  private problems = new Set<string>();
  private visible: ((known: Known) => boolean) | undefined;

  /** `now` gives milliseconds of the clock that the shader's time runs on. */
  constructor(private readonly now: () => number) {}

  /** Who is behind a handle. */
  name(names: CourierName[]): void {
    for (const one of names) {
      this.names.set(one.handle, one);
      const at = this.byHandle.get(one.handle);
      if (at === undefined) continue;
      const slot = this.slots[at]!;
      this.byCourier.delete(slot.courierId);
      slot.courierId = one.courier_id;
      slot.name = one.name || one.courier_id;
      slot.vehicle = one.vehicle ?? undefined;
      this.byCourier.set(slot.courierId, at);
    }
  }

  /** Applies a binary frame: a snapshot's entries and a delta's alike. */
  apply(buffer: ArrayBuffer): void {
    const header = readHeader(buffer);
    const nowMs = this.now();
    eachEntry(buffer, header, (entry) => this.observe(entry, header.topic, nowMs));
    this.changed = true;
  }

  private observe(entry: Entry, topic: string, nowMs: number): void {
    let at = this.byHandle.get(entry.handle);
    const fixMs = nowMs - entry.ageS * 1000;
    if (at === undefined) {
      at = this.add(entry, topic, nowMs, fixMs);
      const x = mercatorX(entry.lon);
      const y = mercatorY(entry.lat);
      this.write(at, x, y, x, y, nowMs, 0);
      return;
    }
    const slot = this.slots[at]!;
    const gapMs = nowMs - slot.observedMs;
    slot.topic = topic;
    slot.observedMs = nowMs;
    slot.lat = entry.lat;
    slot.lon = entry.lon;
    slot.headingDeg = entry.headingDeg;
    slot.speedMps = entry.speedMps;
    slot.status = STATUSES[entry.status] ?? 'stale';
    slot.fixMs = fixMs;
    // All in Mercator units: this runs for thousands of couriers a tick.
    const x = mercatorX(entry.lon);
    const y = mercatorY(entry.lat);
    const unitsPerM = unitsPerMetre(entry.lat);
    const share = this.shareAt(at, nowMs);
    const fromX = this.shownX(at, share);
    const fromY = this.shownY(at, share);
    if (gapMs > FADE_AFTER_MS || Math.hypot(x - fromX, y - fromY) > FADE_OVER_M * unitsPerM) {
      this.write(at, x, y, x, y, nowMs, 0);
      return;
    }
    const duration = glideMs(gapMs);
    const lead = isMoving(slot.status) && entry.speedMps >= MOVING_MPS ? entry.speedMps * (duration / 1000) * LEAD_SHARE * unitsPerM : 0;
    const heading = (entry.headingDeg * Math.PI) / 180;
    this.write(at, fromX, fromY, x + lead * Math.sin(heading), y - lead * Math.cos(heading), nowMs, duration);
  }

  private add(entry: Entry, topic: string, nowMs: number, fixMs: number): number {
    const at = this.count;
    this.count += 1;
    if (this.count * FLOATS > this.floats.length) {
      const larger = new Float32Array(this.floats.length * 2);
      larger.set(this.floats);
      this.floats = larger;
    }
    const name = this.names.get(entry.handle);
    const courierId = name?.courier_id ?? `#${entry.handle}`;
    this.slots[at] = {
      handle: entry.handle,
      topic,
      courierId,
      name: name?.name || courierId,
      vehicle: name?.vehicle ?? undefined,
      lat: entry.lat,
      lon: entry.lon,
      headingDeg: entry.headingDeg,
      speedMps: entry.speedMps,
      status: STATUSES[entry.status] ?? 'stale',
      fixMs,
      observedMs: nowMs,
    };
    this.byHandle.set(entry.handle, at);
    this.byCourier.set(courierId, at);
    return at;
  }

  private write(at: number, fromX: number, fromY: number, toX: number, toY: number, startMs: number, durationMs: number): void {
    const f = this.floats;
    const i = at * FLOATS;
    f[i] = fromX - this.origin.x;
    f[i + 1] = fromY - this.origin.y;
    f[i + 2] = toX - this.origin.x;
    f[i + 3] = toY - this.origin.y;
    f[i + 4] = startMs / 1000;
    f[i + 5] = durationMs / 1000;
    this.busyUntilMs = Math.max(this.busyUntilMs, startMs + Math.max(durationMs, FADE_MS));
    this.dress(at);
  }

  private dress(at: number): void {
    const slot = this.slots[at]!;
    this.floats[at * FLOATS + 6] = slot.headingDeg;
    this.floats[at * FLOATS + 7] =
      STATUSES.indexOf(slot.status) +
      (this.selected.size > 0 && this.selected.has(slot.courierId) ? SELECTED : 0) +
      (this.problems.size > 0 && this.problems.has(slot.courierId) ? PROBLEM : 0) +
      (this.visible && !this.visible(slot) ? HIDDEN : 0);
  }

  /** How much of its glide a slot has behind it, as the shader computes it. */
  private shareAt(at: number, nowMs: number): number {
    const start = this.floats[at * FLOATS + 4]!;
    const duration = this.floats[at * FLOATS + 5]!;
    return duration > 0 ? Math.min(Math.max((nowMs / 1000 - start) / duration, 0), 1) : 1;
  }

  private shownX(at: number, share: number): number {
    const i = at * FLOATS;
    return this.floats[i]! + (this.floats[i + 2]! - this.floats[i]!) * share + this.origin.x;
  }

  private shownY(at: number, share: number): number {
    const i = at * FLOATS + 1;
    return this.floats[i]! + (this.floats[i + 2]! - this.floats[i]!) * share + this.origin.y;
  }

  /** Keeps single-precision numbers exact near the view: call when it has moved far. */
  moveOrigin(x: number, y: number): void {
    const dx = this.origin.x - x;
    const dy = this.origin.y - y;
    this.origin = { x, y };
    for (let i = 0; i < this.count * FLOATS; i += FLOATS) {
      this.floats[i]! += dx;
      this.floats[i + 1]! += dy;
      this.floats[i + 2]! += dx;
      this.floats[i + 3]! += dy;
    }
    this.changed = true;
  }

  get originX(): number {
    return this.origin.x;
  }

  get originY(): number {
    return this.origin.y;
  }

  /** The topic's couriers that are not in `kept` are gone (all of them without `kept`). */
  dropTopic(topic: string, kept?: ReadonlySet<number>): void {
    for (let at = this.count - 1; at >= 0; at -= 1) {
      const slot = this.slots[at]!;
      if (slot.topic === topic && !kept?.has(slot.handle)) this.drop(at);
    }
  }

  /** Couriers that left a topic; one that another topic has taken over stays. */
  removeFrom(topic: string, handles: number[]): void {
    for (const handle of handles) {
      const at = this.byHandle.get(handle);
      if (at !== undefined && this.slots[at]!.topic === topic) this.drop(at);
    }
  }

  clear(): void {
    this.count = 0;
    this.slots.length = 0;
    this.byHandle.clear();
    this.byCourier.clear();
    this.names.clear();
    this.changed = true;
  }

  private drop(at: number): void {
    const gone = this.slots[at]!;
    this.byHandle.delete(gone.handle);
    this.byCourier.delete(gone.courierId);
    const last = this.count - 1;
    if (at !== last) {
      const moved = this.slots[last]!;
      this.slots[at] = moved;
      this.floats.copyWithin(at * FLOATS, last * FLOATS, (last + 1) * FLOATS);
      this.byHandle.set(moved.handle, at);
      this.byCourier.set(moved.courierId, at);
    }
    this.slots.length = last;
    this.count = last;
    this.changed = true;
  }

  /** Marks the courier of the open card. */
  select(courierId: string | undefined): void {
    this.selected.clear();
    if (courierId) this.selected.add(courierId);
    this.dressAll();
  }

  /** Couriers that the attention list names: ringed. */
  setProblems(courierIds: Iterable<string>): void {
    this.problems = new Set(courierIds);
    this.dressAll();
  }

  /** Shows only couriers that pass; everybody without a test. */
  filter(visible: ((known: Known) => boolean) | undefined): void {
    this.visible = visible;
    this.dressAll();
  }

  private dressAll(): void {
    for (let at = 0; at < this.count; at += 1) this.dress(at);
    this.changed = true;
  }

  /** What is known of a courier that is on the map. */
  get(courierId: string): Known | undefined {
    const at = this.byCourier.get(courierId);
    return at === undefined ? undefined : this.slots[at];
  }

  /** Where a courier is drawn now. */
  place(courierId: string): { lon: number; lat: number } | undefined {
    const at = this.byCourier.get(courierId);
    if (at === undefined) return undefined;
    const share = this.shareAt(at, this.now());
    return { lon: this.shownX(at, share) * 360 - 180, lat: latitude(this.shownY(at, share)) };
  }

  /** The visible courier drawn nearest to a place, within `reach` Mercator units. */
  nearest(x: number, y: number, reach: number): Known | undefined {
    const nowMs = this.now();
    let best: Known | undefined;
    let bestSquare = reach * reach;
    for (let at = 0; at < this.count; at += 1) {
      if (this.floats[at * FLOATS + 7]! >= HIDDEN) continue;
      const share = this.shareAt(at, nowMs);
      const square = (this.shownX(at, share) - x) ** 2 + (this.shownY(at, share) - y) ** 2;
      if (square < bestSquare) {
        bestSquare = square;
        best = this.slots[at];
      }
    }
    return best;
  }
}

export function isMoving(status: FleetStatus): boolean {
  return status === 'to_pickup' || status === 'delivering';
}
