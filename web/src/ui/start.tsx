/** How an operators' page begins: language, session, then the page in its frame. */
import { render } from 'solid-js/web';
import { createSignal, onMount, Show, type JSX } from 'solid-js';
import '../base.css';
import { loadLanguage, t, type Key } from '../i18n';
import { requireSession, type Session } from '../net/api';
import { Shell } from './Shell';
import { Failed, Skeleton } from './View';
import type { Failure } from './load';

/** Draws `page` for whoever is signed in. */
export async function startPage(title: Key, page: (session: Session) => JSX.Element): Promise<void> {
  await loadLanguage();
  document.title = `${t(title)} · Waylog`;
  render(() => <Begin page={page} />, document.getElementById('app')!);
}

function Begin(props: { page: (session: Session) => JSX.Element }): JSX.Element {
  const [session, setSession] = createSignal<Session>();
  const [failure, setFailure] = createSignal<Failure>();
  const begin = async (): Promise<void> => {
    try {
      setSession(await requireSession());
      setFailure(undefined);
    } catch (cause) {
      setFailure((before) => ({
        message: cause instanceof Error ? cause.message : String(cause),
        sinceMs: before?.sinceMs ?? Date.now(),
      }));
    }
  };
  onMount(begin);
  return (
    <Show
      when={session()}
      fallback={
        <main>
          <Show when={failure()} fallback={<Skeleton />}>
            {(what) => <Failed failure={what()} retry={begin} />}
          </Show>
        </main>
      }
    >
      {(known) => <Shell session={known()}>{props.page(known())}</Shell>}
    </Show>
  );
}
