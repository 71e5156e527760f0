/** Where the fleet was: H3 cells of the view, by days of the week and hours of the reader's clock. */
import { For, Show, createEffect, createMemo, createSignal, onCleanup, type JSX } from 'solid-js';
import { currentLanguage, number, t } from '../i18n';
import { get } from '../net/api';
import { load } from '../ui/load';
import { Failed } from '../ui/View';
import type { TripsMap } from './TripsMap';

const TIME_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
/** From Monday on; 1 January 2024 was one. */
function days(): string[] {
  const names = new Intl.DateTimeFormat(currentLanguage(), { weekday: 'long', timeZone: 'UTC' });
  return Array.from({ length: 7 }, (_, day) => names.format(Date.UTC(2024, 0, 1 + day)));
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}

/** H3 cells of the view by how many fixes they saw, by day range and hour. */
export function Heatmap(props: { map: TripsMap | undefined; looked: number; range: { from: string; to: string } }): JSX.Element {
  const [hour, setHour] = createSignal('');
  const [weekday, setWeekday] = createSignal('');
  const query = createMemo(
    () => {
      const { map, looked, range } = props;
      if (!map || looked < 0) return undefined;
      const res = map.zoom >= 13 ? 9 : map.zoom >= 11 ? 8 : map.zoom >= 9 ? 7 : 6;
      return { ...range, hour: hour(), weekday: weekday(), tz: TIME_ZONE, res, bbox: map.bbox.map((edge) => edge.toFixed(3)).join() };
    },
    undefined,
    { equals: (a, b) => JSON.stringify(a) === JSON.stringify(b) },
  );
  const busiest = (): number => (heat.value()?.features ?? []).reduce((top, cell) => Math.max(top, Number(cell.properties?.fixes) || 0), 0);
  const heat = load(query, (asked, signal) => get<GeoJSON.FeatureCollection>('/v1/heatmap', asked, signal), { keep: true });
  createEffect(() => {
    const cells = heat.value();
    if (cells) props.map?.showHeat(cells);
  });
  onCleanup(() => props.map?.showHeat(undefined));
  return (
    <section class="trip-panel" aria-label={t('trips.heatmap')}>
      <div class="row wrap between">
        <div class="row wrap">
          <strong>{t('trips.heatmap')}</strong>
          <span class="heat-scale" aria-hidden="true" />
          <span class="muted" role="status">
            {heat.value() === undefined ? t('state.loading') : heat.value()!.features.length === 0 ? t('trips.no_heat') : t('trips.busiest', { n: number(busiest()) })}
          </span>
        </div>
        <div class="row wrap">
          <label class="row"><span class="muted">{t('trips.weekday')}</span>
            <select class="select" onChange={(event) => setWeekday(event.currentTarget.value)}>
              <option value="">{t('trips.all_days')}</option>
              <For each={days()}>{(name, i) => <option value={i() + 1}>{name}</option>}</For>
            </select>
          </label>
          <label class="row"><span class="muted">{t('trips.hour')}</span>
            <select class="select" onChange={(event) => setHour(event.currentTarget.value)}>
              <option value="">{t('trips.all_hours')}</option>
              <For each={HOURS}>{(one) => <option value={one}>{`${two(one)}:00–${two(one)}:59`}</option>}</For>
            </select>
          </label>
        </div>
      </div>
      <Show when={heat.error()}>{(failure) => <Failed failure={failure()} retry={heat.reload} />}</Show>
    </section>
  );
}
