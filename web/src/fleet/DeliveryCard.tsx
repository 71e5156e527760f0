/** One delivery: its way so far, who brings it, and the steps that are allowed now. */
import { For, Show, createEffect, createSignal, onCleanup, type JSX } from 'solid-js';
import { clock, dateTime, distance, span, t, tn, type Key } from '../i18n';
import { isOver, millis, type Status } from '../live/track';
import { create, get, id, post, remove, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { attempt, toast } from '../ui/toast';
import { View } from '../ui/View';
import { CardFrame } from './CardFrame';
import { useFleet } from './context';
import { deliveryTone } from './DeliveryList';
import type { Candidate, Delivery, Link } from './types';

const AGAIN_MS = 5_000;
const MOST_CANDIDATES = 20;

/** The steps a dispatcher may take from a status. */
const NEXT: Record<Status, Status[]> = {
  created: ['cancelled'],
  assigned: ['picked_up', 'cancelled'],
  picked_up: ['arrived', 'delivered', 'failed'],
  arrived: ['delivered', 'failed'],
  delivered: [],
  failed: [],
  cancelled: [],
};

export function DeliveryCard(props: { id: string; assigning: boolean }): JSX.Element {
  const fleet = useFleet();
  const path = `/v1/deliveries/${id(props.id)}`;
  const delivery = load(() => path, (url, signal) => get<Delivery>(url, undefined, signal), { everyMs: AGAIN_MS });
  const [assigning, setAssigning] = createSignal(props.assigning);
  let fitted = false;
  createEffect(() => {
    const known = delivery.value();
    const map = fleet.map();
    if (!known || !map) return;
    map.showPlaces(known.pickup, known.dropoff);
    if (fitted) return;
    fitted = true;
    const courier = fleet.store.get(known.courier_id ?? '');
    map.fit([known.pickup, known.dropoff, ...(courier ? [courier] : [])]);
    if (known.status === 'created') setAssigning(true);
  });
  onCleanup(() => fleet.map()?.showPlaces(undefined, undefined));
  const changed = (): void => {
    delivery.reload();
    fleet.deliveriesChanged();
    fleet.attention.reload();
  };
  const step = (status: Status): void => {
    void attempt(() => post(`${path}/status`, { status }, seen(delivery.value())), t(`deliveries.did_${status}` as Key)).then(changed);
  };
  return (
    <CardFrame title={delivery.value()?.dropoff.label || props.id} subtitle={<p class="muted small">{delivery.value()?.reference || props.id}</p>}>
      <View data={delivery}>
        {(known) => (
          <>
            <div class="row wrap">
              <span class={`badge ${deliveryTone(known().status)}`}>{t(`delivery.${known().status}` as Key)}</span>
              <Show when={known().window?.to}>
                {(to) => <span class="muted">{t('deliveries.promised', { at: clock(millis(to())) })}</span>}
              </Show>
            </div>
            <dl class="key-values">
              <dt>{t('deliveries.from')}</dt>
              <dd>{known().pickup.label || t('deliveries.on_map')}</dd>
              <dt>{t('deliveries.to')}</dt>
              <dd>{known().dropoff.label || t('deliveries.on_map')}</dd>
              <Show when={known().customer?.name}>{(name) => <><dt>{t('deliveries.customer')}</dt><dd>{name()}</dd></>}</Show>
              <Show when={known().note}>{(note) => <><dt>{t('deliveries.note')}</dt><dd>{note()}</dd></>}</Show>
              <Show when={known().courier_id}>
                {(courier) => (
                  <>
                    <dt>{t('deliveries.courier')}</dt>
                    <dd><button type="button" class="link" onClick={() => fleet.select({ kind: 'courier', id: courier() })}>{fleet.nameOf(courier())}</button></dd>
                  </>
                )}
              </Show>
            </dl>
            <div class="row wrap">
              <Show when={!isOver(known().status)}>
                <button type="button" class="button" classList={{ primary: known().status === 'created' }} aria-expanded={assigning()} onClick={() => setAssigning(!assigning())}>
                  {t(known().courier_id ? 'deliveries.reassign' : 'action.assign')}
                </button>
              </Show>
              <For each={NEXT[known().status]}>
                {(status) => (
                  <button type="button" class="button" classList={{ danger: status === 'failed' || status === 'cancelled' }} onClick={() => step(status)}>
                    {t(`deliveries.do_${status}` as Key)}
                  </button>
                )}
              </For>
            </div>
            <Show when={assigning()}>
              <Assign path={path} delivery={known()} done={() => { setAssigning(false); changed(); }} />
            </Show>
            <Show when={known().timeline?.length}>
              <h3>{t('deliveries.timeline')}</h3>
              <ol class="steps">
                <For each={known().timeline}>
                  {(one) => <li><span class="grow">{t(`delivery.${one.status}` as Key)}</span><span class="muted">{dateTime(millis(one.at))}</span></li>}
                </For>
              </ol>
            </Show>
            <Share path={path} over={isOver(known().status)} />
          </>
        )}
      </View>
    </CardFrame>
  );
}

/** Names the version that the change is meant for, so that two dispatchers do not undo each other. */
function seen(delivery: Delivery | undefined): Record<string, string> {
  return delivery?.version === undefined ? {} : { 'if-match': `"${delivery.version}"` };
}

/** Free couriers, nearest by road time first. */
function Assign(props: { path: string; delivery: Delivery; done: () => void }): JSX.Element {
  const ranked = load(() => props.path, async (path, signal) => (await get<Page<Candidate>>(`${path}/candidates`, { limit: MOST_CANDIDATES }, signal)).items);
  const assign = (candidate: Candidate): void => {
    void attempt(() => post(`${props.path}/assign`, { courier_id: candidate.courier_id }, seen(props.delivery)), t('deliveries.assigned_to', { name: candidate.name || candidate.courier_id })).then((ok) => ok && props.done());
  };
  return (
    <div class="assign">
      <h3>{t('deliveries.nearest')}</h3>
      <View data={ranked} isEmpty={(list) => list.length === 0} empty={<p class="muted">{t('deliveries.nobody_free')}</p>}>
        {(list) => (
          <ul class="flush">
            <For each={list()}>
              {(one) => (
                <li>
                  <button type="button" class="item" onClick={() => assign(one)}>
                    <span class="grow">
                      <span class="title truncate">{one.name || one.courier_id}</span>
                      <span class="muted small truncate">{one.open_deliveries ? tn('couriers.open', one.open_deliveries) : t('couriers.free')}</span>
                    </span>
                    <span class="end"><Show when={one.travel_s !== null}><strong>{span(one.travel_s! * 1000)}</strong></Show><span class="muted small">{distance(one.distance_m)}</span></span>
                  </button>
                </li>
              )}
            </For>
          </ul>
        )}
      </View>
    </div>
  );
}

/** Links for the customer: the full link is shown once, when it is made. */
function Share(props: { path: string; over: boolean }): JSX.Element {
  const links = load(() => props.path, async (path, signal) => (await get<Page<Link>>(`${path}/links`, undefined, signal)).items, { everyMs: AGAIN_MS });
  const [fresh, setFresh] = createSignal<string>();
  const share = async (): Promise<void> => {
    await attempt(async () => {
      const link = await create<Link>(`${props.path}/links`, {});
      setFresh(link.url);
      links.reload();
      if (link.url) await copy(link.url);
    });
  };
  const copy = async (url: string): Promise<void> => {
    await navigator.clipboard?.writeText(url).then(() => toast(t('deliveries.link_copied')), () => undefined);
  };
  return (
    <>
      <h3>{t('deliveries.links')}</h3>
      <Show when={fresh()}>
        {(url) => (
          <div class="row">
            <input class="input grow" readonly value={url()} aria-label={t('deliveries.link')} onFocus={(event) => event.currentTarget.select()} />
            <button type="button" class="button icon" aria-label={t('action.copy')} onClick={() => copy(url())}><Icon name="copy" /></button>
          </div>
        )}
      </Show>
      <ul class="flush">
        <For each={(links.value() ?? [])}>
          {(link) => (
            <li class="row between">
              <span class="grow truncate">
                <code>{link.prefix}…</code>{' '}
                <span class="muted small">
                  {link.viewers ? `${tn('deliveries.watching', link.viewers)} · ` : ''}
                  {link.expires_at ? t('deliveries.until', { at: dateTime(millis(link.expires_at)) }) : ''}
                </span>
              </span>
              <button type="button" class="button plain" onClick={() => void attempt(() => remove(`${props.path}/links/${id(link.id)}`), t('deliveries.link_withdrawn')).then(links.reload)}>
                {t('deliveries.withdraw')}
              </button>
            </li>
          )}
        </For>
      </ul>
      <Show when={!props.over}>
        <button type="button" class="button" onClick={share}><Icon name="share" size={18} />{t('deliveries.share')}</button>
      </Show>
    </>
  );
}
