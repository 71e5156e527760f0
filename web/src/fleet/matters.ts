/** What a matter of the attention list is called, and what it is about. Pure. */
import { span, t } from '../i18n';
import { millis } from '../live/track';
import type { Attention, Selection } from './types';

/** Names by kind, courier and delivery: the same matter keeps its key. */
export function keyOf(matter: Attention): string {
  return [matter.kind, matter.courier_id ?? '', matter.delivery_id ?? ''].join('|');
}

/** A matter as a person would say it. */
export function matterWords(matter: Attention, nowMs: number): { sentence: string; who: string } {
  const courier = matter.courier_name || matter.courier_id || '';
  const delivery = matter.delivery_label || matter.delivery_id || '';
  const sinceMs = millis(matter.since);
  // What will be late bears the time at which it is due.
  const ahead = sinceMs > nowMs;
  const ago = span(Math.abs(nowMs - sinceMs));
  const late = matter.kind === 'late';
  const id = matter.delivery_label ? matter.delivery_id : undefined;
  return {
    sentence: t(late && ahead ? 'attention.say_will_be_late' : `attention.say_${matter.kind}`, { courier, delivery, ago }),
    who: [late ? courier : '', id].filter(Boolean).join(' · '),
  };
}

/** The card that a matter opens. */
export function selectionOf(matter: Attention, assigning = false): Selection | undefined {
  if (matter.delivery_id && matter.kind !== 'quiet' && matter.kind !== 'sos') return { kind: 'delivery', id: matter.delivery_id, assigning };
  return matter.courier_id ? { kind: 'courier', id: matter.courier_id } : undefined;
}

/** The matters of `after` that `before` did not have. */
export function fresh(before: readonly Attention[], after: readonly Attention[]): Attention[] {
  const known = new Set(before.map(keyOf));
  return after.filter((matter) => !known.has(keyOf(matter)));
}
