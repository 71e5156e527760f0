import { describe, expect, it } from 'vitest';
import { parseTrackMessage, reduce, type Track, type TrackMessage } from '../src/live/track';
import { snapshot } from './messages';

const after = (...messages: TrackMessage[]): Track => messages.reduce<Track | undefined>(reduce, reduce(undefined, snapshot))!;

describe('what a customer knows', () => {
  it('begins with a snapshot and with nothing else', () => {
    expect(reduce(undefined, { type: 'eta', seq: 1, from: 'x', to: 'y' })).toBeUndefined();
    expect(after()).toMatchObject({ epoch: 'a', seq: 5 });
  });

  it('follows fixes, and ignores what it has seen', () => {
    const moved = after({ type: 'fix', seq: 6, lat: 35.901, lon: 14.5, fix_time: 1 });
    expect(moved.snapshot.position).toEqual({ lat: 35.901, lon: 14.5, fix_time: 1 });
    expect(reduce(moved, { type: 'fix', seq: 6, lat: 1, lon: 1, fix_time: 2 })).toBe(moved);
  });

  it('drops position, path and route when they are hidden', () => {
    const { snapshot: hidden } = after({ type: 'hidden', seq: 6, why: 'other_stop' });
    expect(hidden).toMatchObject({ position: null, path: null, route: null, why_hidden: 'other_stop' });
    const back = after({ type: 'hidden', seq: 6, why: 'other_stop' }, { type: 'fix', seq: 7, lat: 35.9, lon: 14.5, fix_time: 1 });
    expect(back.snapshot.why_hidden).toBeNull();
  });

  it('makes the path longer with each fix, only where there is one, and within bounds', () => {
    expect(after({ type: 'fix', seq: 6, lat: 35.901, lon: 14.5, fix_time: 1 }).snapshot.path).toBeNull();
    let track = reduce(undefined, { ...snapshot, path: [[14.5, 35.9]] })!;
    for (let seq = 6; seq < 2_000; seq += 1) track = reduce(track, { type: 'fix', seq, lat: 35.9 + seq / 1e6, lon: 14.5, fix_time: seq })!;
    expect(track.snapshot.path).toHaveLength(1_000);
    expect(track.snapshot.path!.at(-1)).toEqual([14.5, 35.9 + 1_999 / 1e6]);
  });

  it('adds steps to the timeline, and keeps no position after the end', () => {
    const at = '2026-11-22T10:41:00Z';
    const { snapshot: arrived } = after({ type: 'status', seq: 6, status: 'arrived', at });
    expect(arrived.delivery.timeline.at(-1)).toEqual({ status: 'arrived', at });
    expect(arrived.position).not.toBeNull();
    const { snapshot: done } = after({ type: 'status', seq: 6, status: 'delivered', at });
    expect(done).toMatchObject({ position: null, eta: null, route: null, why_hidden: 'finished' });
  });

  it('takes a snapshot of another epoch even with a smaller number', () => {
    expect(after({ ...snapshot, epoch: 'b', seq: 1 })).toMatchObject({ epoch: 'b', seq: 1 });
  });

  it('lets heartbeats and unknown messages pass', () => {
    const known = after();
    expect(reduce(known, { type: 'hb', server_time: 1 })).toBe(known);
    expect(reduce(known, { type: 'balloons', seq: 9 } as unknown as TrackMessage)?.snapshot ?? known.snapshot).toEqual(known.snapshot);
  });

  it.each(['', 'null', '[]', '{', '7', '{"no":"type"}'])('reads %j as no message', (text) => {
    expect(parseTrackMessage(text)).toBeUndefined();
  });
});
