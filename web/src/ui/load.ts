/** Data that a view asks for: kept while it is asked for again, with since when it has failed. */
import { createEffect, createSignal, on, onCleanup, type Accessor } from 'solid-js';
import { ApiError, signInUrl } from '../net/api';

export interface Loaded<T> {
  /** The newest answer; `undefined` before the first. */
  value: Accessor<T | undefined>;
  error: Accessor<Failure | undefined>;
  reload: () => void;
  /** Shows a change at once, before the server is asked again. */
  set: (value: T) => void;
}

export interface Failure {
  message: string;
  sinceMs: number;
}

export interface LoadOptions {
  /** Ask again this often, in milliseconds, while the page is visible. */
  everyMs?: number;
  /** Keep the last answer while a new source is asked for. */
  keep?: boolean;
}

/** Asks `fetcher` for every new `source`; an `undefined` source asks for nothing. */
export function load<S, T>(
  source: Accessor<S | undefined>,
  fetcher: (source: S, signal: AbortSignal) => Promise<T>,
  options: LoadOptions = {},
): Loaded<T> {
  const [value, setValue] = createSignal<T>();
  const [error, setError] = createSignal<Failure>();
  let running: AbortController | undefined;

  const ask = async (key: S): Promise<void> => {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      const answer = await fetcher(key, mine.signal);
      if (mine.signal.aborted) return;
      setValue(() => answer);
      setError(undefined);
    } catch (cause) {
      if (mine.signal.aborted) return;
      if (cause instanceof ApiError && cause.status === 401) location.assign(signInUrl());
      const message = cause instanceof Error ? cause.message : String(cause);
      setError((before) => ({ message, sinceMs: before?.sinceMs ?? Date.now() }));
    }
  };
  const reload = (): void => {
    const key = source();
    if (key !== undefined) void ask(key);
  };
  createEffect(
    on(source, (key) => {
      if (!options.keep) setValue(undefined);
      setError(undefined);
      running?.abort();
      if (key !== undefined) void ask(key);
    }),
  );
  if (options.everyMs) {
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') reload();
    }, options.everyMs);
    onCleanup(() => clearInterval(timer));
  }
  onCleanup(() => running?.abort());
  return { value, error, reload, set: (next) => setValue(() => next) };
}
