/**
 * When to try a connection again, and whether at all.
 *
 * Waits grow exponentially and are drawn at random from the upper half of their span, so that a
 * restarted server is not met by everybody at once. A `drain` message overrides the first wait.
 */

/** What a WebSocket close code asks of the client. */
export type AfterClose = 'reconnect' | 'later' | 'unauthorised' | 'forbidden' | 'unknown' | 'gone' | 'revoked' | 'bad';

/** Whether a close code allows another attempt, and if not, why. */
export function afterClose(code: number): AfterClose {
  switch (code) {
    case 4000:
      return 'bad';
    case 4001:
      return 'unauthorised';
    case 4003:
      return 'forbidden';
    case 4004:
      return 'unknown';
    case 4010:
      return 'gone';
    case 4011:
      return 'revoked';
    case 4029:
      return 'later';
    default:
      return 'reconnect';
  }
}

const FIRST_MS = 500;
const LONGEST_MS = 15_000;
const TOO_MANY_MS = 20_000;

/** The state of one series of attempts; `reset` after a connection has proved itself. */
export class Backoff {
  private failures = 0;
  private drainMs: number | undefined;

  constructor(private readonly random: () => number = Math.random) {}

  /** The server said when to come back (milliseconds); used once. */
  drain(retryMs: number): void {
    this.drainMs = Math.min(Math.max(retryMs, 0), 60_000);
  }

  reset(): void {
    this.failures = 0;
  }

  /** How many attempts have failed in a row. */
  get attempts(): number {
    return this.failures;
  }

  /** Milliseconds until the next attempt. */
  next(after: AfterClose = 'reconnect'): number {
    const span = Math.min(FIRST_MS * 2 ** this.failures, LONGEST_MS);
    this.failures += 1;
    if (this.drainMs !== undefined) {
      const wait = this.drainMs;
      this.drainMs = undefined;
      return wait;
    }
    const least = after === 'later' ? TOO_MANY_MS : 0;
    return least + span / 2 + (span / 2) * this.random();
  }
}
