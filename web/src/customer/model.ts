/** What the customer page knows: the track, the state of its connection, the time on the server's clock. */
import { createMemo, createSignal, onCleanup } from 'solid-js';
import { metresBetween } from '../live/glide';
import { millis, reduce, type Fix, type Track, type TrackMessage } from '../live/track';
import { webConfig } from '../net/config';
import { TrackChannel, type ChannelState } from '../net/trackChannel';
import type { Moment } from './words';

/** A courier that stays within this many metres stands still. */
const STILL_M = 25;
const LEAST_STALE_MS = 30_000;

export function createModel(token: string) {
  const [track, setTrack] = createSignal<Track>();
  const [state, setState] = createSignal<ChannelState>({ kind: 'connecting' });
  const [online, setOnline] = createSignal(navigator.onLine);
  const [tick, setTick] = createSignal(Date.now());
  const [restingFrom, setRestingFrom] = createSignal<{ place: Fix; sinceMs: number }>();
  const [heardMs, setHeardMs] = createSignal<number>();
  const [staleMs, setStaleMs] = createSignal(LEAST_STALE_MS);
  let clockOffsetMs = 0;
  void webConfig().then((config) => setStaleMs(config.stale_after_s * 1000));

  const watchStillness = (position: Fix): void => {
    const resting = restingFrom();
    if (!resting || metresBetween(resting.place, position) > STILL_M) {
      setRestingFrom({ place: position, sinceMs: millis(position.fix_time) });
    }
  };

  const receive = (message: TrackMessage): void => {
    setHeardMs(Date.now());
    if (message.type === 'hb') clockOffsetMs = millis(message.server_time) - Date.now() || 0;
    const after = reduce(track(), message);
    setTrack(after);
    if (after?.snapshot.position) watchStillness(after.snapshot.position);
    else setRestingFrom(undefined);
  };

  const channel = new TrackChannel(
    token,
    {
      message: receive,
      state: setState,
      resume: () => {
        const known = track();
        return known && { epoch: known.epoch, seq: known.seq };
      },
    },
    {
      openSocket: (url) => new WebSocket(url),
      fetch: (...given) => fetch(...given),
      now: Date.now,
      random: Math.random,
      socketUrl: `${location.origin.replace(/^http/, 'ws')}/ws/track`,
    },
  );
  const hurry = (): void => {
    setOnline(navigator.onLine);
    if (navigator.onLine && document.visibilityState === 'visible') channel.hurry();
  };
  window.addEventListener('online', hurry);
  window.addEventListener('offline', hurry);
  document.addEventListener('visibilitychange', hurry);
  const ticking = setInterval(() => setTick(Date.now()), 1000);
  void channel.run();
  onCleanup(() => {
    channel.stop();
    clearInterval(ticking);
    window.removeEventListener('online', hurry);
    window.removeEventListener('offline', hurry);
    document.removeEventListener('visibilitychange', hurry);
  });

  const snapshot = createMemo(() => track()?.snapshot);
  const moment = createMemo<Moment | undefined>(() => {
    const known = snapshot();
    return known && { snapshot: known, nowMs: tick() + clockOffsetMs, stillSinceMs: restingFrom()?.sinceMs, staleMs: staleMs() };
  });
  return { snapshot, moment, state, online, tick, heardMs };
}

export type Model = ReturnType<typeof createModel>;
