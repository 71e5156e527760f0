import { beforeAll, describe, expect, it } from 'vitest';
import en from '../src/i18n/en';
import { use } from '../src/i18n';
import { spoken, steps, words, type Moment } from '../src/customer/words';
import type { Snapshot, Status } from '../src/live/track';
import { snapshot } from './messages';

const NOW = Date.parse('2026-11-22T10:30:05Z');
const moment = (change: Partial<Snapshot> = {}, more: Partial<Moment> = {}): Moment => ({ snapshot: { ...snapshot, ...change }, nowMs: NOW, stillSinceMs: undefined, staleMs: 30_000, ...more });
const at = (status: Status): Snapshot['delivery'] => ({ ...snapshot.delivery, status, timeline: [...snapshot.delivery.timeline, { status, at: '2026-11-22T10:29:00Z' }] });

beforeAll(() => use(en, 'en'));

describe('what the customer is told', () => {
  it('gives the time left as a range, and the distance', () => {
    const said = words(moment());
    expect(said.head).toBe('7–12 min');
    expect(said.sentence).toBe('Maria is on the way to you by bike, 1.1\u00a0km away.');
  });

  it('never promises the past', () => {
    expect(words(moment({ eta: { from: '2026-11-22T10:20:00Z', to: '2026-11-22T10:29:00Z' } })).head).toBe('Any minute now');
    expect(words(moment({ eta: { from: '2026-11-22T10:29:00Z', to: '2026-11-22T10:33:00Z' } })).head).toBe('1–3 min');
  });

  it('says why the courier is not to be seen', () => {
    expect(words(moment({ position: null, stops_before: 2, why_hidden: 'other_stop' })).sentence).toContain('2 stops before yours');
    expect(words(moment({ position: null, stops_before: 1 })).sentence).toContain('1 stop before yours');
    expect(words(moment({ position: null, why_hidden: 'other_stop' })).sentence).toContain('another customer');
    expect(words(moment({ position: null, why_hidden: 'stale' })).sentence).toContain('lost touch');
  });

  it('says that it is stale after as long as the installation says, not before', () => {
    expect(words(moment({}, { nowMs: NOW + 30_000, staleMs: 45_000 })).sentence).not.toContain('No position');
    expect(words(moment({}, { nowMs: NOW + 24_000 })).sentence).not.toContain('No position');
    expect(words(moment({}, { nowMs: NOW + 26_000 })).sentence).toContain('No position from Maria for 31 s');
  });

  it('says that the courier stands still', () => {
    expect(words(moment({}, { stillSinceMs: NOW - 180_000 })).sentence).toContain('standing still for 3 min');
  });

  it.each([['created', 'Being prepared'], ['assigned', 'Waiting for pick-up'], ['arrived', 'At your door'], ['delivered', 'Delivered'], ['failed', 'Not delivered'], ['cancelled', 'Cancelled']] as const)('calls %s %s', (status, head) => {
    expect(words(moment({ delivery: at(status) })).head).toBe(head);
  });

  it('speaks the whole map for those who do not see it', () => {
    expect(spoken(moment())).toMatch(/^7–12 min\. Arrives between .+\. Maria is on the way .+ away\. The courier is 1\.1\u00a0km from you, heading north\.$/);
  });

  it('lists what happened and what is to come', () => {
    expect(steps(snapshot).map((step) => [step.status, step.atMs !== undefined])).toEqual([
      ['created', true], ['picked_up', true], ['arrived', false], ['delivered', false],
    ]);
    expect(steps({ ...snapshot, delivery: at('failed') }).map((step) => step.status)).toEqual(['created', 'picked_up', 'failed']);
  });

  it('gets by without a name, a vehicle, a drop-off', () => {
    expect(words(moment({ courier: null, delivery: { ...snapshot.delivery, dropoff: null } })).sentence).toBe('Your courier is on the way to you.');
  });
});
