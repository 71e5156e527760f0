/** The courier's page: duty, the next stop with one big button, the rest of the day, what waits. */
import { For, Match, Show, Switch, createMemo, createSignal, onCleanup, onMount, type JSX } from 'solid-js';
import { clock, t, tn, type Key } from '../i18n';
import { millis, type Place, type Status } from '../live/track';
import { ApiError, call, id, type Page } from '../net/api';
import { Dialog } from '../ui/Dialog';
import { Icon } from '../ui/icons';
import { LanguageSwitch } from '../ui/LanguageSwitch';
import { Toasts, toast } from '../ui/toast';
import { Failed, Skeleton, useOnline } from '../ui/View';
import type { Failure } from '../ui/load';
import type { Outbox, StoredStep } from './outbox';
import { Sender } from './sender';
import { Tracker, type TrackerState } from './tracker';

export interface Phone {
  token: string;
  courier_id: string;
  name?: string | null;
}

interface StopOf {
  id: string;
  status: Status;
  sequence?: number | null;
  pickup: Place;
  dropoff: Place;
  reference?: string | null;
  note?: string | null;
  window?: { to?: string | null } | null;
  customer?: { name?: string | null; phone?: string | null } | null;
}

const REFRESH_MS = 15_000;
const REASONS = ['nobody', 'refused', 'address', 'damaged', 'other'] as const;

export function CourierPage(props: { outbox: Outbox; phone: Phone; forget: () => void; shutOut: () => void }): JSX.Element {
  const { outbox, phone } = props;
  const online = useOnline();
  const [duty, setDuty] = createSignal(false);
  const [stops, setStops] = createSignal<StopOf[]>();
  const [pending, setPending] = createSignal<StoredStep[]>([]);
  const [waiting, setWaiting] = createSignal(0);
  const [tracking, setTracking] = createSignal<TrackerState>('off');
  const [failure, setFailure] = createSignal<Failure>();
  const [failing, setFailing] = createSignal<StopOf>();

  const recount = async (): Promise<void> => {
    setPending(await outbox.steps());
    setWaiting(await outbox.countFixes());
  };
  const sender = Sender.withToken(outbox, phone.token, {
    changed: () => void recount(),
    advice: (advice) => (tracker.advice = advice),
    refused: (_, reason) => toast(t('courier.refused', { reason })),
    unauthorised: () => props.shutOut(),
  });
  const tracker = new Tracker((fix) => void outbox.addFix(fix).then(setWaiting).then(() => sender.flush()), setTracking);

  const refresh = async (): Promise<void> => {
    try {
      const page = await call<Page<StopOf>>('GET', '/v1/me/deliveries', { token: phone.token });
      setStops(page.items);
      setFailure(undefined);
      await outbox.keep('stops', page.items);
    } catch (cause) {
      if (cause instanceof ApiError && cause.status === 401) return props.shutOut();
      if (online()) setFailure((before) => ({ message: cause instanceof Error ? cause.message : String(cause), sinceMs: before?.sinceMs ?? Date.now() }));
    }
  };
  const now = (): string => new Date().toISOString();
  const take = async (step: StoredStep): Promise<void> => {
    await outbox.addStep(step);
    await recount();
    await sender.flush();
    await refresh();
  };
  const goOnDuty = (on: boolean): void => {
    setDuty(on);
    if (on) tracker.start();
    else tracker.stop();
    void outbox.keep('duty', on);
    void take({ path: 'duty', body: { on_duty: on, at: now() } });
  };
  const forget = (): void => {
    const unsent = waiting() + pending().length;
    if (unsent === 0 || window.confirm(tn('courier.forget_sure', unsent))) props.forget();
  };
  const step = (stop: StopOf, status: Status, reason?: string): void => {
    const body = { status, at: now(), ...(reason ? { reason } : {}) };
    void take({ path: `deliveries/${id(stop.id)}/status`, delivery: stop.id, body });
  };

  onMount(async () => {
    setStops(await outbox.kept<StopOf[]>('stops'));
    await recount();
    if (await outbox.kept<boolean>('duty')) {
      setDuty(true);
      tracker.start();
    }
    await sender.flush();
    await refresh();
  });
  const back = (): void => void sender.flush().then(refresh);
  window.addEventListener('online', back);
  const timer = setInterval(() => document.visibilityState === 'visible' && back(), REFRESH_MS);
  onCleanup(() => {
    window.removeEventListener('online', back);
    clearInterval(timer);
    tracker.stop();
    sender.stop();
  });

  /** The stops as they will be once everything that waits has been sent. */
  const shown = createMemo(() =>
    (stops() ?? [])
      .map((stop) => {
        const last = pending().findLast((one) => one.delivery === stop.id);
        return last ? { ...stop, status: last.body.status as Status, unsent: true } : { ...stop, unsent: false };
      })
      .sort((a, b) => (a.sequence ?? 0) - (b.sequence ?? 0)),
  );
  const open = createMemo(() => shown().filter((stop) => ['assigned', 'picked_up', 'arrived'].includes(stop.status)));
  const done = createMemo(() => shown().filter((stop) => !['created', 'assigned', 'picked_up', 'arrived'].includes(stop.status)));

  return (
    <div class="courier">
      <div class="bars" role="status"><Show when={!online()}><div class="bar">{t('courier.offline')}</div></Show></div>
      <header class="courier-head">
        <div class="grow"><h1 class="truncate">{phone.name || phone.courier_id}</h1><TrackingLine state={tracking()} waiting={waiting()} unsent={pending().length} duty={duty()} /></div>
        <button type="button" class="button big duty" classList={{ primary: !duty() }} role="switch" aria-checked={duty()} onClick={() => goOnDuty(!duty())}>
          {t(duty() ? 'courier.go_off' : 'courier.go_on')}
        </button>
      </header>
      <main class="stops">
        <Show when={failure()}>{(what) => <Failed failure={what()} retry={back} />}</Show>
        <Switch>
          <Match when={stops() === undefined && !failure()}><Skeleton /></Match>
          <Match when={open().length === 0 && stops()}>
            <div class="state"><p>{t('courier.no_stops')}</p><button type="button" class="button" onClick={back}>{t('courier.look')}</button></div>
          </Match>
        </Switch>
        <For each={open()}>
          {(stop, i) => <Stop stop={stop} next={i() === 0} unsent={stop.unsent} step={(status) => step(stop, status)} fail={() => setFailing(stop)} />}
        </For>
        <Show when={done().length > 0}>
          <h2 class="muted">{tn('courier.done', done().length)}</h2>
          <For each={done()}>
            {(stop) => <div class="card done-stop"><span class="grow truncate">{stop.dropoff.label || stop.id}</span><span class="badge" classList={{ problem: stop.status === 'failed', moving: stop.status === 'delivered' }}>{t(`delivery.${stop.status}` as Key)}</span></div>}
          </For>
        </Show>
        <div class="row between">
          <button type="button" class="button plain" onClick={forget}>{t('courier.forget')}</button>
          <LanguageSwitch class="button plain" />
        </div>
      </main>
      <Toasts />
      <Show when={failing()}>
        {(stop) => (
          <Dialog title={t('courier.why')} close={() => setFailing(undefined)}>
            <div class="stack">
              <For each={REASONS}>
                {(reason) => <button type="button" class="button big" onClick={() => { step(stop(), 'failed', t(`courier.reason_${reason}`)); setFailing(undefined); }}>{t(`courier.reason_${reason}`)}</button>}
              </For>
            </div>
          </Dialog>
        )}
      </Show>
    </div>
  );
}

function TrackingLine(props: { state: TrackerState; waiting: number; unsent: number; duty: boolean }): JSX.Element {
  return (
    <p class="small" classList={{ muted: props.state !== 'denied', 'problem-text': props.state === 'denied' }} role="status">
      {t(props.duty ? (`courier.tracking_${props.state}` as Key) : 'courier.off_duty')}
      <Show when={props.waiting + props.unsent > 0}> · {tn('courier.waiting', props.waiting + props.unsent)}</Show>
    </p>
  );
}

function Stop(props: { stop: StopOf; next: boolean; unsent: boolean; step: (status: Status) => void; fail: () => void }): JSX.Element {
  const picked = (): boolean => props.stop.status !== 'assigned';
  const place = (): Place => (picked() ? props.stop.dropoff : props.stop.pickup);
  const navigation = (): string => {
    const { lat, lon } = place();
    return /iPhone|iPad|Macintosh/.test(navigator.userAgent) ? `https://maps.apple.com/?daddr=${lat},${lon}` : `geo:${lat},${lon}?q=${lat},${lon}`;
  };
  return (
    <article class="card stop" classList={{ next: props.next }}>
      <div class="row between">
        <span class="badge" classList={{ moving: picked(), waiting: !picked() }}>{t(picked() ? 'courier.bring' : 'courier.fetch')}</span>
        <Show when={props.stop.window?.to}>{(to) => <span class="muted">{t('deliveries.by', { at: clock(millis(to())) })}</span>}</Show>
      </div>
      <h2>{place().label || props.stop.reference || props.stop.id}</h2>
      <Show when={props.stop.customer?.name || props.stop.reference}><p class="muted">{[props.stop.customer?.name, props.stop.reference].filter(Boolean).join(' · ')}</p></Show>
      <Show when={props.stop.note}><p>{props.stop.note}</p></Show>
      <div class="row wrap">
        <a class="button big" href={navigation()}><Icon name="navigate" />{t('courier.navigate')}</a>
        <Show when={props.stop.customer?.phone}>{(number) => <a class="button big" href={`tel:${number()}`}><Icon name="phone" />{t('couriers.call')}</a>}</Show>
        <Show
          when={picked()}
          fallback={<button type="button" class="button big primary grow" onClick={() => props.step('picked_up')}>{t('courier.picked_up')}</button>}
        >
          <button type="button" class="button big danger" onClick={() => props.fail()}>{t('courier.failed')}</button>
          <button type="button" class="button big primary grow" onClick={() => props.step('delivered')}>{t('courier.delivered')}</button>
        </Show>
      </div>
      <Show when={props.unsent}><p class="small waiting-text">{t('courier.unsent')}</p></Show>
    </article>
  );
}
