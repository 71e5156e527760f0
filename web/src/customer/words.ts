/** What the customer is told, from what is known: pure, so that every sentence can be tested. */
import { clock, distance, span, t, tn, type Key } from '../i18n';
import { metresBetween } from '../live/glide';
import { isOver, millis, type Snapshot, type Status } from '../live/track';

/** After this long on one spot the page says so. */
export const STILL_MS = 90_000;

/** What a moment of the page is made of. Times are milliseconds since the epoch, server's clock. */
export interface Moment {
  snapshot: Snapshot;
  nowMs: number;
  /** Since when the courier has not moved; `undefined` while moving. */
  stillSinceMs: number | undefined;
  /** A position older than this is stale. */
  staleMs: number;
}

export interface Words {
  /** At 32 px: the time left, or the state. */
  head: string;
  /** When, by the clock. */
  when: string | undefined;
  sentence: string;
}

const VEHICLES: Record<string, Key> = {
  bike: 'vehicle.bike',
  car: 'vehicle.car',
  van: 'vehicle.van',
  foot: 'vehicle.foot',
};

/** Age of the newest fix, if there is one. */
export function fixAgeMs({ snapshot, nowMs }: Moment): number | undefined {
  return snapshot.position ? Math.max(0, nowMs - millis(snapshot.position.fix_time)) : undefined;
}

/** Whether the newest fix is too old to be taken for where the courier is. */
export function isStale(moment: Moment): boolean {
  return (fixAgeMs(moment) ?? 0) > moment.staleMs;
}

/** Metres from the courier to the customer's door, if both are known. */
export function metresLeft(snapshot: Snapshot): number | undefined {
  const { position, delivery } = snapshot;
  return position && delivery.dropoff ? metresBetween(position, delivery.dropoff) : undefined;
}

export function words(moment: Moment): Words {
  const { snapshot, nowMs } = moment;
  const { status, window } = snapshot.delivery;
  const head = etaHead(moment) ?? t(`customer.head_${status}` as Key);
  let when: string | undefined;
  if (snapshot.eta && !isOver(status) && status !== 'arrived') {
    when = t('customer.between', { from: clock(millis(snapshot.eta.from)), to: clock(millis(snapshot.eta.to)) });
  } else if (window?.from && window.to && !isOver(status) && nowMs < millis(window.to)) {
    when = t('customer.window', { from: clock(millis(window.from)), to: clock(millis(window.to)) });
  }
  return { head, when, sentence: sentence(moment) };
}

function etaHead({ snapshot, nowMs }: Moment): string | undefined {
  if (!snapshot.eta || snapshot.delivery.status !== 'picked_up') return undefined;
  const from = Math.max(0, Math.floor((millis(snapshot.eta.from) - nowMs) / 60_000));
  const to = Math.ceil((millis(snapshot.eta.to) - nowMs) / 60_000);
  if (to <= 1) return t('customer.now');
  const least = Math.max(1, from);
  return least >= to ? t('customer.minute', { n: to }) : t('customer.minutes', { from: least, to });
}

function sentence(moment: Moment): string {
  const { snapshot, nowMs, stillSinceMs } = moment;
  const courier = snapshot.courier?.name || t('customer.courier');
  const { status, timeline } = snapshot.delivery;
  if (status === 'created') return t('customer.say_created');
  if (status === 'assigned') return t('customer.say_assigned', { courier });
  if (status === 'arrived') return t('customer.say_arrived', { courier });
  if (isOver(status)) {
    const at = timeline.findLast((step) => step.status === status)?.at;
    return t(`customer.say_${status}` as Key, { at: at ? clock(millis(at)) : '' });
  }
  const age = fixAgeMs(moment);
  if (snapshot.why_hidden === 'stale') return t('customer.say_lost', { courier });
  if (age !== undefined && isStale(moment)) return t('customer.say_stale', { courier, ago: span(age) });
  if (snapshot.stops_before) return tn('customer.say_stops', snapshot.stops_before, { courier });
  if (snapshot.why_hidden === 'other_stop') return t('customer.say_other_stop', { courier });
  if (stillSinceMs !== undefined && nowMs - stillSinceMs > STILL_MS) {
    return t('customer.say_still', { courier, ago: span(nowMs - stillSinceMs) });
  }
  const known = VEHICLES[snapshot.courier?.vehicle ?? ''];
  const vehicle = known ? t(known) : '';
  const left = metresLeft(snapshot);
  const text =
    left === undefined
      ? t('customer.say_on_the_way', { courier, vehicle })
      : t('customer.say_distance', { courier, vehicle, distance: distance(left) });
  return text.replace(/ +([.,])/g, '$1').replace(/ {2,}/g, ' ');
}

/** For those who do not see the map: the whole of it in words. */
export function spoken(moment: Moment): string {
  const said = words(moment);
  const parts = [said.head, said.when, said.sentence];
  const left = metresLeft(moment.snapshot);
  const heading = moment.snapshot.position?.heading_deg;
  if (left !== undefined && heading != null) {
    const point = Math.round(heading / 45) % 8;
    parts.push(t('customer.live', { distance: distance(left), compass: t(`compass.${point}` as Key) }));
  }
  return parts.filter(Boolean).map((part) => (/[.!…]$/.test(part!) ? part : `${part}.`)).join(' ');
}

/** The steps of the timeline: those that happened with their time, then those to come. */
export function steps(snapshot: Snapshot): { status: Status; atMs: number | undefined }[] {
  const way: Status[] = ['created', 'assigned', 'picked_up', 'arrived', 'delivered'];
  const done = new Map<Status, number>();
  for (const step of snapshot.delivery.timeline) done.set(step.status, millis(step.at));
  const { status } = snapshot.delivery;
  if (status === 'failed' || status === 'cancelled') {
    return [...way.filter((step) => done.has(step) && step !== 'delivered'), status].map((step) => ({ status: step, atMs: done.get(step) }));
  }
  const reached = way.indexOf(status);
  return way
    .filter((step, i) => done.has(step) || i >= reached)
    .map((step) => ({ status: step, atMs: done.get(step) }));
}
