/** Deliveries: open ones first, found by text, and the way to a new one. */
import { For, Show, createMemo, createSignal, onCleanup, type JSX } from 'solid-js';
import { clock, t, type Key } from '../i18n';
import { millis, type Status } from '../live/track';
import { get, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { VirtualList } from '../ui/VirtualList';
import { useFleet } from './context';
import type { Delivery } from './types';

const GROUPS = {
  open: 'created,assigned,picked_up,arrived',
  unassigned: 'created',
  under_way: 'picked_up,arrived',
  done: 'delivered,failed,cancelled',
} as const;
type Group = keyof typeof GROUPS;
const AGAIN_MS = 10_000;
const PAGE = 500;
const TYPING_MS = 200;

/** How a status looks: moving, waiting, problem or plain. */
export function deliveryTone(status: Status): string {
  if (status === 'created') return 'waiting';
  if (status === 'failed') return 'problem';
  return status === 'picked_up' || status === 'arrived' ? 'moving' : '';
}

export function DeliveryList(): JSX.Element {
  const fleet = useFleet();
  const [group, setGroup] = createSignal<Group>('open');
  const [query, setQuery] = createSignal('');
  let typing: ReturnType<typeof setTimeout> | undefined;
  onCleanup(() => clearTimeout(typing));
  const wanted = createMemo(() => ({ status: GROUPS[group()], q: query(), version: fleet.deliveriesVersion() }));
  const deliveries = load(wanted, async ({ status, q }, signal) => (await get<Page<Delivery>>('/v1/deliveries', { status, q, limit: PAGE }, signal)).items, { everyMs: AGAIN_MS });
  return (
    <>
      <header class="filters">
        <div class="row">
          <label class="search grow">
            <Icon name="search" size={18} />
            <input
              class="input"
              type="search"
              placeholder={t('deliveries.search')}
              aria-label={t('deliveries.search')}
              onInput={(event) => {
                const text = event.currentTarget.value.trim();
                clearTimeout(typing);
                typing = setTimeout(() => setQuery(text), TYPING_MS);
              }}
            />
          </label>
          <button type="button" class="button primary" onClick={() => fleet.select({ kind: 'new-delivery' })}>
            <Icon name="plus" size={18} />
            {t('deliveries.new_short')}
          </button>
        </div>
        <div class="chips" role="group" aria-label={t('deliveries.by_status')}>
          <For each={Object.keys(GROUPS) as Group[]}>
            {(one) => <button type="button" class="chip" aria-pressed={group() === one} onClick={() => setGroup(one)}>{t(`deliveries.group_${one}`)}</button>}
          </For>
        </div>
      </header>
      <View
        data={deliveries}
        isEmpty={(list) => list.length === 0}
        empty={
          <>
            <p>{t('deliveries.none')}</p>
            <button type="button" class="button primary" onClick={() => fleet.select({ kind: 'new-delivery' })}>{t('delivery.new')}</button>
          </>
        }
      >
        {(list) => (
          <VirtualList items={list()} rowHeight={60} label={t('fleet.tab_deliveries')}>
            {(delivery) => <Row delivery={delivery} />}
          </VirtualList>
        )}
      </View>
    </>
  );
}

function Row(props: { delivery: Delivery }): JSX.Element {
  const fleet = useFleet();
  const chosen = (): boolean => {
    const selection = fleet.selection();
    return selection?.kind === 'delivery' && selection.id === props.delivery.id;
  };
  const sub = (): string =>
    [props.delivery.reference || props.delivery.id, props.delivery.courier_id && fleet.nameOf(props.delivery.courier_id)].filter(Boolean).join(' · ');
  return (
    <button type="button" class="item" aria-current={chosen()} onClick={() => fleet.select({ kind: 'delivery', id: props.delivery.id })}>
      <span class="grow">
        <span class="title truncate">{props.delivery.dropoff.label || props.delivery.id}</span>
        <span class="muted small truncate">{sub()}</span>
      </span>
      <span class="end">
        <span class={`badge ${deliveryTone(props.delivery.status)}`}>{t(`delivery.${props.delivery.status}` as Key)}</span>
        <Show when={props.delivery.window?.to}>{(to) => <span class="muted small">{t('deliveries.by', { at: clock(millis(to())) })}</span>}</Show>
      </span>
    </button>
  );
}
