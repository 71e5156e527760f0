/** What a one-time code opens: this phone becomes the courier's, by an app or by this page. */
import { Show, createSignal, onMount, type JSX } from 'solid-js';
import { t } from '../i18n';
import { ApiError, call } from '../net/api';
import { Failed, Skeleton } from '../ui/View';
import type { Failure } from '../ui/load';
import type { Phone } from './CourierPage';
import type { Outbox } from './outbox';

interface Joined {
  token: string;
  courier_id: string;
  courier_name: string | null;
  links?: Record<string, string>;
}

export function JoinPage(props: { outbox: Outbox; code: string; use: (phone: Phone) => void }): JSX.Element {
  const [joined, setJoined] = createSignal<Joined>();
  const [failure, setFailure] = createSignal<Failure>();
  const [spent, setSpent] = createSignal(false);
  const join = async (): Promise<void> => {
    try {
      const answer = await call<Joined>('POST', '/v1/join', { body: { code: props.code } });
      const before = await props.outbox.kept<Phone>('phone');
      if (before?.courier_id !== answer.courier_id) await props.outbox.clear();
      await props.outbox.keep('phone', phoneOf(answer));
      setJoined(answer);
    } catch (cause) {
      if (cause instanceof ApiError && [401, 404, 409, 410].includes(cause.status)) setSpent(true);
      else setFailure((before) => ({ message: cause instanceof Error ? cause.message : String(cause), sinceMs: before?.sinceMs ?? Date.now() }));
    }
  };
  onMount(join);
  return (
    <main class="join">
      <Show when={!spent()} fallback={<><h1>{t('join.spent')}</h1><p class="muted">{t('join.spent_say')}</p><a class="button big" href="/courier">{t('join.already')}</a></>}>
        <Show when={failure() && !joined()}>{<Failed failure={failure()!} retry={join} />}</Show>
        <Show when={joined()} fallback={<Show when={!failure()}><Skeleton /></Show>}>
          {(phone) => (
            <>
              <h1>{t('join.hello', { name: phone().courier_name || phone().courier_id })}</h1>
              <p>{t('join.say')}</p>
              <button type="button" class="button big primary" onClick={() => props.use(phoneOf(phone()))}>{t('join.here')}</button>
              <p class="muted small">{t('join.here_say')}</p>
              <Show when={phone().links?.owntracks}>{(url) => <a class="button big" href={url()}>OwnTracks</a>}</Show>
              <Show when={phone().links?.traccar}>{(url) => <a class="button big" href={url()}>Traccar Client</a>}</Show>
              <p class="muted small">{t('join.apps_say')}</p>
            </>
          )}
        </Show>
      </Show>
    </main>
  );
}

function phoneOf({ token, courier_id, courier_name }: Joined): Phone {
  return { token, courier_id, name: courier_name };
}
