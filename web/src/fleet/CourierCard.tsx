/** One courier: how they are, where they have been, what they carry. */
import { For, Show, createEffect, createMemo, createSignal, onCleanup, type JSX } from 'solid-js';
import { kmh, span, t, type Key } from '../i18n';
import { get, id, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { CardFrame } from './CardFrame';
import { useFleet } from './context';
import { deliveryTone } from './DeliveryList';
import { ConnectPhone } from './NewCourier';
import type { Courier, Delivery } from './types';

const TRAIL_MIN = 30;
const TRAIL_EVERY_MS = 15_000;
const OPEN = 'assigned,picked_up,arrived';

export function CourierCard(props: { id: string }): JSX.Element {
  const fleet = useFleet();
  const path = `/v1/couriers/${id(props.id)}`;
  const courier = load(() => path, (url, signal) => get<Courier>(url, undefined, signal));
  const trail = load(() => path, (url, signal) => get<Trail>(`${url}/trail`, { minutes: TRAIL_MIN }, signal), { everyMs: TRAIL_EVERY_MS });
  const deliveries = load(fleet.deliveriesVersion, async (_, signal) => (await get<Page<Delivery>>('/v1/deliveries', { courier: props.id, status: OPEN, limit: 50 }, signal)).items);
  const [following, setFollowing] = createSignal(false);
  const [connecting, setConnecting] = createSignal(false);
  const live = createMemo(() => {
    fleet.now();
    const known = fleet.store.get(props.id);
    return known && { ...known };
  });
  // Between two answers the trail grows by what the map knows, so that it ends at the courier.
  createEffect(() => fleet.map()?.showTrail(longer(trail.value(), live())));
  createEffect(() => fleet.map()?.follow(following() ? props.id : undefined));
  onCleanup(() => {
    fleet.map()?.follow(undefined);
    fleet.map()?.showTrail(undefined);
  });
  const problems = () => (fleet.attention.value() ?? []).filter((one) => one.courier_id === props.id);
  return (
    <CardFrame
      title={courier.value()?.name || live()?.name || props.id}
      subtitle={
        <p class="muted small">
          {props.id}
          <Show when={courier.value()?.vehicle}>{(vehicle) => ` · ${t(`vehicle.${vehicle()}` as Key)}`}</Show>
        </p>
      }
    >
      <Show when={live()}>
        {(known) => (
          <div class="row wrap">
            <span class={`look ${known().status}`} aria-hidden="true" />
            <strong>{t(`fleet.status_${known().status}` as Key)}</strong>
            <span class="muted">
              {known().speedMps >= 1 ? `${kmh(known().speedMps)} · ` : ''}
              {t('state.updated', { ago: span(performance.now() - known().fixMs) })}
            </span>
          </div>
        )}
      </Show>
      <For each={problems()}>
        {(one) => <p class="badge problem">{t(`attention.${one.kind}`)}{fleet.now() > Date.parse(one.since) ? ` · ${span(fleet.now() - Date.parse(one.since))}` : ''}</p>}
      </For>
      <div class="row wrap">
        <button type="button" class="button" aria-pressed={following()} disabled={!live()} onClick={() => setFollowing(!following())}>
          <Icon name="navigate" size={18} />
          {t(following() ? 'map.following' : 'map.follow')}
        </button>
        <Show when={courier.value()?.phone}>
          {(phone) => <a class="button" href={`tel:${phone()}`}><Icon name="phone" size={18} />{t('couriers.call')}</a>}
        </Show>
        <a class="button" href={`/trips?courier=${id(props.id)}`}><Icon name="trips" size={18} />{t('nav.trips')}</a>
        <button type="button" class="button" onClick={() => setConnecting(true)}>{t('couriers.connect')}</button>
      </div>
      <h3>{t('couriers.carries')}</h3>
      <View data={deliveries} isEmpty={(list) => list.length === 0} empty={<p class="muted">{t('couriers.carries_none')}</p>}>
        {(list) => (
          <ul class="flush">
            <For each={list()}>
              {(delivery) => (
                <li>
                  <button type="button" class="item" onClick={() => fleet.select({ kind: 'delivery', id: delivery.id })}>
                    <span class="grow">
                      <span class="title truncate">{delivery.dropoff.label || delivery.reference || delivery.id}</span>
                      <span class="muted small truncate">{delivery.reference || delivery.id}</span>
                    </span>
                    <span class={`badge ${deliveryTone(delivery.status)}`}>{t(`delivery.${delivery.status}` as Key)}</span>
                  </button>
                </li>
              )}
            </For>
          </ul>
        )}
      </View>
      <Show when={connecting()}><ConnectPhone courierId={props.id} close={() => setConnecting(false)} /></Show>
    </CardFrame>
  );
}

/** A courier of whom one place is known has no line yet. */
type Trail = GeoJSON.Feature<GeoJSON.Geometry | null>;

function longer(trail: Trail | undefined, end: { lat: number; lon: number } | undefined): Trail | undefined {
  if (trail?.geometry?.type !== 'LineString' || !end) return trail;
  return { ...trail, geometry: { type: 'LineString', coordinates: [...trail.geometry.coordinates, [end.lon, end.lat]] } };
}
