/** Every courier, found by name, status or tag; the map shows those who are left. */
import { For, Show, createEffect, createMemo, createSignal, on, onCleanup, untrack, type JSX } from 'solid-js';
import { number, span, t, tn, type Key } from '../i18n';
import { STATUSES, type FleetStatus } from '../live/fleetFrame';
import { get, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { VirtualList } from '../ui/VirtualList';
import { useFleet } from './context';
import { NewCourier } from './NewCourier';
import type { CourierRow } from './types';

const PAGE = 500;
/** A filtered map shows at most this many; the list says when there are more. */
const MOST = 10_000;
const TYPING_MS = 200;
const AGAIN_MS = 20_000;

export function CourierList(): JSX.Element {
  const fleet = useFleet();
  const [typed, setTyped] = createSignal('');
  const [query, setQuery] = createSignal('');
  const [status, setStatus] = createSignal<FleetStatus>();
  const [tag, setTag] = createSignal('');
  const [adding, setAdding] = createSignal(false);
  let typing: ReturnType<typeof setTimeout> | undefined;
  const type = (text: string): void => {
    setTyped(text);
    clearTimeout(typing);
    typing = setTimeout(() => setQuery(text.trim()), TYPING_MS);
  };
  const wanted = createMemo(() => ({ q: query(), status: status(), tag: tag() }));
  const couriers = load(wanted, async (filter, signal) => {
    const all: CourierRow[] = [];
    let cursor: string | null = null;
    do {
      const page: Page<CourierRow> = await get('/v1/fleet/couriers', { ...filter, limit: PAGE, cursor }, signal);
      all.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor && all.length < MOST);
    return all;
  }, { everyMs: AGAIN_MS });
  const [tags, setTags] = createSignal<string[]>([]);
  createEffect(() => {
    const seen = new Set(untrack(tags));
    for (const row of couriers.value() ?? []) for (const one of row.tags) seen.add(one);
    setTags([...seen].sort().slice(0, 12));
  });
  createEffect(on(couriers.value, (rows) => {
    const { q, status: state, tag: label } = wanted();
    const filtered = rows && (q || state || label) ? rows : undefined;
    const ids = filtered && new Set(filtered.map((row) => row.id));
    fleet.store.filter(ids && ((known) => ids.has(known.courierId)));
    fleet.map()?.showFound(filtered);
    fleet.map()?.positionsChanged();
  }));
  onCleanup(() => {
    clearTimeout(typing);
    fleet.store.filter(undefined);
    fleet.map()?.showFound(undefined);
    fleet.map()?.positionsChanged();
  });
  return (
    <>
      <header class="filters">
        <div class="row">
          <label class="search grow">
            <Icon name="search" size={18} />
            <input class="input" type="search" value={typed()} onInput={(e) => type(e.currentTarget.value)} placeholder={t('couriers.search')} aria-label={t('couriers.search')} />
          </label>
          <button type="button" class="button icon" title={t('couriers.new')} aria-label={t('couriers.new')} onClick={() => setAdding(true)}>
            <Icon name="plus" />
          </button>
        </div>
        <div class="chips" role="group" aria-label={t('couriers.by_status')}>
          <For each={STATUSES}>
            {(one) => (
              <button type="button" class="chip" aria-pressed={status() === one} onClick={() => setStatus(status() === one ? undefined : one)}>
                {t(`fleet.status_${one}` as Key)}
              </button>
            )}
          </For>
        </div>
        <Show when={tags().length > 0}>
          <div class="chips" role="group" aria-label={t('couriers.by_tag')}>
            <For each={tags()}>
              {(one) => (
                <button type="button" class="chip" aria-pressed={tag() === one} onClick={() => setTag(tag() === one ? '' : one)}>
                  #{one}
                </button>
              )}
            </For>
          </div>
        </Show>
        <p class="muted small" role="status">{couriers.value() ? tn('couriers.count', couriers.value()!.length) : ' '}</p>
      </header>
      <View
        data={couriers}
        isEmpty={(rows) => rows.length === 0}
        empty={
          <>
            <p>{t(query() || status() || tag() ? 'couriers.none_found' : 'couriers.none')}</p>
            <Show
              when={query() || status() || tag()}
              fallback={<button type="button" class="button primary" onClick={() => setAdding(true)}>{t('couriers.new')}</button>}
            >
              <button type="button" class="button" onClick={() => { type(''); setQuery(''); setStatus(undefined); setTag(''); }}>{t('couriers.show_all')}</button>
            </Show>
          </>
        }
      >
        {(rows) => (
          <VirtualList items={rows()} rowHeight={60} label={t('fleet.tab_couriers')}>
            {(row) => <Row row={row} />}
          </VirtualList>
        )}
      </View>
      <Show when={adding()}>
        <NewCourier close={() => setAdding(false)} created={couriers.reload} />
      </Show>
    </>
  );
}

function Row(props: { row: CourierRow }): JSX.Element {
  const fleet = useFleet();
  const live = createMemo(() => {
    fleet.now();
    const known = fleet.store.get(props.row.id);
    return {
      status: known?.status ?? props.row.status,
      ageMs: known ? performance.now() - known.fixMs : props.row.position ? fleet.now() - Date.parse(props.row.position.fix_time) : undefined,
    };
  });
  const chosen = (): boolean => {
    const selection = fleet.selection();
    return selection?.kind === 'courier' && selection.id === props.row.id;
  };
  const open = (): void => {
    fleet.select({ kind: 'courier', id: props.row.id });
    const place = fleet.store.get(props.row.id) ?? props.row.position;
    if (place) fleet.map()?.goTo(place);
  };
  return (
    <button type="button" class="item" data-status={live().status} aria-current={chosen()} onClick={open}>
      <span class={`look ${live().status}`} aria-hidden="true" />
      <span class="grow">
        <span class="title truncate">{props.row.name || props.row.id}</span>
        <span class="muted small truncate">
          {t(`fleet.status_${live().status}` as Key)}
          {live().ageMs === undefined ? '' : ` · ${span(live().ageMs!)}`}
        </span>
      </span>
      <Show when={props.row.open_deliveries > 0}>
        <span class="badge" title={tn('couriers.open', props.row.open_deliveries)}>{number(props.row.open_deliveries)}</span>
      </Show>
    </button>
  );
}
