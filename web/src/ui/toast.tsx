/** Short answers to what a person just did. */
import { For, createSignal, type JSX } from 'solid-js';
import { sayError } from './View';

interface Toast {
  key: number;
  text: string;
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 5_000;
const [toasts, setToasts] = createSignal<Toast[]>([]);
let keys = 0;

export function toast(text: string, action?: Toast['action']): void {
  const key = (keys += 1);
  setToasts((before) => [...before.slice(-2), action ? { key, text, action } : { key, text }]);
  setTimeout(() => setToasts((before) => before.filter((one) => one.key !== key)), SHOWN_MS);
}

/** Runs what a button asked for; says what went wrong. Answers whether it worked. */
export async function attempt(work: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await work();
    if (done) toast(done);
    return true;
  } catch (cause) {
    toast(sayError(cause instanceof Error ? cause.message : String(cause)));
    return false;
  }
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status">
      <For each={toasts()}>
        {(one) => (
          <div class="toast">
            <span>{one.text}</span>
            {one.action && (
              <button type="button" class="button" onClick={() => one.action?.run()}>
                {one.action.label}
              </button>
            )}
          </div>
        )}
      </For>
    </div>
  );
}
