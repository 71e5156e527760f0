/** A list that comes page by page: the first with its question, the next when its end comes near. */
import type { Accessor } from 'solid-js';
import type { Page } from '../net/api';
import { load, type Loaded } from '../ui/load';

export interface Paged<T> {
  list: Loaded<T[]>;
  /** Asks for the next page, if there is one and nobody asks already. */
  more: () => void;
}

export function paged<Q, T>(
  question: Accessor<Q>,
  ask: (question: Q, cursor: string | undefined, signal?: AbortSignal) => Promise<Page<T>>,
): Paged<T> {
  let asked: Q | undefined;
  let next: string | null = null;
  let busy = false;
  const list = load(question, async (about, signal) => {
    const page = await ask(about, undefined, signal);
    asked = about;
    next = page.next_cursor;
    return page.items;
  });
  const more = async (): Promise<void> => {
    if (!next || busy) return;
    busy = true;
    const about = asked as Q;
    try {
      const page = await ask(about, next);
      // Meanwhile another question may have been asked.
      if (asked !== about) return;
      next = page.next_cursor;
      list.set([...(list.value() ?? []), ...page.items]);
    } catch {
      // The end still comes near: the next scroll asks again.
    } finally {
      busy = false;
    }
  };
  return { list, more: () => void more() };
}
