import { describe, expect, it } from 'vitest';
import { DELTA, SNAPSHOT } from '../src/live/fleetFrame';
import { FLOATS, FleetStore, HIDDEN, mercatorX, mercatorY, PROBLEM, SELECTED } from '../src/live/fleetStore';
import { metresBetween } from '../src/live/glide';
import { frame } from './frames';

function fleet() {
  let nowMs = 10_000;
  const store = new FleetStore(() => nowMs);
  return { store, wait: (ms: number) => (nowMs += ms) };
}

const name = (handle: number, id = `c-${handle}`) => ({ handle, courier_id: id, name: id.toUpperCase() });
const TOPIC = '0000000000000001';

describe('the fleet store', () => {
  it('shows a courier where the first frame says', () => {
    const { store } = fleet();
    store.name([name(7)]);
    store.apply(frame({ type: SNAPSHOT, entries: [{ handle: 7, lat: 35.91, lon: 14.49, status: 3 }] }));
    expect(store.get('c-7')).toMatchObject({ name: 'C-7', status: 'stopped' });
    const place = store.place('c-7')!;
    expect(metresBetween(place, { lat: 35.91, lon: 14.49 })).toBeLessThan(1);
  });

  it('glides over the observed interval and then rests', () => {
    const { store, wait } = fleet();
    store.name([name(1)]);
    store.apply(frame({ type: SNAPSHOT, entries: [{ handle: 1, lat: 35.9, lon: 14.5, status: 3 }] }));
    wait(4_000);
    store.apply(frame({ type: DELTA, entries: [{ handle: 1, lat: 35.901, lon: 14.5, status: 3 }] }));
    wait(2_000);
    expect(store.place('c-1')!.lat).toBeCloseTo(35.9005, 4);
    wait(2_000);
    expect(store.place('c-1')!.lat).toBeCloseTo(35.901, 5);
    wait(60_000);
    expect(store.place('c-1')!.lat).toBeCloseTo(35.901, 5);
  });

  it('jumps over more than 300 m, and after more than 30 s', () => {
    const { store, wait } = fleet();
    store.name([name(1), name(2)]);
    const at = (lat: number) => [{ handle: 1, lat, lon: 14.5, status: 3 }];
    store.apply(frame({ type: SNAPSHOT, entries: at(35.9) }));
    wait(5_000);
    store.apply(frame({ type: DELTA, entries: at(35.9031) }));
    expect(store.place('c-1')!.lat).toBeCloseTo(35.9031, 5);
    wait(31_000);
    store.apply(frame({ type: DELTA, entries: at(35.9035) }));
    expect(store.place('c-1')!.lat).toBeCloseTo(35.9035, 5);
  });

  it('keeps places exact when the origin moves, also in the middle of a glide', () => {
    const { store, wait } = fleet();
    store.name([name(1)]);
    store.apply(frame({ type: SNAPSHOT, entries: [{ handle: 1, lat: 35.9, lon: 14.5, status: 3 }] }));
    store.moveOrigin(mercatorX(14.5), mercatorY(35.9));
    wait(5_000);
    store.apply(frame({ type: DELTA, entries: [{ handle: 1, lat: 35.901, lon: 14.501, status: 3 }] }));
    wait(2_500);
    const before = store.place('c-1')!;
    store.moveOrigin(mercatorX(14.49), mercatorY(35.89));
    expect(metresBetween(before, store.place('c-1')!)).toBeLessThan(0.05);
  });

  it('fills the hole that a removed courier leaves', () => {
    const { store } = fleet();
    store.name([1, 2, 3].map((handle) => name(handle)));
    store.apply(frame({ type: SNAPSHOT, entries: [1, 2, 3].map((handle) => ({ handle, lat: 35.9, lon: 14.5 + handle / 100 })) }));
    store.removeFrom(TOPIC, [1]);
    expect(store.count).toBe(2);
    expect(store.get('c-1')).toBeUndefined();
    for (const handle of [2, 3]) expect(store.place(`c-${handle}`)!.lon).toBeCloseTo(14.5 + handle / 100, 4);
  });

  it('keeps a courier that another topic has taken over', () => {
    const { store } = fleet();
    store.name([name(1)]);
    store.apply(frame({ type: SNAPSHOT, topic: 1n, entries: [{ handle: 1, lat: 35.9, lon: 14.5 }] }));
    store.apply(frame({ type: DELTA, topic: 2n, entries: [{ handle: 1, lat: 35.9001, lon: 14.5 }] }));
    store.removeFrom(TOPIC, [1]);
    expect(store.count).toBe(1);
    store.dropTopic('0000000000000002');
    expect(store.count).toBe(0);
  });

  it('forgets on a new snapshot those who are not in it', () => {
    const { store } = fleet();
    store.name([name(1), name(2)]);
    store.apply(frame({ type: SNAPSHOT, entries: [{ handle: 1, lat: 35.9, lon: 14.5 }, { handle: 2, lat: 35.9, lon: 14.5 }] }));
    store.dropTopic(TOPIC, new Set([2]));
    expect([store.get('c-1'), store.get('c-2')?.courierId]).toEqual([undefined, 'c-2']);
  });

  it('learns a name that comes after the position', () => {
    const { store } = fleet();
    store.apply(frame({ type: DELTA, entries: [{ handle: 9, lat: 35.9, lon: 14.5 }] }));
    expect(store.get('#9')).toBeDefined();
    store.name([name(9, 'c-nine')]);
    expect(store.get('c-nine')?.name).toBe('C-NINE');
    expect(store.get('#9')).toBeUndefined();
  });

  it('tells the shader who is selected, in trouble, filtered out', () => {
    const { store } = fleet();
    store.name([name(1), name(2)]);
    store.apply(frame({ type: SNAPSHOT, entries: [{ handle: 1, lat: 35.9, lon: 14.5, status: 2 }, { handle: 2, lat: 35.95, lon: 14.5, status: 4 }] }));
    store.select('c-1');
    store.setProblems(['c-1']);
    store.filter((known) => known.courierId === 'c-1');
    expect(store.floats[7]).toBe(2 + SELECTED + PROBLEM);
    expect(store.floats[FLOATS + 7]).toBe(4 + HIDDEN);
    expect(store.nearest(mercatorX(14.5), mercatorY(35.95), 1e-6)).toBeUndefined();
    store.filter(undefined);
    expect(store.nearest(mercatorX(14.5), mercatorY(35.95), 1e-6)?.courierId).toBe('c-2');
  });

  it('grows beyond its first size', () => {
    const { store } = fleet();
    const entries = Array.from({ length: 3_000 }, (_, handle) => ({ handle, lat: 35.9, lon: 14.4 + handle * 1e-5 }));
    store.name(entries.map(({ handle }) => name(handle)));
    store.apply(frame({ type: SNAPSHOT, entries }));
    expect(store.count).toBe(3_000);
    expect(store.place('c-2999')!.lon).toBeCloseTo(14.4 + 0.029_99, 4);
  });
});
