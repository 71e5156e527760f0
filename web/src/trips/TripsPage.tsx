/** Trips: found, replayed on the map at 1–32×, exported; and where the fleet was, as a heatmap. */
import { For, Show, createEffect, createMemo, createSignal, on, onCleanup, onMount, type JSX } from 'solid-js';
import { clockSeconds, dateTime, distance, kmh, span, t, tn } from '../i18n';
import { get, id, withQuery, type Page } from '../net/api';
import { ending } from '../ui/ending';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { VirtualList } from '../ui/VirtualList';
import { Heatmap } from './Heatmap';
import { paged } from './paged';
import { placeAt, replayOf, SPEED_BANDS, type Replay } from './replay';
import { SpeedChart } from './SpeedChart';
import type { TripsMap } from './TripsMap';
import type { TrackFix, Trip } from './types';

const RATES = [1, 2, 4, 8, 16, 32];
const FORMATS = ['csv', 'gpx', 'geojson', 'parquet'];
const DAY_MS = 86_400_000;
const PAGE = 200;

/** A day in the reader's time zone as `yyyy-mm-dd`. */
function dayOf(ms: number): string {
  const date = new Date(ms);
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
}

export function TripsPage(): JSX.Element {
  const asked = new URLSearchParams(location.search);
  const [courier, setCourier] = createSignal(asked.get('courier') ?? '');
  const [from, setFrom] = createSignal(dayOf(Date.now() - 6 * DAY_MS));
  const [to, setTo] = createSignal(dayOf(Date.now()));
  const [chosen, setChosen] = createSignal(asked.get('trip') ?? undefined);
  const [kind, setKind] = createSignal('');
  const [heat, setHeat] = createSignal(false);
  const [map, setMap] = createSignal<TripsMap>();
  const [note, setNote] = createSignal<string>();
  const [looked, setLooked] = createSignal(0);
  let container!: HTMLDivElement;

  const range = createMemo(() => ({
    from: new Date(`${from()}T00:00:00`).toISOString(),
    to: new Date(new Date(`${to()}T00:00:00`).getTime() + DAY_MS).toISOString(),
  }), undefined, { equals: (a, b) => a.from === b.from && a.to === b.to });
  const trips = paged(
    () => ({ ...range(), courier: courier().trim(), kind: kind() }),
    (query, cursor, signal) => get<Page<Trip>>('/v1/trips', { ...query, limit: PAGE, cursor }, signal),
  );
  onMount(async () => {
    try {
      const { TripsMap } = await import('./TripsMap');
      setMap(await TripsMap.open(container, setNote, () => setLooked((n) => n + 1)));
    } catch {
      setNote(document.createElement('canvas').getContext('webgl2') ? t('map.failed') : t('map.no_webgl'));
    }
  });
  onCleanup(() => map()?.close());
  return (
    <div class="trips">
      <section class="panel side" aria-label={t('nav.trips')}>
        <header class="filters">
          <h1>{t('nav.trips')}</h1>
          <label class="search"><Icon name="search" size={18} /><input class="input" type="search" value={courier()} onChange={(event) => setCourier(event.currentTarget.value)} placeholder={t('trips.courier')} aria-label={t('trips.courier')} /></label>
          <div class="row">
            <label class="field grow"><span>{t('trips.from')}</span><input class="input" type="date" value={from()} max={to()} onChange={(event) => event.currentTarget.value && setFrom(event.currentTarget.value)} /></label>
            <label class="field grow"><span>{t('trips.to')}</span><input class="input" type="date" value={to()} min={from()} onChange={(event) => event.currentTarget.value && setTo(event.currentTarget.value)} /></label>
          </div>
          <label class="field"><span class="visually-hidden">{t('trips.kind')}</span>
            <select class="select" value={kind()} onChange={(event) => setKind(event.currentTarget.value)}>
              <option value="">{t('trips.kind_all')}</option>
              <option value="delivery">{t('trips.kind_delivery')}</option>
              <option value="found">{t('trips.kind_found')}</option>
            </select>
          </label>
          <button type="button" class="button" aria-pressed={heat()} onClick={() => { setHeat(!heat()); setChosen(undefined); }}><Icon name="heat" size={18} />{t('trips.heatmap')}</button>
        </header>
        <View
          data={trips.list}
          isEmpty={(list) => list.length === 0}
          empty={<><p>{t('trips.none')}</p><button type="button" class="button" onClick={() => { setFrom(dayOf(Date.now() - 29 * DAY_MS)); setTo(dayOf(Date.now())); setCourier(''); setKind(''); }}>{t('trips.last_month')}</button></>}
        >
          {(list) => (
            <VirtualList items={list()} rowHeight={64} label={t('nav.trips')} onNearEnd={trips.more}>
              {(trip) => <Row trip={trip} chosen={chosen() === trip.id} open={() => { setHeat(false); setChosen(trip.id); }} />}
            </VirtualList>
          )}
        </View>
      </section>
      <div class="trip-view">
        <div class="map-area">
          <div class="map" ref={container} />
          <Show when={note()}><p class="map-note">{note()}</p></Show>
          <Show when={!heat() && chosen()}><SpeedLegend /></Show>
        </div>
        <Show when={heat()}><Heatmap map={map()} looked={looked()} range={range()} /></Show>
        <Show when={chosen()} keyed>{(tripId) => <TripPanel id={tripId} map={map()} />}</Show>
      </div>
    </div>
  );
}

function Row(props: { trip: Trip; chosen: boolean; open: () => void }): JSX.Element {
  const { trip } = props;
  return (
    <button type="button" class="item" aria-current={props.chosen} onClick={props.open}>
      <Icon name={trip.delivery_id ? 'pin' : 'trips'} />
      <span class="grow">
        <span class="title truncate" title={trip.delivery_id ?? undefined}>{trip.courier_id}{trip.delivery_id ? ` · ${ending(trip.delivery_id)}` : ''}</span>
        <span class="muted small truncate">{dateTime(Date.parse(trip.start_time))}{trip.end_time ? ` · ${span(Date.parse(trip.end_time) - Date.parse(trip.start_time))}` : ''}</span>
      </span>
      <span class="end">
        <strong>{distance(trip.distance_m)}</strong>
        <Show when={!trip.end_time}><span class="badge moving">{t('trips.under_way')}</span></Show>
      </span>
    </button>
  );
}

function SpeedLegend(): JSX.Element {
  return (
    <ul class="legend" aria-label={t('trips.speed')}>
      <For each={[...SPEED_BANDS]}>
        {(bound, i) => (
          <li><span class={`band band-${i()}`} aria-hidden="true" />{i() === SPEED_BANDS.length - 1 ? `≥ ${kmh(bound)}` : `< ${kmh(SPEED_BANDS[i() + 1]!)}`}</li>
        )}
      </For>
    </ul>
  );
}

function TripPanel(props: { id: string; map: TripsMap | undefined }): JSX.Element {
  const path = `/v1/trips/${id(props.id)}`;
  const trip = load(() => path, (url, signal) => get<Trip>(url, undefined, signal));
  const track = load(() => path, async (url, signal) => replayOf((await get<Page<TrackFix>>(`${url}/track`, { format: 'json' }, signal)).items));
  createEffect(() => {
    const replay = track.value();
    if (replay) props.map?.showTrip(replay, trip.value()?.stops ?? []);
  });
  onCleanup(() => props.map?.showTrip(undefined, []));
  return (
    <section class="trip-panel" aria-label={t('trips.trip')}>
      <View data={trip}>
        {(known) => (
          <div class="row wrap between">
            <div class="row wrap facts">
              <strong>{known().courier_id}</strong>
              <span>{distance(known().distance_m)}</span>
              <span>{t('trips.moving', { ago: span(known().moving_s * 1000) })}</span>
              <Show when={known().max_speed_mps}>{(speed) => <span>{t('trips.fastest', { speed: kmh(speed()) })}</span>}</Show>
              <span>{tn('trips.stops', known().stops?.length ?? known().stop_count ?? 0)}</span>
            </div>
            <div class="row" role="group" aria-label={t('trips.export')}>
              <For each={FORMATS}>
                {(format) => <a class="button" href={withQuery(`${path}/track`, { format })} download=""><Icon name="download" size={16} />{format}</a>}
              </For>
            </div>
          </div>
        )}
      </View>
      <View data={track} isEmpty={(replay) => replay.times.length === 0} empty={<p class="muted">{t('trips.no_fixes')}</p>}>
        {(replay) => <Player replay={replay()} map={props.map} />}
      </View>
    </section>
  );
}

function Player(props: { replay: Replay; map: TripsMap | undefined }): JSX.Element {
  const first = (): number => props.replay.times[0]!;
  const last = (): number => props.replay.times.at(-1)!;
  const [time, setTime] = createSignal(first());
  const [playing, setPlaying] = createSignal(false);
  const [rate, setRate] = createSignal(8);
  let frame = 0;
  createEffect(on([playing, rate], () => {
    cancelAnimationFrame(frame);
    if (!playing()) return;
    let before = performance.now();
    const step = (now: number): void => {
      const next = time() + ((now - before) / 1000) * rate();
      before = now;
      setTime(Math.min(next, last()));
      if (next >= last()) setPlaying(false);
      else frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
  }));
  onCleanup(() => cancelAnimationFrame(frame));
  createEffect(() => props.map?.placeMarker(placeAt(props.replay, time())));
  const toggle = (): void => {
    if (!playing() && time() >= last()) setTime(first());
    setPlaying(!playing());
  };
  return (
    <>
      <SpeedChart replay={props.replay} time={time()} choose={(at) => { setPlaying(false); setTime(Math.min(Math.max(at, first()), last())); }} />
      <div class="row player">
        <button type="button" class="button icon" aria-label={t(playing() ? 'trips.pause' : 'trips.play')} onClick={toggle}><Icon name={playing() ? 'pause' : 'play'} /></button>
        <input
          class="grow"
          type="range"
          min={first()}
          max={last()}
          step="1"
          value={time()}
          aria-label={t('trips.time')}
          aria-valuetext={`${clockSeconds(time() * 1000)}, ${kmh(placeAt(props.replay, time()).speed)}`}
          onInput={(event) => { setPlaying(false); setTime(Number(event.currentTarget.value)); }}
        />
        <span class="moment">{clockSeconds(time() * 1000)} · {kmh(placeAt(props.replay, time()).speed)}</span>
        <div class="row rates" role="group" aria-label={t('trips.rate')}>
          <For each={RATES}>{(one) => <button type="button" class="chip" aria-pressed={rate() === one} onClick={() => setRate(one)}>{one}×</button>}</For>
        </div>
      </div>
    </>
  );
}
