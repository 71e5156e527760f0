/**
 * The dispatcher's connection: a ticket from the API, then the socket. Tells the server what is on
 * the screen (at most every 150 ms), keeps the store and the cells up to date, reconnects by itself.
 */
import { afterClose, Backoff } from './backoff';
import { topicId, readHeader, SNAPSHOT } from '../live/fleetFrame';
import type { CourierName, FleetStore } from '../live/fleetStore';
import { spend } from '../live/shown';
import { ApiError, post } from './api';

export type Counts = [idle: number, toPickup: number, delivering: number, stopped: number, stale: number, offline: number];

interface CellUpdate {
  cell: string;
  polygon?: [number, number][];
  counts: Counts;
}

type FleetMessage =
  | { type: 'hello'; epoch: number; server_time: string; tick_ms: number }
  | { type: 'topics'; add: string[]; remove: string[] }
  | { type: 'snapshot'; topic: string; seq: number; couriers: CourierName[] }
  | { type: 'names'; couriers: CourierName[] }
  | { type: 'removed'; topic: string; handles: number[] }
  | { type: 'cells'; topic: string; seq: number; snapshot: boolean; cells: CellUpdate[]; removed?: string[] }
  | { type: 'hb'; server_time: string }
  | { type: 'drain'; retry_ms: number }
  | { type: 'error'; code: string; detail?: string };

export interface Cell {
  topic: string;
  polygon: [number, number][];
  counts: Counts;
}

export type FleetState =
  | { kind: 'connecting' }
  | { kind: 'live' }
  | { kind: 'reconnecting'; sinceMs: number }
  | { kind: 'ended'; reason: string };

export interface FleetListener {
  state: (state: FleetState) => void;
  /** Positions changed (the store has them). */
  moved: () => void;
  cells: (cells: ReadonlyMap<string, Cell>) => void;
}

export interface View {
  bbox: [number, number, number, number];
  zoom: number;
}

const VIEW_EVERY_MS = 150;
const SILENCE_MS = 25_000;

export class FleetChannel {
  private readonly backoff = new Backoff();
  private readonly cells = new Map<string, Cell>();
  private socket: WebSocket | undefined;
  private view: View | undefined;
  private viewTimer: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private brokenSince: number | undefined;
  private stopped = false;
  private epoch: number | undefined;

  constructor(
    private readonly store: FleetStore,
    private readonly listener: FleetListener,
    private readonly openSocket: (url: string) => WebSocket = (url) => new WebSocket(url),
  ) {}

  start(): void {
    this.listener.state({ kind: 'connecting' });
    void this.connect();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    clearTimeout(this.viewTimer);
    this.socket?.close();
  }

  /** What is on the screen. */
  look(view: View): void {
    this.view = view;
    this.viewTimer ??= setTimeout(() => {
      this.viewTimer = undefined;
      this.sendView();
    }, VIEW_EVERY_MS);
  }

  private sendView(): void {
    if (this.view && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ type: 'view', ...this.view }));
    }
  }

  private async connect(): Promise<void> {
    let ticket: string;
    try {
      ticket = (await post<{ ticket: string }>('/v1/fleet/ticket')).ticket;
    } catch (cause) {
      if (cause instanceof ApiError && (cause.status === 401 || cause.status === 403)) {
        this.listener.state({ kind: 'ended', reason: 'unauthorised' });
      } else {
        this.again(1006);
      }
      return;
    }
    if (this.stopped) return;
    const socket = this.openSocket(`${location.origin.replace(/^http/, 'ws')}/ws/fleet`);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    let finished = false;
    const finish = (code: number): void => {
      if (finished) return;
      finished = true;
      clearTimeout(this.silence);
      this.again(code);
    };
    const listen = (): void => {
      clearTimeout(this.silence);
      this.silence = setTimeout(() => {
        socket.close();
        finish(1006);
      }, SILENCE_MS);
    };
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', ticket }));
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      listen();
      if (finished) return;
      if (typeof event.data === 'string') this.text(event.data);
      else this.binary(event.data);
    };
    socket.onclose = (event) => finish(event.code);
    listen();
  }

  private again(code: number): void {
    if (this.stopped) return;
    const after = afterClose(code);
    if (after !== 'reconnect' && after !== 'later' && after !== 'unauthorised' && after !== 'bad') {
      this.listener.state({ kind: 'ended', reason: after });
      return;
    }
    // A ticket is good for one socket and 30 s, so `unauthorised` asks for a new one.
    this.brokenSince ??= Date.now();
    this.listener.state({ kind: 'reconnecting', sinceMs: this.brokenSince });
    this.retry = setTimeout(() => void this.connect(), this.backoff.next(after === 'bad' ? 'later' : after));
  }

  private text(data: string): void {
    const message = JSON.parse(data) as FleetMessage;
    switch (message.type) {
      case 'hello':
        this.backoff.reset();
        this.brokenSince = undefined;
        // Handles and topics belong to one connection: snapshots follow.
        this.store.clear();
        this.cells.clear();
        this.listener.cells(this.cells);
        this.epoch = message.epoch;
        this.listener.state({ kind: 'live' });
        this.sendView();
        break;
      case 'topics':
        this.forget(message.remove.map(topicId));
        break;
      case 'snapshot':
        this.store.name(message.couriers);
        this.store.dropTopic(topicId(message.topic), new Set(message.couriers.map((one) => one.handle)));
        break;
      case 'names':
        this.store.name(message.couriers);
        break;
      case 'removed':
        this.store.removeFrom(topicId(message.topic), message.handles);
        this.listener.moved();
        break;
      case 'cells':
        this.takeCells(message);
        break;
      case 'drain':
        this.backoff.drain(message.retry_ms);
        break;
      case 'hb':
      case 'error':
        break;
    }
  }

  private binary(buffer: ArrayBuffer): void {
    const began = performance.now();
    const { epoch, type, count } = readHeader(buffer);
    if (this.epoch !== undefined && epoch !== this.epoch && type !== SNAPSHOT) return;
    this.store.apply(buffer);
    this.listener.moved();
    spend(began, count);
  }

  private takeCells(message: Extract<FleetMessage, { type: 'cells' }>): void {
    const topic = topicId(message.topic);
    if (message.snapshot) {
      for (const [key, cell] of this.cells) if (cell.topic === topic) this.cells.delete(key);
    }
    for (const { cell, polygon, counts } of message.cells) {
      const ring = polygon ?? this.cells.get(cell)?.polygon;
      if (ring) this.cells.set(cell, { topic, polygon: ring, counts });
    }
    for (const cell of message.removed ?? []) this.cells.delete(cell);
    this.listener.cells(this.cells);
  }

  private forget(topics: string[]): void {
    if (topics.length === 0) return;
    const gone = new Set(topics);
    for (const topic of gone) this.store.dropTopic(topic);
    for (const [key, cell] of this.cells) if (gone.has(cell.topic)) this.cells.delete(key);
    this.listener.moved();
    this.listener.cells(this.cells);
  }
}
