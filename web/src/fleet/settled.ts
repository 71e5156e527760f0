/**
 * Matters that this dispatcher has put off or settled, kept in this browser. One that is settled comes
 * back when it happens anew, one that is put off when its time is over.
 */
import { keyOf } from './matters';
import type { Attention } from './types';

interface Settled {
  /** `since` of the matter that was settled. */
  since: string;
  /** Milliseconds since the epoch; `null` is for good. */
  untilMs: number | null;
}

/** Where they are kept: `localStorage`, or a map in tests. */
export type Shelf = Pick<Storage, 'getItem' | 'setItem'>;

const KEY = 'waylog-settled';
/** What was settled longer ago than this is forgotten: its matter is long over. */
const MOST = 500;

function read(shelf: Shelf): Record<string, Settled> {
  return JSON.parse(shelf.getItem(KEY) ?? '{}') as Record<string, Settled>;
}

/** Puts a matter off until `untilMs`, or settles it for good. */
export function settle(shelf: Shelf, matter: Attention, untilMs: number | null): void {
  const { [keyOf(matter)]: _before, ...others } = read(shelf);
  const kept = Object.entries(others).slice(1 - MOST);
  shelf.setItem(KEY, JSON.stringify(Object.fromEntries([...kept, [keyOf(matter), { since: matter.since, untilMs }]])));
}

/** Those that still ask for attention. */
export function unsettled(shelf: Shelf, matters: Attention[], nowMs: number): Attention[] {
  const known = read(shelf);
  return matters.filter((matter) => {
    const settled = known[keyOf(matter)];
    if (!settled) return true;
    return settled.untilMs === null ? settled.since !== matter.since : nowMs >= settled.untilMs;
  });
}
