/** Fixes from the browser's own geolocation, as often as the server advises. */
import { metresBetween } from '../live/glide';
import type { StoredFix } from './outbox';
import type { Advice } from './sender';

export type TrackerState = 'off' | 'waiting' | 'on' | 'denied' | 'unavailable';

export const FIRST_ADVICE: Advice = { interval_s: 5, min_distance_m: 10 };

/** Whether a fix is worth keeping: late enough, or far enough from the last one. */
export function isDue(last: StoredFix | undefined, fix: StoredFix, advice: Advice): boolean {
  if (!last) return true;
  const seconds = (fix.fix_time - last.fix_time) / 1000;
  if (seconds <= 0) return false;
  if (seconds >= Math.max(advice.interval_s, 1) * 6) return true;
  return seconds >= advice.interval_s && metresBetween(last, fix) >= advice.min_distance_m;
}

export class Tracker {
  advice = FIRST_ADVICE;
  private watch: number | undefined;
  private last: StoredFix | undefined;
  private lock: WakeLockSentinel | undefined;

  constructor(
    private readonly take: (fix: StoredFix) => void,
    private readonly state: (state: TrackerState) => void,
  ) {}

  start(): void {
    if (this.watch !== undefined) return;
    if (!('geolocation' in navigator)) {
      this.state('unavailable');
      return;
    }
    this.state('waiting');
    this.watch = navigator.geolocation.watchPosition(
      (position) => this.observe(position),
      (error) => this.state(error.code === error.PERMISSION_DENIED ? 'denied' : 'unavailable'),
      { enableHighAccuracy: true, maximumAge: 0 },
    );
    void this.stayAwake();
    document.addEventListener('visibilitychange', this.stayAwake);
  }

  stop(): void {
    if (this.watch !== undefined) navigator.geolocation.clearWatch(this.watch);
    this.watch = undefined;
    document.removeEventListener('visibilitychange', this.stayAwake);
    void this.lock?.release();
    this.state('off');
  }

  private observe({ coords, timestamp }: GeolocationPosition): void {
    this.state('on');
    const fix: StoredFix = { fix_time: Math.round(timestamp), lat: coords.latitude, lon: coords.longitude, accuracy_m: coords.accuracy };
    if (coords.speed !== null && Number.isFinite(coords.speed)) fix.speed_mps = coords.speed;
    if (coords.heading !== null && Number.isFinite(coords.heading)) fix.heading_deg = coords.heading;
    if (coords.altitude !== null) fix.altitude_m = coords.altitude;
    if (!isDue(this.last, fix, this.advice)) return;
    this.last = fix;
    this.take(fix);
  }

  /** Browsers stop geolocation when the screen goes off. */
  private readonly stayAwake = async (): Promise<void> => {
    if (document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    this.lock = await navigator.wakeLock.request('screen').catch(() => undefined);
  };
}
