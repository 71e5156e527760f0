/** Endpoints: their health, what was tried, sending again. Secrets are shown once. */
import { For, Show, createSignal, type JSX } from 'solid-js';
import { dateTime, number, t, tn } from '../i18n';
import { call, create, get, id, post, remove, type Page } from '../net/api';
import { Dialog } from '../ui/Dialog';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { attempt, toast } from '../ui/toast';
import { View } from '../ui/View';
import { eventName } from './EventsPage';
import { SendSpan } from './SendSpan';
import type { Attempt, Webhook } from './types';

const EVERY_MS = 5_000;

export function Webhooks(): JSX.Element {
  const webhooks = load(() => true, async (_, signal) => (await get<Page<Webhook>>('/v1/webhooks', { limit: 200 }, signal)).items, { everyMs: EVERY_MS });
  const [adding, setAdding] = createSignal(false);
  const [secret, setSecret] = createSignal<string>();
  const [open, setOpen] = createSignal<string>();
  return (
    <div class="page">
      <div class="inner">
        <div class="row between"><h2>{t('webhooks.title')}</h2><button type="button" class="button primary" onClick={() => setAdding(true)}><Icon name="plus" size={18} />{t('webhooks.new')}</button></div>
        <View data={webhooks} isEmpty={(list) => list.length === 0} empty={<><p>{t('webhooks.none')}</p><button type="button" class="button primary" onClick={() => setAdding(true)}>{t('webhooks.new')}</button></>}>
          {(list) => (
            <ul class="stack">
              <For each={list().map((one) => one.id)}>
                {(key) => <Endpoint webhook={list().find((one) => one.id === key)!} open={open() === key} toggle={() => setOpen(open() === key ? undefined : key)} changed={webhooks.reload} secret={setSecret} />}
              </For>
            </ul>
          )}
        </View>
      </div>
      <Show when={adding()}>
        <NewEndpoint close={() => setAdding(false)} created={(made) => { setAdding(false); setSecret(made.secret); webhooks.reload(); }} />
      </Show>
      <Show when={secret()}>
        {(text) => (
          <Dialog title={t('webhooks.secret')} close={() => setSecret(undefined)}>
            <p>{t('webhooks.secret_say')}</p>
            <div class="row">
              <input class="input grow" readonly value={text()} aria-label={t('webhooks.secret')} onFocus={(event) => event.currentTarget.select()} />
              <button type="button" class="button icon" aria-label={t('action.copy')} onClick={() => void navigator.clipboard?.writeText(text()).then(() => toast(t('action.copied')), () => undefined)}><Icon name="copy" /></button>
            </div>
          </Dialog>
        )}
      </Show>
    </div>
  );
}

function healthOf(webhook: Webhook): { tone: string; text: string } {
  if (webhook.enabled === false || webhook.health === 'disabled') return { tone: 'problem', text: webhook.disabled_reason || t('webhooks.disabled') };
  if (webhook.health === 'unknown') return { tone: '', text: t('webhooks.unknown') };
  if (webhook.health === 'failing') return { tone: 'problem', text: webhook.last_error || t('webhooks.failing') };
  return { tone: 'moving', text: t('webhooks.ok') };
}

function Endpoint(props: { webhook: Webhook; open: boolean; toggle: () => void; changed: () => void; secret: (text: string | undefined) => void }): JSX.Element {
  const path = (): string => `/v1/webhooks/${id(props.webhook.id)}`;
  const health = () => healthOf(props.webhook);
  const run = (work: () => Promise<unknown>, done: string): void => void attempt(work, done).then(props.changed);
  const test = (): void =>
    void attempt(async () => {
      const { delivered, status, error } = await post<{ delivered: boolean; status: number | null; error: string | null }>(`${path()}/test`);
      toast(delivered ? t('webhooks.tested') : t('webhooks.test_failed', { why: error ?? String(status ?? '') }));
    }).then(props.changed);
  const [span, setSpan] = createSignal(false);
  const enable = (enabled: boolean): void => run(() => call('PATCH', path(), { body: { enabled } }), t(enabled ? 'webhooks.enabled' : 'webhooks.disabled'));
  const rotate = (): void => void attempt(async () => props.secret((await post<Webhook>(`${path()}/rotate`)).secret));
  return (
    <li class="card stack">
      <div class="row wrap between">
        <div class="grow"><h3 class="truncate">{props.webhook.url}</h3><p class="muted small">{(props.webhook.events ?? ['*']).join(', ')}</p></div>
        <span class={`badge ${health().tone}`}>{health().text}</span>
      </div>
      <p class="muted small">
        {tn('webhooks.pending', props.webhook.pending ?? 0)}
        <Show when={props.webhook.pending_since}>{(at) => ` ${t('webhooks.pending_since', { at: dateTime(Date.parse(at())) })}`}</Show>
        <Show when={props.webhook.recent_attempts}>{(of) => ` · ${t('webhooks.recent', { n: number(props.webhook.recent_delivered ?? 0), of: number(of()) })}`}</Show>
        <Show when={props.webhook.last_attempt_at}>{(at) => ` · ${t('webhooks.last_attempt', { at: dateTime(Date.parse(at())) })}`}</Show>
      </p>
      <div class="row wrap">
        <button type="button" class="button" aria-expanded={props.open} onClick={() => props.toggle()}>{t('webhooks.attempts')}</button>
        <button type="button" class="button" onClick={test}>{t('webhooks.test')}</button>
        <button type="button" class="button" onClick={rotate}>{t('webhooks.rotate')}</button>
        <button type="button" class="button" onClick={() => setSpan(true)}>{t('webhooks.send_span')}</button>
        <button type="button" class="button" onClick={() => enable(props.webhook.enabled === false)}>{t(props.webhook.enabled === false ? 'webhooks.enable' : 'webhooks.disable')}</button>
        <button type="button" class="button danger" onClick={() => run(() => remove(path()), t('webhooks.removed'))}>{t('webhooks.remove')}</button>
      </div>
      <Show when={props.open}><Attempts path={path()} /></Show>
      <Show when={span()}><SendSpan path={path()} close={() => setSpan(false)} done={props.changed} /></Show>
    </li>
  );
}

function Attempts(props: { path: string }): JSX.Element {
  const attempts = load(() => props.path, async (path, signal) => (await get<Page<Attempt>>(`${path}/attempts`, { limit: 50 }, signal)).items, { everyMs: EVERY_MS });
  const again = (event: string): void => void attempt(() => post(`${props.path}/redeliver`, { event_id: event }), t('webhooks.redelivering')).then(attempts.reload);
  return (
    <View data={attempts} isEmpty={(list) => list.length === 0} empty={<p class="muted">{t('webhooks.no_attempts')}</p>}>
      {(list) => (
        <div class="table-scroll" tabindex="0">
          <table class="table">
            <thead><tr><th>{t('stream.when')}</th><th>{t('webhooks.event')}</th><th>{t('webhooks.answer')}</th><th class="number">{t('webhooks.took')}</th><th><span class="visually-hidden">{t('webhooks.redeliver')}</span></th></tr></thead>
            <tbody>
              <For each={list()}>
                {(one) => (
                  <tr>
                    <td>{dateTime(Date.parse(one.at))}</td>
                    <td>{eventName(one.event_type)}</td>
                    <td><span class="badge" classList={{ moving: one.outcome === 'delivered', problem: one.outcome !== 'delivered' }} title={one.error ?? undefined}>{one.status ?? one.error ?? t('webhooks.no_answer')}</span></td>
                    <td class="number">{one.duration_ms == null ? '–' : `${number(one.duration_ms)} ms`}</td>
                    <td class="number"><Show when={one.event_id}>{(event) => <button type="button" class="button plain" onClick={() => again(event())}>{t('webhooks.redeliver')}</button>}</Show></td>
                  </tr>
                )}
              </For>
            </tbody>
          </table>
        </div>
      )}
    </View>
  );
}

function NewEndpoint(props: { close: () => void; created: (webhook: Webhook) => void }): JSX.Element {
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const events = String(form.get('events')).split(/[\s,]+/).filter(Boolean);
    await attempt(async () => props.created(await create<Webhook>('/v1/webhooks', { url: String(form.get('url')).trim(), ...(events.length ? { events } : {}) })));
  };
  return (
    <Dialog title={t('webhooks.new')} close={props.close}>
      <form onSubmit={submit}>
        <label class="field"><span>{t('webhooks.url')}</span><input class="input" name="url" type="url" required placeholder="https://" /></label>
        <label class="field"><span>{t('webhooks.patterns')}</span><input class="input" name="events" placeholder="delivery.*, courier.sos" /></label>
        <button type="submit" class="button primary big">{t('webhooks.create')}</button>
      </form>
    </Dialog>
  );
}
