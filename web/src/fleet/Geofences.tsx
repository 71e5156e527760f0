/** Fences: listed, drawn, named, removed. */
import { For, Show, createEffect, createSignal, onCleanup, type JSX } from 'solid-js';
import { distance, t, type Key } from '../i18n';
import { chance, create, id, remove } from '../net/api';
import { Icon } from '../ui/icons';
import { attempt } from '../ui/toast';
import { View } from '../ui/View';
import { CardFrame } from './CardFrame';
import { useFleet } from './context';
import type { Drawing, Shape } from './drawFence';
import type { Geofence } from './types';

const EVENTS = ['enter', 'exit', 'dwell'] as const;
const DWELL_MIN = 10;
/** A circle that was not drawn by hand begins with this. */
const FIRST_RADIUS_M = 250;
const MOST_RADIUS_M = 50_000;

function sizeOf(geofence: Shape): string {
  return geofence.circle ? t('fences.circle', { radius: distance(geofence.circle.radius_m) }) : t('fences.polygon', { n: (geofence.polygon?.coordinates[0]?.length ?? 1) - 1 });
}

export function GeofenceList(): JSX.Element {
  const fleet = useFleet();
  const Draw = (): JSX.Element => (
    <div class="row">
      <button type="button" class="button grow" onClick={() => fleet.select({ kind: 'new-geofence', shape: 'circle' })}><Icon name="circle" size={18} />{t('fences.draw_circle')}</button>
      <button type="button" class="button grow" onClick={() => fleet.select({ kind: 'new-geofence', shape: 'polygon' })}><Icon name="fence" size={18} />{t('fences.draw_polygon')}</button>
    </div>
  );
  return (
    <>
      <header class="filters"><Draw /></header>
      <div class="scroll">
        <View data={fleet.geofences} isEmpty={(list) => list.length === 0} empty={<p>{t('fences.none')}</p>}>
          {(list) => (
            <ul>
              <For each={list()}>
                {(geofence) => (
                  <li>
                    <button type="button" class="item" onClick={() => fleet.select({ kind: 'geofence', geofence })}>
                      <Icon name={geofence.circle ? 'circle' : 'fence'} />
                      <span class="grow"><span class="title truncate">{geofence.name}</span><span class="muted small truncate">{sizeOf(geofence)}</span></span>
                    </button>
                  </li>
                )}
              </For>
            </ul>
          )}
        </View>
      </div>
    </>
  );
}

export function GeofenceCard(props: { geofence: Geofence }): JSX.Element {
  const fleet = useFleet();
  createEffect(() => {
    const { circle, polygon } = props.geofence;
    fleet.map()?.fit(circle ? [circle] : (polygon?.coordinates[0] ?? []).map(([lon, lat]) => ({ lon: lon!, lat: lat! })));
  });
  const drop = async (): Promise<void> => {
    if (!(await attempt(() => remove(`/v1/geofences/${id(props.geofence.id)}`), t('fences.removed')))) return;
    fleet.geofences.reload();
    fleet.select(undefined);
  };
  return (
    <CardFrame title={props.geofence.name} subtitle={<p class="muted small">{props.geofence.id}</p>}>
      <dl class="key-values">
        <dt>{t('fences.size')}</dt>
        <dd>{sizeOf(props.geofence)}</dd>
        <dt>{t('fences.tells')}</dt>
        <dd>{(props.geofence.events ?? []).map((one) => t(`fences.${one}` as Key)).join(', ')}</dd>
      </dl>
      <div class="row"><button type="button" class="button danger" onClick={drop}>{t('fences.remove')}</button></div>
    </CardFrame>
  );
}

export function GeofenceForm(props: { shape: 'circle' | 'polygon' }): JSX.Element {
  const fleet = useFleet();
  const [drawn, setDrawn] = createSignal<Shape>();
  const [dwell, setDwell] = createSignal(false);
  const [drawing, setDrawing] = createSignal<Drawing>();
  let begun = false;
  let left = false;
  createEffect(() => {
    const map = fleet.map();
    if (!map || begun) return;
    begun = true;
    void import('./drawFence').then(({ drawFence }) => {
      if (!left) setDrawing(drawFence(map, props.shape, setDrawn));
    });
  });
  onCleanup(() => {
    left = true;
    drawing()?.end();
  });
  const place = (circle: NonNullable<Geofence['circle']>): void => {
    drawing()?.circle(circle);
    setDrawn({ circle });
  };
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const events = EVENTS.filter((one) => form.get(one));
    const body = {
      id: `g-${chance(8)}`,
      name: String(form.get('name')).trim(),
      ...drawn(),
      events,
      ...(events.includes('dwell') ? { dwell_s: Number(form.get('minutes')) * 60 } : {}),
    };
    if (!(await attempt(() => create('/v1/geofences', body), t('fences.created')))) return;
    fleet.geofences.reload();
    fleet.select(undefined);
  };
  return (
    <CardFrame title={t('fences.new')}>
      <p class="waiting-text" role="status">
        {drawn() ? sizeOf(drawn()!) : t(props.shape === 'circle' ? 'fences.how_circle' : 'fences.how_polygon')}{' '}
        <Show when={props.shape === 'circle' && !drawn()}>
          <button type="button" class="link" disabled={!drawing()} onClick={() => place({ ...fleet.map()!.middle, radius_m: FIRST_RADIUS_M })}>{t('map.take_middle')}</button>
        </Show>
      </p>
      <form class="stack" onSubmit={submit}>
        <Show when={drawn()?.circle}>
          {(circle) => (
            <label class="field">
              <span>{t('fences.radius')}</span>
              <input class="input" type="number" min="10" max={MOST_RADIUS_M} required value={circle().radius_m} onChange={(event) => event.currentTarget.reportValidity() && place({ ...circle(), radius_m: event.currentTarget.valueAsNumber })} />
            </label>
          )}
        </Show>
        <label class="field"><span>{t('fences.name')}</span><input class="input" name="name" required maxlength="200" autocomplete="off" /></label>
        <fieldset class="end-field">
          <legend class="legend-text">{t('fences.tells')}</legend>
          <For each={EVENTS}>
            {(one) => (
              <label class="row"><input type="checkbox" name={one} checked={one !== 'dwell'} onChange={(event) => one === 'dwell' && setDwell(event.currentTarget.checked)} />{t(`fences.${one}`)}</label>
            )}
          </For>
          <Show when={dwell()}>
            <label class="field"><span>{t('fences.minutes')}</span><input class="input" type="number" name="minutes" min="1" max="1440" value={DWELL_MIN} required /></label>
          </Show>
        </fieldset>
        <button type="submit" class="button primary big" disabled={!drawn()}>{t('fences.save')}</button>
      </form>
    </CardFrame>
  );
}
