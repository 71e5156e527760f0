/**
 * Empties the outbox whenever there is a network: steps first, then fixes, newest first. Before the
 * end of a duty is told, the fixes of that duty are sent: off duty, positions are not stored.
 */
import { ApiError, call } from '../net/api';
import { Backoff } from '../net/backoff';
import type { Outbox, StoredFix, StoredStep } from './outbox';

/** What a sender needs of the outbox: tests give one in memory. */
export type Waiting = Pick<Outbox, 'newestFixes' | 'dropFixes' | 'steps' | 'dropStep'>;

export interface Advice {
  interval_s: number;
  min_distance_m: number;
}

export interface SenderEvents {
  /** Something left the outbox, or could not. */
  changed: () => void;
  /** The server's advice on how often to send. */
  advice: (advice: Advice) => void;
  /** A step that the server will never take, with its reason. */
  refused: (step: StoredStep, reason: string) => void;
  /** The phone's token is no longer good. */
  unauthorised: () => void;
}

const BATCH = 200;

type Post = (path: string, body: unknown) => Promise<unknown>;

export class Sender {
  private running = false;
  private again = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly backoff: Backoff;

  constructor(
    private readonly outbox: Waiting,
    private readonly events: SenderEvents,
    private readonly post: Post,
    random: () => number = Math.random,
  ) {
    this.backoff = new Backoff(random);
  }

  /** A sender that speaks to the server with the phone's token. */
  static withToken(outbox: Waiting, token: string, events: SenderEvents): Sender {
    return new Sender(outbox, events, (path, body) => call('POST', path, { body, token }));
  }

  /** Sends what waits; a call while sending makes it look again afterwards. */
  async flush(): Promise<void> {
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    clearTimeout(this.timer);
    try {
      do {
        this.again = false;
        await this.sendSteps();
        await this.sendFixes();
      } while (this.again);
      this.backoff.reset();
    } catch (cause) {
      this.failed(cause);
    } finally {
      this.running = false;
      this.events.changed();
    }
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private async sendSteps(): Promise<void> {
    for (const step of await this.outbox.steps()) {
      if (endsDuty(step)) await this.sendFixes();
      try {
        await this.post(`/v1/me/${step.path}`, step.body);
      } catch (cause) {
        if (!(cause instanceof ApiError) || !isFinal(cause.status)) throw cause;
        this.events.refused(step, cause.message);
      }
      await this.outbox.dropStep(step);
      this.events.changed();
    }
  }

  private async sendFixes(): Promise<void> {
    for (;;) {
      const fixes: StoredFix[] = await this.outbox.newestFixes(BATCH);
      if (fixes.length === 0) return;
      const answer = (await this.post('/v1/positions', { fixes })) as { next?: Advice } | undefined;
      await this.outbox.dropFixes(fixes);
      if (answer?.next) this.events.advice(answer.next);
      this.events.changed();
    }
  }

  private failed(cause: unknown): void {
    if (cause instanceof ApiError && (cause.status === 401 || cause.status === 403)) {
      this.events.unauthorised();
      return;
    }
    const wait = cause instanceof ApiError && cause.retryAfterS ? cause.retryAfterS * 1000 : 0;
    this.timer = setTimeout(() => void this.flush(), Math.max(wait, this.backoff.next()));
  }
}

function endsDuty(step: StoredStep): boolean {
  return step.path === 'duty' && step.body.on_duty === false;
}

/** Whether asking again would get the same refusal. */
function isFinal(status: number): boolean {
  return status >= 400 && status < 500 && ![401, 403, 408, 425, 429].includes(status);
}
