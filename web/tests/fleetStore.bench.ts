/** What a tick of the fleet channel costs the page: `npx vitest bench --run`. */
import { bench, describe } from 'vitest';
import { FleetStore } from '../src/live/fleetStore';
import { frame } from './frames';

const COURIERS = 10_000;
/** As the server sends them: a frame for each of some sixty cells. */
const CELLS = 60;

function frames(shift: number): ArrayBuffer[] {
  return Array.from({ length: CELLS }, (_, cell) => {
    const entries = [];
    for (let handle = cell; handle < COURIERS; handle += CELLS) {
      entries.push({ handle, lat: 35.9 + (handle % 100) * 1e-4 + shift, lon: 14.5 + Math.floor(handle / 100) * 1e-4, speed: 10, heading: 90, status: 2 });
    }
    return frame({ type: 2, topic: BigInt(cell + 1), entries });
  });
}

describe('10,000 couriers', () => {
  let now = 0;
  const store = new FleetStore(() => now);
  const ways = [frames(0), frames(1e-4)];
  let tick = 0;
  bench('every one of them moves', () => {
    now += 500;
    for (const one of ways[(tick += 1) % 2]!) store.apply(one);
  });
  let turn = 0;
  bench('a tenth of them moves, as with a fix every 5 s', () => {
    now += 500;
    const some = ways[turn % 2]!;
    for (let i = 0; i < CELLS / 10; i += 1) store.apply(some[(turn * 6 + i) % CELLS]!);
    turn += 1;
  });
});
