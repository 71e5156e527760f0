/**
 * The customer's connection to one delivery.
 *
 * Tries the WebSocket first, then server-sent events, then polling; goes back to the WebSocket after
 * a while of polling. Every attempt resumes by (epoch, seq). Ends, and stays ended, when the server
 * says that there is nothing more to come or nothing to see.
 */
import { afterClose, Backoff, type AfterClose } from './backoff';
import { readEvents } from './sse';
import { parseTrackMessage, type TrackMessage } from '../live/track';

export type EndReason = 'unauthorised' | 'forbidden' | 'unknown' | 'gone' | 'revoked';
export type Transport = 'socket' | 'events' | 'polling';

export type ChannelState =
  | { kind: 'connecting' }
  | { kind: 'live'; transport: Transport }
  | { kind: 'reconnecting'; sinceMs: number }
  | { kind: 'ended'; reason: EndReason };

/** What the channel needs of its surroundings; tests give their own. */
export interface Surroundings {
  openSocket: (url: string) => WebSocket;
  fetch: typeof fetch;
  now: () => number;
  random: () => number;
  /** `wss://host/ws/track`. */
  socketUrl: string;
}

export interface Listener {
  message: (message: TrackMessage) => void;
  state: (state: ChannelState) => void;
  /** Where to resume, if anything is known. */
  resume: () => { epoch: string | number; seq: number } | undefined;
}

/** Nothing heard for this long means a dead connection; heartbeats come every 10 s. */
const SILENCE_MS = 25_000;
const POLL_MS = 5_000;
/** Unproven attempts before the next transport is tried. */
const PATIENCE = 2;
const POLLS_BEFORE_SOCKET = 12;

interface Outcome {
  /** Something was received. */
  proved: boolean;
  after: AfterClose;
}

export class TrackChannel {
  private readonly backoff: Backoff;
  private readonly stopped = new AbortController();
  private transport: Transport = 'socket';
  private unproven = 0;
  private wake: (() => void) | undefined;
  private brokenSince: number | undefined;

  constructor(
    private readonly token: string,
    private readonly listener: Listener,
    private readonly around: Surroundings,
  ) {
    this.backoff = new Backoff(around.random);
  }

  /** Runs until the server ends it or `stop` is called. */
  async run(): Promise<void> {
    this.listener.state({ kind: 'connecting' });
    while (!this.stopped.signal.aborted) {
      const outcome = await this.attempt();
      if (this.stopped.signal.aborted) return;
      if (isEnd(outcome.after)) {
        this.listener.state({ kind: 'ended', reason: outcome.after });
        return;
      }
      this.brokenSince ??= this.around.now();
      this.listener.state({ kind: 'reconnecting', sinceMs: this.brokenSince });
      this.chooseTransport(outcome);
      await this.pause(this.backoff.next(outcome.after === 'bad' ? 'later' : outcome.after));
    }
  }

  stop(): void {
    this.stopped.abort();
    this.wake?.();
  }

  /** Ends the wait before the next attempt: the device is online or the page visible again. */
  hurry(): void {
    this.wake?.();
  }

  private attempt(): Promise<Outcome> {
    switch (this.transport) {
      case 'socket':
        return this.socket();
      case 'events':
        return this.events();
      case 'polling':
        return this.poll();
    }
  }

  private chooseTransport(outcome: Outcome): void {
    this.unproven = outcome.proved ? 0 : this.unproven + 1;
    if (this.transport === 'polling') {
      if (outcome.proved) this.transport = 'socket';
    } else if (this.unproven >= PATIENCE) {
      this.transport = this.transport === 'socket' ? 'events' : 'polling';
      this.unproven = 0;
    }
  }

  private heard(message: TrackMessage): void {
    if (message.type === 'drain') this.backoff.drain(message.retry_ms);
    if (message.type !== 'error' && message.type !== 'drain') {
      this.backoff.reset();
      this.brokenSince = undefined;
      this.listener.state({ kind: 'live', transport: this.transport });
    }
    this.listener.message(message);
  }

  private socket(): Promise<Outcome> {
    return new Promise((resolve) => {
      const socket = this.around.openSocket(this.around.socketUrl);
      let proved = false;
      let silence: ReturnType<typeof setTimeout>;
      const finish = (code: number): void => {
        clearTimeout(silence);
        this.stopped.signal.removeEventListener('abort', abandon);
        socket.onopen = socket.onmessage = socket.onclose = null;
        resolve({ proved, after: afterClose(code) });
      };
      const abandon = (): void => {
        socket.close();
        finish(1006);
      };
      const listen = (): void => {
        clearTimeout(silence);
        silence = setTimeout(abandon, SILENCE_MS);
      };
      this.stopped.signal.addEventListener('abort', abandon);
      socket.onopen = () => {
        socket.send(JSON.stringify({ type: 'hello', token: this.token, ...this.listener.resume() }));
      };
      socket.onmessage = (event) => {
        listen();
        const message = typeof event.data === 'string' ? parseTrackMessage(event.data) : undefined;
        if (!message) return;
        if (message.type !== 'error') proved = true;
        this.heard(message);
      };
      socket.onclose = (event) => finish(event.code);
      listen();
    });
  }

  private async events(): Promise<Outcome> {
    const silent = new AbortController();
    let silence = setTimeout(() => silent.abort(), SILENCE_MS);
    let proved = false;
    try {
      const resume = this.listener.resume();
      const query = resume ? `?epoch=${encodeURIComponent(resume.epoch)}&seq=${resume.seq}` : '';
      const response = await this.around.fetch(`/v1/track/events${query}`, {
        headers: { authorization: `Bearer ${this.token}`, accept: 'text/event-stream' },
        signal: AbortSignal.any([silent.signal, this.stopped.signal]),
      });
      if (!response.ok || !response.body) return { proved, after: afterStatus(response.status) };
      await readEvents(response.body, (data) => {
        clearTimeout(silence);
        silence = setTimeout(() => silent.abort(), SILENCE_MS);
        const message = parseTrackMessage(data);
        if (!message) return;
        proved = true;
        this.heard(message);
      });
    } catch {
      // A broken or silent stream: the outcome says what was received, the caller tries again.
    } finally {
      clearTimeout(silence);
    }
    return { proved, after: 'reconnect' };
  }

  private async poll(): Promise<Outcome> {
    let proved = false;
    for (let polls = 0; polls < POLLS_BEFORE_SOCKET; polls += 1) {
      try {
        const response = await this.around.fetch('/v1/track', {
          headers: { authorization: `Bearer ${this.token}` },
          signal: this.stopped.signal,
        });
        if (!response.ok) return { proved, after: afterStatus(response.status) };
        proved = true;
        const snapshot = (await response.json()) as object;
        this.heard({ ...snapshot, type: 'snapshot' } as TrackMessage);
      } catch {
        return { proved, after: 'reconnect' };
      }
      await this.pause(POLL_MS);
      if (this.stopped.signal.aborted) break;
    }
    return { proved, after: 'reconnect' };
  }

  private pause(ms: number): Promise<void> {
    if (this.stopped.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const wake = done;
      this.wake = wake;
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
    });
  }
}

function isEnd(after: AfterClose): after is EndReason {
  return after !== 'reconnect' && after !== 'later' && after !== 'bad';
}

/** What an HTTP status of the customer's routes asks for, in the words of close codes. */
export function afterStatus(status: number): AfterClose {
  switch (status) {
    case 401:
      return 'unauthorised';
    case 403:
      return 'forbidden';
    case 404:
      return 'unknown';
    case 410:
      return 'gone';
    case 429:
      return 'later';
    default:
      return 'reconnect';
  }
}
