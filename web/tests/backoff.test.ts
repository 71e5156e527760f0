import { describe, expect, it } from 'vitest';
import { afterClose, Backoff } from '../src/net/backoff';

describe('waiting between attempts', () => {
  it('doubles up to 15 s, drawn from the upper half', () => {
    const shortest = new Backoff(() => 0);
    const longest = new Backoff(() => 1);
    expect(Array.from({ length: 7 }, () => shortest.next())).toEqual([250, 500, 1000, 2000, 4000, 7500, 7500]);
    expect(Array.from({ length: 7 }, () => longest.next())).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000]);
  });

  it('comes back when a draining server asks, once', () => {
    const backoff = new Backoff(() => 0);
    backoff.drain(3_210);
    expect(backoff.next()).toBe(3_210);
    expect(backoff.next()).toBe(500);
    backoff.drain(10 ** 9);
    expect(backoff.next()).toBe(60_000);
  });

  it('starts over after a connection that worked', () => {
    const backoff = new Backoff(() => 0);
    for (let i = 0; i < 5; i += 1) backoff.next();
    backoff.reset();
    expect(backoff.next()).toBe(250);
  });

  it('waits at least 20 s when there were too many', () => {
    expect(new Backoff(() => 0).next('later')).toBeGreaterThanOrEqual(20_000);
  });

  it.each([
    [1006, 'reconnect'], [1012, 'reconnect'], [4008, 'reconnect'], [4029, 'later'], [4000, 'bad'], [4001, 'unauthorised'],
    [4003, 'forbidden'], [4004, 'unknown'], [4010, 'gone'], [4011, 'revoked'],
  ])('reads close code %i as %s', (code, meaning) => {
    expect(afterClose(code)).toBe(meaning);
  });
});
