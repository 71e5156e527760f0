/** The dispatcher's page: what needs attention first, then couriers, deliveries and fences, on the map. */
import { For, Match, Show, Switch, createEffect, createSignal, on, onCleanup, onMount, type Accessor, type JSX, type Setter } from 'solid-js';
import { number, span, t, tn, type Key } from '../i18n';
import { FleetStore } from '../live/fleetStore';
import { get, id, type Page, type Session } from '../net/api';
import { FleetChannel, type FleetState } from '../net/fleetChannel';
import { load } from '../ui/load';
import { Grip } from '../ui/Grip';
import { Tabs } from '../ui/Tabs';
import { toast } from '../ui/toast';
import { useNow } from '../ui/View';
import { AttentionList } from './AttentionList';
import { CourierCard } from './CourierCard';
import { CourierList } from './CourierList';
import { DeliveryCard } from './DeliveryCard';
import { DeliveryList } from './DeliveryList';
import { GeofenceCard, GeofenceForm, GeofenceList } from './Geofences';
import { NewDelivery } from './NewDelivery';
import { FleetProvider, type Fleet } from './context';
import type { FleetMap } from './FleetMap';
import { fresh, matterWords, selectionOf } from './matters';
import { createNames } from './names';
import { unsettled } from './settled';
import type { Attention, Geofence, Position, Selection } from './types';

type Tab = 'attention' | 'couriers' | 'deliveries' | 'fences';
const TABS: Tab[] = ['attention', 'couriers', 'deliveries', 'fences'];
const ATTENTION_EVERY_MS = 5_000;

export function FleetPage(props: { session: Session }): JSX.Element {
  const store = new FleetStore(() => performance.now());
  const [map, setMap] = createSignal<FleetMap>();
  const [state, setState] = createSignal<FleetState>({ kind: 'connecting' });
  const [selection, select] = createSignal<Selection>();
  const [tab, setTab] = createSignal<Tab>('attention');
  const [note, setNote] = createSignal<string>();
  const [version, setVersion] = createSignal(0);
  const [open, setOpen] = createSignal(true);
  const chooseTab = (chosen: Tab): void => {
    setOpen(true);
    setTab(chosen);
  };
  const now = useNow();
  const attention = load(() => true, async (_, signal) => unsettled(localStorage, (await get<Page<Attention>>('/v1/fleet/attention', undefined, signal)).items, Date.now()), { everyMs: ATTENTION_EVERY_MS });
  const geofences = load(() => true, async (_, signal) => (await get<Page<Geofence>>('/v1/geofences', { limit: 500 }, signal)).items);
  const nameOf = createNames((courier) => store.get(courier)?.name);
  const goToCourier = async (courier: string): Promise<void> => {
    const place = store.get(courier) ?? (await get<Position>(`/v1/couriers/${id(courier)}/position`).catch(() => undefined));
    if (place) map()?.goTo(place);
  };
  const fleet: Fleet = {
    session: props.session, store, map, selection, select, nameOf, goToCourier, attention, geofences,
    deliveriesVersion: version, deliveriesChanged: () => setVersion((v) => v + 1), now,
  };
  let container!: HTMLDivElement;
  const channel = new FleetChannel(store, {
    state: setState,
    moved: () => map()?.positionsChanged(),
    cells: (cells) => map()?.setCells(cells),
  });
  onMount(async () => {
    try {
      const { FleetMap } = await import('./FleetMap');
      setMap(
        await FleetMap.open(container, store, {
          view: (view) => channel.look(view),
          courier: (id) => select({ kind: 'courier', id }),
          geofence: (id) => {
            const geofence = geofences.value()?.find((one) => one.id === id);
            if (geofence) select({ kind: 'geofence', geofence });
          },
          nothing: () => {
            const kind = selection()?.kind;
            if (kind === 'courier' || kind === 'delivery' || kind === 'geofence') select(undefined);
          },
          note: setNote,
          taken: () => map()?.follow(undefined),
        }),
      );
      channel.start();
    } catch {
      setNote(document.createElement('canvas').getContext('webgl2') ? t('map.failed') : t('map.no_webgl'));
    }
  });
  onCleanup(() => {
    channel.stop();
    map()?.close();
  });
  createEffect(() => {
    store.setProblems((attention.value() ?? []).flatMap((one) => one.courier_id ?? []));
    map()?.positionsChanged();
  });
  createEffect(() => map()?.showFences(geofences.value() ?? []));
  alertAbout(attention.value, select);
  createEffect(on(selection, (chosen) => {
    store.select(chosen?.kind === 'courier' ? chosen.id : undefined);
    map()?.positionsChanged();
  }));
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) select(undefined);
  };
  document.addEventListener('keydown', onKey);
  onCleanup(() => document.removeEventListener('keydown', onKey));

  return (
    <FleetProvider value={fleet}>
      <div class="fleet" data-state={state().kind} classList={{ 'with-card': selection() !== undefined, small: !open() }}>
        <section class="panel side" aria-label={t('nav.fleet')}>
          <h1 class="visually-hidden">{t('nav.fleet')}</h1>
          <Grip open={open()} toggle={() => setOpen(!open())} />
          <Tabs tabs={TABS} chosen={tab()} choose={chooseTab} label={t('nav.fleet')} panel="fleet-panel">
            {(one) => (
              <>
                {t(`fleet.tab_${one}` as Key)}
                <Show when={one === 'attention' && attention.value()?.length}>{(n) => <span class="badge problem">{number(n())}</span>}</Show>
              </>
            )}
          </Tabs>
          <div class="tab-panel" id="fleet-panel" role="tabpanel" aria-label={t(`fleet.tab_${tab()}` as Key)}>
            <Switch>
              <Match when={tab() === 'attention'}><AttentionList /></Match>
              <Match when={tab() === 'couriers'}><CourierList /></Match>
              <Match when={tab() === 'deliveries'}><DeliveryList /></Match>
              <Match when={tab() === 'fences'}><GeofenceList /></Match>
            </Switch>
          </div>
        </section>
        <div class="map-area">
          <div class="map" ref={container} />
          <Legend />
          <ConnectionNote state={state()} now={now()} />
          <Show when={note()}><p class="map-note">{note()}</p></Show>
        </div>
        <Show when={selection()} keyed>
          {(chosen) => <Card chosen={chosen} />}
        </Show>
      </div>
    </FleetProvider>
  );
}

function Card(props: { chosen: Selection }): JSX.Element {
  const { chosen } = props;
  switch (chosen.kind) {
    case 'courier':
      return <CourierCard id={chosen.id} />;
    case 'delivery':
      return <DeliveryCard id={chosen.id} assigning={chosen.assigning ?? false} />;
    case 'new-delivery':
      return <NewDelivery />;
    case 'geofence':
      return <GeofenceCard geofence={chosen.geofence} />;
    case 'new-geofence':
      return <GeofenceForm shape={chosen.shape} />;
  }
}

/** Says aloud what is new on the attention list, and keeps its length in the title of the window. */
function alertAbout(matters: Accessor<Attention[] | undefined>, select: Setter<Selection | undefined>): void {
  createEffect(on(matters, (after, before) => {
    document.title = `${after?.length ? `(${number(after.length)}) ` : ''}${t('nav.fleet')} · Waylog`;
    const [first, ...others] = before && after ? fresh(before, after) : [];
    if (!first) return;
    if (others.length > 0) toast(tn('attention.new', others.length + 1));
    else toast(matterWords(first, Date.now()).sentence, { label: t('attention.open'), run: () => select(selectionOf(first)) });
  }));
}

function ConnectionNote(props: { state: FleetState; now: number }): JSX.Element {
  return (
    <div class="connection" role="status">
      <Switch>
        <Match when={props.state.kind === 'reconnecting' && props.state}>
          {(state) => <span class="badge waiting">{t('state.reconnecting', { ago: span(props.now - state().sinceMs) })}</span>}
        </Match>
        <Match when={props.state.kind === 'ended'}>
          <a class="button" href="/sign-in">{t('fleet.sign_in_again')}</a>
        </Match>
      </Switch>
    </div>
  );
}

/** What the shapes on the map mean. */
function Legend(): JSX.Element {
  return (
    <ul class="legend" aria-label={t('fleet.legend')}>
      <For each={['delivering', 'to_pickup', 'idle', 'stopped', 'stale', 'problem'] as const}>
        {(look) => (
          <li>
            <span class={`look ${look}`} aria-hidden="true" />
            {t(`fleet.look_${look}`)}
          </li>
        )}
      </For>
    </ul>
  );
}
