import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { StoredFix, StoredStep } from '../src/courier/outbox';
import { Sender, type Waiting } from '../src/courier/sender';
import { isDue } from '../src/courier/tracker';
import { ApiError } from '../src/net/api';

function outboxWith(fixes: number[], steps: string[] = []) {
  const waitingFixes = fixes.map((time): StoredFix => ({ fix_time: time, lat: 35.9, lon: 14.5 }));
  const waitingSteps = steps.map((path, key): StoredStep => ({ key, path, body: { at: `t${key}` } }));
  const outbox: Waiting = {
    newestFixes: async (limit) => [...waitingFixes].sort((a, b) => b.fix_time - a.fix_time).slice(0, limit),
    dropFixes: async (gone) => gone.forEach((fix) => waitingFixes.splice(waitingFixes.findIndex((one) => one.fix_time === fix.fix_time), 1)),
    steps: async () => [...waitingSteps],
    dropStep: async (gone) => void waitingSteps.splice(waitingSteps.findIndex((one) => one.key === gone.key), 1),
  };
  return { outbox, waitingFixes, waitingSteps };
}

function sender(outbox: Waiting, post: (path: string, body: unknown) => Promise<unknown>) {
  const seen = { refused: [] as string[], unauthorised: 0, advice: [] as number[] };
  const made = new Sender(
    outbox,
    { changed: () => undefined, advice: (advice) => seen.advice.push(advice.interval_s), refused: (step) => seen.refused.push(step.path), unauthorised: () => (seen.unauthorised += 1) },
    post,
    () => 0,
  );
  return { made, seen };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('a courier’s phone', () => {
  it('sends steps in order first, then fixes, newest first', async () => {
    const { outbox, waitingFixes, waitingSteps } = outboxWith([1, 3, 2], ['duty', 'deliveries/d-1/status']);
    const asked: unknown[] = [];
    const { made, seen } = sender(outbox, async (path, body) => {
      asked.push(path === '/v1/positions' ? (body as { fixes: StoredFix[] }).fixes.map((fix) => fix.fix_time) : [path, body]);
      return path === '/v1/positions' ? { next: { interval_s: 20, min_distance_m: 50 } } : undefined;
    });
    await made.flush();
    expect(asked).toEqual([['/v1/me/duty', { at: 't0' }], ['/v1/me/deliveries/d-1/status', { at: 't1' }], [3, 2, 1]]);
    expect([waitingFixes, waitingSteps]).toEqual([[], []]);
    expect(seen.advice).toEqual([20]);
  });

  it('sends the fixes of a duty before its end is told', async () => {
    const { outbox, waitingFixes, waitingSteps } = outboxWith([1, 2], ['deliveries/d-1/status']);
    waitingSteps.push({ key: 9, path: 'duty', body: { on_duty: false } });
    const asked: string[] = [];
    let up = false;
    const { made } = sender(outbox, async (path) => {
      if (!up && path === '/v1/positions') throw new ApiError(0, 'offline');
      asked.push(path);
      return {};
    });
    await made.flush();
    expect([asked, waitingFixes.length, waitingSteps.length]).toEqual([['/v1/me/deliveries/d-1/status'], 2, 1]);
    up = true;
    await made.flush();
    expect(asked.slice(1)).toEqual(['/v1/positions', '/v1/me/duty']);
    expect([waitingFixes, waitingSteps]).toEqual([[], []]);
  });

  it('keeps everything until the server has answered, and tries again by itself', async () => {
    const { outbox, waitingFixes } = outboxWith([1, 2]);
    let up = false;
    const { made } = sender(outbox, async () => {
      if (!up) throw new ApiError(0, 'offline');
      return {};
    });
    await made.flush();
    expect(waitingFixes).toHaveLength(2);
    up = true;
    await vi.advanceTimersByTimeAsync(600);
    expect(waitingFixes).toEqual([]);
  });

  it('waits as long as a busy server asks', async () => {
    const { outbox, waitingFixes } = outboxWith([1]);
    let asked = 0;
    const { made } = sender(outbox, async () => {
      asked += 1;
      if (asked === 1) throw new ApiError(503, 'busy', 7);
      return {};
    });
    await made.flush();
    await vi.advanceTimersByTimeAsync(6_999);
    expect(asked).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(waitingFixes).toEqual([]);
  });

  it('drops a step that will never be taken, says so, and goes on', async () => {
    const { outbox, waitingFixes, waitingSteps } = outboxWith([1], ['deliveries/d-1/status', 'duty']);
    const { made, seen } = sender(outbox, async (path) => {
      if (path.includes('d-1')) throw new ApiError(409, 'It is delivered already.');
      return {};
    });
    await made.flush();
    expect(seen.refused).toEqual(['deliveries/d-1/status']);
    expect([waitingFixes, waitingSteps]).toEqual([[], []]);
  });

  it('loses nothing when its token is no longer good', async () => {
    const { outbox, waitingFixes, waitingSteps } = outboxWith([1, 2], ['duty']);
    const { made, seen } = sender(outbox, async () => {
      throw new ApiError(401, 'no');
    });
    await made.flush();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(seen.unauthorised).toBe(1);
    expect([waitingFixes.length, waitingSteps.length]).toEqual([2, 1]);
  });

  it('sends two hours of fixes in batches of 200', async () => {
    const { outbox, waitingFixes } = outboxWith(Array.from({ length: 1_440 }, (_, i) => i));
    const sizes: number[] = [];
    const { made } = sender(outbox, async (_, body) => void sizes.push((body as { fixes: unknown[] }).fixes.length));
    await made.flush();
    expect(sizes).toEqual([200, 200, 200, 200, 200, 200, 200, 40]);
    expect(waitingFixes).toEqual([]);
  });

  it('keeps a fix when it is late or far enough from the last', () => {
    const at = (seconds: number, lat: number): StoredFix => ({ fix_time: seconds * 1000, lat, lon: 14.5 });
    const advice = { interval_s: 5, min_distance_m: 10 };
    expect(isDue(undefined, at(0, 35.9), advice)).toBe(true);
    expect(isDue(at(0, 35.9), at(4, 35.91), advice)).toBe(false);
    expect(isDue(at(0, 35.9), at(5, 35.9002), advice)).toBe(true);
    expect(isDue(at(0, 35.9), at(10, 35.9), advice)).toBe(false);
    expect(isDue(at(0, 35.9), at(30, 35.9), advice)).toBe(true);
    expect(isDue(at(5, 35.9), at(5, 35.95), advice)).toBe(false);
  });
});
