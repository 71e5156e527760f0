/** Who was told of an event, whether it arrived, and sending it again. */
import { For, Show, type JSX } from 'solid-js';
import { t, tn } from '../i18n';
import { get, id, post } from '../net/api';
import { load } from '../ui/load';
import { attempt } from '../ui/toast';
import { standing } from './standing';
import type { EventDetail } from './types';

const EVERY_MS = 5_000;

export function Sent(props: { event: string }): JSX.Element {
  const detail = load(() => props.event, (event, signal) => get<EventDetail>(`/v1/events/${id(event)}`, undefined, signal), { everyMs: EVERY_MS });
  const again = (webhook: string): void =>
    void attempt(() => post(`/v1/webhooks/${id(webhook)}/redeliver`, { event_id: props.event }), t('webhooks.redelivering')).then(detail.reload);
  return (
    <Show when={detail.value()}>
      {(event) => (
        <section class="sent" aria-label={t('sent.title')}>
          <h2>{t('sent.title')}</h2>
          <Show when={event().evidence?.late}><p class="muted">{t('sent.late')}</p></Show>
          <Show when={event().sent.length > 0} fallback={<Show when={!event().evidence?.late}><p class="muted">{t('sent.nobody')}</p></Show>}>
            <ul class="stack">
              <For each={event().sent}>
                {(one) => (
                  <li class="row wrap between">
                    <div class="grow">
                      <p class="truncate">{one.url}</p>
                      <p class="muted small">
                        {tn('sent.attempts', one.attempts)}
                        <Show when={one.error}>{(error) => ` · ${error()}`}</Show>
                      </p>
                    </div>
                    <span class={`badge ${standing(one).tone}`}>{standing(one).text}</span>
                    <Show when={!one.waiting}><button type="button" class="button plain" onClick={() => again(one.webhook_id)}>{t('webhooks.redeliver')}</button></Show>
                  </li>
                )}
              </For>
            </ul>
          </Show>
        </section>
      )}
    </Show>
  );
}
