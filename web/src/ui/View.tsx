/** The states that every view has: a skeleton, nothing yet, what went wrong, and the thing itself. */
import { Show, Switch, Match, createSignal, onCleanup, type Accessor, type JSX } from 'solid-js';
import { span, t } from '../i18n';
import type { Failure, Loaded } from './load';

export function View<T>(props: {
  data: Loaded<T>;
  /** Whether an answer has nothing in it. */
  isEmpty?: (value: T) => boolean;
  /** A sentence and an action for when there is nothing. */
  empty?: JSX.Element;
  children: (value: Accessor<T>) => JSX.Element;
}): JSX.Element {
  return (
    <>
      <Show when={props.data.error()}>{(failure) => <Failed failure={failure()} retry={props.data.reload} />}</Show>
      <Switch>
        <Match when={props.data.value() === undefined && !props.data.error()}>
          <Skeleton />
        </Match>
        <Match when={props.data.value() !== undefined && props.isEmpty?.(props.data.value()!)}>
          <div class="state">{props.empty}</div>
        </Match>
        <Match when={props.data.value() !== undefined}>{props.children(props.data.value as Accessor<T>)}</Match>
      </Switch>
    </>
  );
}

export function Skeleton(): JSX.Element {
  return (
    <div class="skeleton" role="status" aria-label={t('state.loading')}>
      <span />
      <span />
      <span />
      <span />
      <span />
    </div>
  );
}

/** What failed, since when, and a way to try again. */
export function Failed(props: { failure: Failure; retry: () => void }): JSX.Element {
  const now = useNow();
  return (
    <div class="state error" role="alert">
      <p>
        {sayError(props.failure.message)} <span class="muted">{t('state.failed_since', { ago: span(now() - props.failure.sinceMs) })}</span>
      </p>
      <button type="button" class="button" onClick={() => props.retry()}>
        {t('state.retry')}
      </button>
    </div>
  );
}

/** An error's message in the reader's language where we have words for it. */
export function sayError(message: string): string {
  if (message === 'offline') return t('state.offline_plain');
  if (message === 'no-answer') return t('state.no_answer');
  return message;
}

/** The time, every second. */
export function useNow(): Accessor<number> {
  const [now, setNow] = createSignal(Date.now());
  const timer = setInterval(() => setNow(Date.now()), 1000);
  onCleanup(() => clearInterval(timer));
  return now;
}

/** Whether the device is online. */
export function useOnline(): Accessor<boolean> {
  const [online, setOnline] = createSignal(navigator.onLine);
  const change = (): void => void setOnline(navigator.onLine);
  window.addEventListener('online', change);
  window.addEventListener('offline', change);
  onCleanup(() => {
    window.removeEventListener('online', change);
    window.removeEventListener('offline', change);
  });
  return online;
}
