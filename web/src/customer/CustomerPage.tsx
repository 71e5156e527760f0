/** The customer's page: how long, where, what has happened. The map comes after the text. */
import { Show, For, Switch, Match, createEffect, createMemo, createSignal, on, onMount, type JSX } from 'solid-js';
import { clock, span, t, type Key } from '../i18n';
import type { Brand } from '../live/track';
import { show } from '../live/shown';
import { isOver } from '../live/track';
import { applyBrand, webConfig } from '../net/config';
import type { EndReason } from '../net/trackChannel';
import { Grip } from '../ui/Grip';
import { Icon } from '../ui/icons';
import { LanguageSwitch } from '../ui/LanguageSwitch';
import type { Model } from './model';
import { fixAgeMs, isStale, spoken, steps, words, type Moment } from './words';

export function CustomerPage(props: { model: Model }): JSX.Element {
  const { model } = props;
  const [brand, setBrand] = createSignal<Brand>({});
  onMount(async () => setBrand((await webConfig()).brand));
  const shownBrand = createMemo(() => ({ ...brand(), ...withoutEmpty(model.snapshot()?.brand) }));
  createEffect(() => applyBrand(shownBrand()));
  const ended = () => {
    const state = model.state();
    return state.kind === 'ended' ? state.reason : undefined;
  };
  const over = () => {
    const known = model.snapshot();
    return known !== undefined && isOver(known.delivery.status);
  };
  return (
    <Switch fallback={<Waiting />}>
      <Match when={ended() && !over() && ended()}>{(reason) => <Ended reason={reason()} brand={shownBrand()} />}</Match>
      <Match when={model.moment()}>
        {(moment) => <Delivery model={model} moment={moment()} brand={shownBrand()} ended={ended() !== undefined} />}
      </Match>
    </Switch>
  );
}

function withoutEmpty(brand: Brand | null | undefined): Brand {
  return Object.fromEntries(Object.entries(brand ?? {}).filter(([, value]) => value)) as Brand;
}

function Delivery(props: { model: Model; moment: Moment; brand: Brand; ended: boolean }): JSX.Element {
  const { model } = props;
  const said = createMemo(() => words(props.moment));
  const status = () => props.moment.snapshot.delivery.status;
  const [open, setOpen] = createSignal(true);
  onMount(() => requestAnimationFrame((now) => show({ textMs: now })));
  return (
    <div class="customer" data-status={status()} data-state={model.state().kind} classList={{ small: !open() }}>
      <Bars model={model} ended={props.ended} />
      <MapPlace model={model} />
      <main class="sheet">
        <Grip open={open()} toggle={() => setOpen(!open())} />
        <BrandLine brand={props.brand} />
        <div class="headline">
          <Show when={isOver(status())}>
            <span class="ending" data-status={status()}>
              <Icon name={status() === 'delivered' ? 'check' : 'cross'} size={28} />
            </span>
          </Show>
          <div>
            <h1>{said().head}</h1>
            <Show when={said().when}>
              <p class="when">{said().when}</p>
            </Show>
          </div>
        </div>
        <p class="sentence">{said().sentence}</p>
        <Freshness moment={props.moment} />
        <Timeline moment={props.moment} />
        <Show when={props.moment.snapshot.delivery.dropoff?.label}>
          {(label) => (
            <p class="destination">
              <Icon name="pin" />
              <span>
                <span class="muted">{t(status() === 'delivered' ? 'customer.drop_off' : 'customer.destination')}</span> {label()}
              </span>
            </p>
          )}
        </Show>
        <footer><LanguageSwitch class="link small" /></footer>
      </main>
      <Spoken moment={props.moment} />
    </div>
  );
}

function BrandLine(props: { brand: Brand }): JSX.Element {
  return (
    <div class="brand">
      <Show when={props.brand.logo_url} fallback={<span class="brand-mark"><Icon name="arrow" size={18} /></span>}>
        {(url) => <img src={url()} alt="" height="28" referrerpolicy="no-referrer" />}
      </Show>
      <span class="grow truncate">{props.brand.name}</span>
      <Show when={props.brand.phone}>
        {(phone) => (
          <a class="button big" href={`tel:${phone().replace(/[^+\d]/g, '')}`} aria-label={t('customer.call_name', { name: props.brand.name ?? '' })}>
            <Icon name="phone" />
            {t('customer.call')}
          </a>
        )}
      </Show>
    </div>
  );
}

function Freshness(props: { moment: Moment }): JSX.Element {
  const age = () => fixAgeMs(props.moment);
  return (
    <Show when={age() !== undefined && !isOver(props.moment.snapshot.delivery.status)}>
      <p class="freshness" classList={{ stale: isStale(props.moment) }}>
        <span class="pulse" />
        {t('state.updated', { ago: span(age()!) })}
      </p>
    </Show>
  );
}

function Timeline(props: { moment: Moment }): JSX.Element {
  const list = createMemo(() => steps(props.moment.snapshot));
  const current = () => props.moment.snapshot.delivery.status;
  return (
    <ol class="timeline" aria-label={t('customer.timeline')}>
      <For each={list()}>
        {(step) => (
          <li
            classList={{ done: step.atMs !== undefined, current: step.status === current(), bad: step.status === 'failed' || step.status === 'cancelled' }}
            aria-current={step.status === current() ? 'step' : undefined}
            data-step={step.status}
          >
            <span class="grow">{t(`delivery.${step.status}` as Key)}</span>
            <span class="muted">{step.atMs === undefined ? '' : clock(step.atMs)}</span>
          </li>
        )}
      </For>
    </ol>
  );
}

function Bars(props: { model: Model; ended: boolean }): JSX.Element {
  const { model } = props;
  const [since, setSince] = createSignal<number>();
  createEffect(
    on(model.state, (state) => setSince(state.kind === 'reconnecting' ? state.sinceMs : undefined)),
  );
  return (
    <div class="bars" role="status">
      <Switch>
        <Match when={props.ended}>{null}</Match>
        <Match when={!model.online()}>
          <div class="bar">{t('state.offline', { ago: span(model.tick() - (model.heardMs() ?? model.tick())) })}</div>
        </Match>
        <Match when={since() !== undefined && model.tick() - since()! > 1500}>
          <div class="bar">{t('state.reconnecting', { ago: span(model.tick() - since()!) })}</div>
        </Match>
      </Switch>
    </div>
  );
}

/** Says the whole picture when the status or the hour of arrival changes, and otherwise once a minute. */
function Spoken(props: { moment: Moment }): JSX.Element {
  const [text, setText] = createSignal('');
  const occasion = createMemo(() => {
    const { snapshot, nowMs } = props.moment;
    return [snapshot.delivery.status, snapshot.why_hidden, snapshot.stops_before, Math.floor(nowMs / 60_000)].join();
  });
  createEffect(on(occasion, () => setText(spoken(props.moment))));
  return (
    <p class="visually-hidden" aria-live="polite">
      {text()}
    </p>
  );
}

/** Where the map goes once it is loaded. It is fetched only when there is something to show on it. */
function MapPlace(props: { model: Model }): JSX.Element {
  const [note, setNote] = createSignal<string>();
  let container!: HTMLDivElement;
  let begun = false;
  const wanted = createMemo(() => Boolean(props.model.snapshot()?.delivery.dropoff ?? props.model.snapshot()?.position));
  createEffect(() => {
    if (!wanted() || begun) return;
    begun = true;
    if (!document.createElement('canvas').getContext('webgl2')) {
      setNote(t('map.no_webgl'));
      return;
    }
    import('./CustomerMap')
      .then(({ showMap }) => showMap(container, props.model, setNote))
      .catch(() => setNote(t('map.failed')));
  });
  return (
    <div class="map-place" classList={{ empty: note() === t('map.no_webgl') || note() === t('map.failed') }}>
      <div class="map" ref={container} />
      <Show when={note()}>
        <p class="map-note">{note()}</p>
      </Show>
    </div>
  );
}

function Waiting(): JSX.Element {
  return (
    <div class="customer waiting" aria-busy="true">
      <section class="map-place empty" />
      <main class="sheet">
        <h1 class="visually-hidden">{t('state.connecting')}</h1>
        <div class="skeleton">
          <span />
          <span />
          <span />
          <span />
          <span />
        </div>
      </main>
    </div>
  );
}

function Ended(props: { reason: EndReason; brand: Brand }): JSX.Element {
  return (
    <main class="ended">
      <BrandLine brand={props.brand} />
      <h1>{t(`customer.end_${props.reason}`)}</h1>
      <p class="muted">{t(`customer.end_${props.reason}_say`)}</p>
      <footer><LanguageSwitch class="link small" /></footer>
    </main>
  );
}
