/** What happened, with the evidence on the map; and who was told, and whether it arrived. */
import { For, Match, Show, Switch, createEffect, createSignal, on, onCleanup, onMount, type JSX } from 'solid-js';
import { clockSeconds, dateTime, distance, t, type Key } from '../i18n';
import type { Delivery, Geofence } from '../fleet/types';
import { get, id, type Page } from '../net/api';
import { ending } from '../ui/ending';
import { load } from '../ui/load';
import { Tabs } from '../ui/Tabs';
import { attempt } from '../ui/toast';
import { View } from '../ui/View';
import { VirtualList } from '../ui/VirtualList';
import type { EvidenceMap } from './EvidenceMap';
import { joined } from './joined';
import { Sent } from './Sent';
import { Webhooks } from './Webhooks';
import type { Subject, WaylogEvent } from './types';

const EVERY_MS = 5_000;
const PAGE = 200;
const TABS = ['events', 'webhooks'] as const;
const FAMILIES = ['', 'delivery', 'courier', 'geofence'] as const;

/** The tone of an event's badge. */
function tone(type: string): string {
  if (/sos|failed|delayed/.test(type)) return 'problem';
  if (/offline|stopped|cancelled|dwell/.test(type)) return 'waiting';
  return /approaching|arrived|delivered|picked_up/.test(type) ? 'moving' : '';
}

export function eventName(type: string): string {
  const key = `event.${type}` as Key;
  const text = t(key);
  return text === key ? type : text;
}

export function EventsPage(): JSX.Element {
  const [tab, setTab] = createSignal<'events' | 'webhooks'>('events');
  return (
    <div class="events" id="events-panel" data-tab={tab()}>
      <section class="panel side" aria-label={t('nav.events')}>
        <h1 class="visually-hidden">{t('nav.events')}</h1>
        <Tabs tabs={TABS} chosen={tab()} choose={setTab} label={t('nav.events')} panel="events-panel">
          {(one) => t(one === 'events' ? 'nav.events' : 'webhooks.title')}
        </Tabs>
        <Switch>
          <Match when={tab() === 'events'}><Events /></Match>
          <Match when={tab() === 'webhooks'}><p class="state muted">{t('webhooks.say')}</p></Match>
        </Switch>
      </section>
      <Show when={tab() === 'webhooks'}><Webhooks /></Show>
    </div>
  );
}

function Events(): JSX.Element {
  const [family, setFamily] = createSignal<string>('');
  const [about, setAbout] = createSignal<'courier' | 'delivery'>('courier');
  const [subject, setSubject] = createSignal('');
  const [chosen, setChosen] = createSignal<WaylogEvent>();
  const source = () => ({ family: family(), [about()]: subject() });
  const page = ({ family: kind, ...filter }: Record<string, string>, cursor?: string, signal?: AbortSignal) =>
    get<Page<WaylogEvent>>('/v1/events', { ...filter, type: kind && `${kind}.*`, order: 'desc', limit: PAGE, cursor }, signal);
  /** Pages behind the newest one, as far as somebody has asked for them. */
  const [older, setOlder] = createSignal<Page<WaylogEvent>>();
  const events = load(source, (asked, signal) => page(asked, undefined, signal), { everyMs: EVERY_MS });
  createEffect(on(source, () => setOlder(undefined), { defer: true }));
  const all = (newest: Page<WaylogEvent>): WaylogEvent[] => joined(newest.items, older()?.items ?? []);
  const cursor = (newest: Page<WaylogEvent>): string | null => (older() ?? newest).next_cursor;
  const more = (newest: Page<WaylogEvent>): void =>
    void attempt(async () => {
      const next = await page(source(), cursor(newest) ?? undefined);
      setOlder({ items: [...(older()?.items ?? newest.items), ...next.items], next_cursor: next.next_cursor });
    });
  return (
    <>
      <header class="filters">
        <div class="row">
          <select class="select" aria-label={t('events.about')} onChange={(event) => setAbout(event.currentTarget.value as 'courier' | 'delivery')}>
            <option value="courier">{t('deliveries.courier')}</option>
            <option value="delivery">{t('events.delivery')}</option>
          </select>
          <input class="input grow" type="search" placeholder={t('events.search')} aria-label={t('events.search')} onChange={(event) => setSubject(event.currentTarget.value.trim())} />
        </div>
        <div class="chips" role="group" aria-label={t('events.kinds')}>
          <For each={FAMILIES}>{(one) => <button type="button" class="chip" aria-pressed={family() === one} onClick={() => setFamily(one)}>{t(`events.family_${one || 'all'}` as Key)}</button>}</For>
        </div>
      </header>
      <View
        data={events}
        isEmpty={(newest) => newest.items.length === 0}
        empty={<><p>{t('events.none')}</p><button type="button" class="button" onClick={() => { setFamily(''); setSubject(''); events.reload(); }}>{t('state.retry')}</button></>}
      >
        {(newest) => (
          <>
          <VirtualList items={all(newest())} rowHeight={60} label={t('nav.events')}>
            {(one) => (
              <button type="button" class="item" data-type={one.type} aria-current={chosen()?.id === one.id} onClick={() => setChosen(one)}>
                <span class="grow">
                  <span class="title truncate" title={one.delivery_id ?? one.geofence_id ?? undefined}>{one.courier_id ?? ''}{one.delivery_id ? ` · ${ending(one.delivery_id)}` : ''}{one.geofence_id ? ` · ${ending(one.geofence_id)}` : ''}</span>
                  <span class="muted small truncate">{dateTime(Date.parse(one.at))}</span>
                </span>
                <span class={`badge ${tone(one.type)}`}>{eventName(one.type)}</span>
              </button>
            )}
          </VirtualList>
          <Show when={cursor(newest())}><button type="button" class="button plain" onClick={() => more(newest())}>{t('events.older')}</button></Show>
          </>
        )}
      </View>
      <EvidencePanel event={chosen()} />
    </>
  );
}

/** The map of the page lives beside the list; it shows what an event was judged by. */
function EvidencePanel(props: { event: WaylogEvent | undefined }): JSX.Element {
  const [map, setMap] = createSignal<EvidenceMap>();
  const [note, setNote] = createSignal<string>();
  let container!: HTMLDivElement;
  onMount(async () => {
    try {
      const { EvidenceMap } = await import('./EvidenceMap');
      setMap(await EvidenceMap.open(container));
    } catch {
      setNote(document.createElement('canvas').getContext('webgl2') ? t('map.failed') : t('map.no_webgl'));
    }
  });
  onCleanup(() => map()?.close());
  const subject = load(() => props.event, subjectOf);
  createEffect(() => map()?.show(props.event, subject.value()));
  return (
    <div class="evidence-view" classList={{ chosen: props.event !== undefined }}>
      <div class="map-area">
        <div class="map" ref={container} />
        <Show when={note()}><p class="map-note">{note()}</p></Show>
        <Show when={!props.event}><p class="map-note">{t('events.choose')}</p></Show>
      </div>
      <Show when={props.event}>
        {(event) => (
          <section class="trip-panel" aria-label={t('events.evidence')}>
            <div class="row wrap"><span class={`badge ${tone(event().type)}`}>{eventName(event().type)}</span><span class="muted">{dateTime(Date.parse(event().at))}</span></div>
            <h2>{t('events.evidence')}</h2>
            <dl class="key-values">
              <For each={measures(event())}>{([name, value]) => <><dt>{name}</dt><dd>{value}</dd></>}</For>
            </dl>
            <Show when={event().evidence?.fixes?.length}>
              <div class="table-scroll" tabindex="0">
                <table class="table">
                  <thead><tr><th>{t('events.fix_time')}</th><th class="number">{t('events.accuracy')}</th><th class="number">{t('events.distance')}</th></tr></thead>
                  <tbody>
                    <For each={event().evidence?.fixes}>{(fix) => <tr><td>{clockSeconds(Date.parse(fix.at))}</td><td class="number">{fix.accuracy_m == null ? '–' : distance(fix.accuracy_m)}</td><td class="number">{fix.distance_m == null ? '–' : distance(fix.distance_m)}</td></tr>}</For>
                  </tbody>
                </table>
              </div>
            </Show>
            <Sent event={event().id} />
          </section>
        )}
      </Show>
    </div>
  );
}

/** Where the stop or the fence is that an event is about; nothing where it is gone meanwhile. */
async function subjectOf(event: WaylogEvent, signal: AbortSignal): Promise<Subject> {
  const absent = (): undefined => undefined;
  if (event.geofence_id) {
    const fence = await get<Geofence>(`/v1/geofences/${id(event.geofence_id)}`, undefined, signal).catch(absent);
    return fence ? { fence } : {};
  }
  if (event.delivery_id && event.evidence?.radius_m) {
    const delivery = await get<Delivery>(`/v1/deliveries/${id(event.delivery_id)}`, undefined, signal).catch(absent);
    if (delivery) return { stop: event.type.includes('pickup') ? delivery.pickup : delivery.dropoff };
  }
  return {};
}

/** The plain values of the evidence, with units read from their names. */
function measures(event: WaylogEvent): [string, string][] {
  return Object.entries(event.evidence ?? {}).flatMap(([name, value]): [string, string][] => {
    if (value === null || typeof value === 'object') return [];
    if (typeof value === 'number' && name.endsWith('_m')) return [[plain(name.slice(0, -2)), distance(value)]];
    if (typeof value === 'number' && name.endsWith('_s')) return [[plain(name.slice(0, -2)), `${value} s`]];
    return [[plain(name), String(value)]];
  });
}

function plain(name: string): string {
  return name.replaceAll('_', ' ');
}
