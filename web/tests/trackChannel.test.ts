import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TrackChannel, type ChannelState } from '../src/net/trackChannel';
import type { TrackMessage } from '../src/live/track';
import { snapshot } from './messages';

/** The browser's side of a socket, handed to the test instead of a network. */
class Line {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  sent: unknown[] = [];
  closed = false;
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  tell(message: TrackMessage): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

function open(answers: ((path: string) => Response | Promise<Response>)[] = []) {
  const lines: Line[] = [];
  const states: ChannelState[] = [];
  const messages: TrackMessage[] = [];
  const asked: string[] = [];
  let known: { epoch: string; seq: number } | undefined;
  const channel = new TrackChannel(
    'secret',
    {
      message: (message) => {
        messages.push(message);
        if (message.type === 'snapshot') known = { epoch: String(message.epoch), seq: message.seq };
      },
      state: (state) => states.push(state),
      resume: () => known,
    },
    {
      openSocket: () => {
        const line = new Line();
        lines.push(line);
        return line as unknown as WebSocket;
      },
      fetch: ((path: string, init: RequestInit) => {
        asked.push(`${path} ${(init.headers as Record<string, string>).authorization}`);
        const answer = answers.shift();
        return answer ? Promise.resolve(answer(path)) : new Promise(() => {});
      }) as typeof fetch,
      now: () => Date.now(),
      random: () => 0,
      socketUrl: 'wss://example/ws/track',
    },
  );
  void channel.run();
  return { channel, lines, states, messages, asked, last: () => states.at(-1)! };
}

const settle = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('the customer channel', () => {
  it('says hello with the token, never in the URL, and is live with the first message', async () => {
    const { lines, last } = open();
    lines[0]!.onopen?.();
    expect(lines[0]!.sent).toEqual([{ type: 'hello', token: 'secret' }]);
    lines[0]!.tell(snapshot);
    expect(last()).toEqual({ kind: 'live', transport: 'socket' });
  });

  it('resumes where it was, after the wait that a draining server asks for', async () => {
    const { lines, last } = open();
    lines[0]!.onopen?.();
    lines[0]!.tell(snapshot);
    lines[0]!.tell({ type: 'drain', retry_ms: 4_000 });
    lines[0]!.onclose?.({ code: 1012 });
    await settle(3_999);
    expect(last().kind).toBe('reconnecting');
    expect(lines).toHaveLength(1);
    await settle(1);
    lines[1]!.onopen?.();
    expect(lines[1]!.sent).toEqual([{ type: 'hello', token: 'secret', epoch: 'a', seq: 5 }]);
    lines[1]!.tell({ type: 'hb', server_time: 1 });
    expect(last().kind).toBe('live');
  });

  it.each([[4001, 'unauthorised'], [4003, 'forbidden'], [4004, 'unknown'], [4010, 'gone'], [4011, 'revoked']] as const)('does not come back after %i', async (code, reason) => {
    const { lines, last } = open();
    lines[0]!.onclose?.({ code });
    await settle(600_000);
    expect(last()).toEqual({ kind: 'ended', reason });
    expect(lines).toHaveLength(1);
  });

  it('takes 25 s of silence for a dead connection', async () => {
    const { lines, last } = open();
    lines[0]!.onopen?.();
    lines[0]!.tell(snapshot);
    await settle(24_999);
    expect(last().kind).toBe('live');
    await settle(1);
    expect(lines[0]!.closed).toBe(true);
    expect(last().kind).toBe('reconnecting');
  });

  it('keeps saying since when it is broken', async () => {
    const { lines, states } = open();
    const began = Date.now();
    lines[0]!.onclose?.({ code: 1006 });
    await settle(250);
    lines[1]!.onclose?.({ code: 1006 });
    await settle();
    const broken = states.filter((state) => state.kind === 'reconnecting');
    expect(broken.map((state) => state.kind === 'reconnecting' && state.sinceMs)).toEqual([began, began]);
  });

  it('goes on with events over fetch, then polls, then tries the socket again', async () => {
    const gone = (): Response => new Response(null, { status: 502 });
    const { lines, asked, last } = open([gone, gone, () => Response.json({ ...snapshot, type: undefined })]);
    lines[0]!.onclose?.({ code: 1006 });
    await settle(250);
    lines[1]!.onclose?.({ code: 1006 });
    await settle(500);
    await settle(1_000);
    await settle(2_000);
    expect(asked.slice(0, 3)).toEqual(['/v1/track/events Bearer secret', '/v1/track/events Bearer secret', '/v1/track Bearer secret']);
    expect(last()).toEqual({ kind: 'live', transport: 'polling' });
  });

  it('reads events from a stream and resumes it by query', async () => {
    const encoder = new TextEncoder();
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        const text = `event: x\ndata: ${JSON.stringify(snapshot)}\n\ndata: ${JSON.stringify({ type: 'hb', server_time: 1 })}\n\n`;
        controller.enqueue(encoder.encode(text.slice(0, 30)));
        controller.enqueue(encoder.encode(text.slice(30)));
        controller.close();
      },
    });
    const { lines, asked, messages } = open([() => new Response(stream)]);
    lines[0]!.onclose?.({ code: 1006 });
    await settle(250);
    lines[1]!.onclose?.({ code: 1006 });
    await settle(500);
    expect(messages.map((message) => message.type)).toEqual(['snapshot', 'hb']);
    await settle(1_000);
    expect(asked[1]).toBe('/v1/track/events?epoch=a&seq=5 Bearer secret');
  });

  it('ends when HTTP says 410', async () => {
    const { lines, last } = open([() => new Response(null, { status: 410 })]);
    lines[0]!.onclose?.({ code: 1006 });
    await settle(250);
    lines[1]!.onclose?.({ code: 1006 });
    await settle(500);
    expect(last()).toEqual({ kind: 'ended', reason: 'gone' });
  });

  it('tries at once when the device is online again', async () => {
    const { channel, lines } = open();
    lines[0]!.onclose?.({ code: 4029 });
    await settle(100);
    expect(lines).toHaveLength(1);
    channel.hurry();
    await settle();
    expect(lines).toHaveLength(2);
  });

  it('leaves nothing behind when it is stopped', async () => {
    const { channel, lines } = open();
    channel.stop();
    await settle(60_000);
    expect(lines[0]!.closed).toBe(true);
    expect(lines).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
