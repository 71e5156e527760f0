/** What needs a person now: unassigned, late, quiet, SOS; each with what can be done about it. */
import { For, Show, type JSX } from 'solid-js';
import { t, type Key } from '../i18n';
import { millis } from '../live/track';
import { toast } from '../ui/toast';
import { View } from '../ui/View';
import { useFleet } from './context';
import { matterWords, selectionOf } from './matters';
import { settle } from './settled';
import type { Attention } from './types';

const SNOOZE_MIN = 15;
const URGENCY: Attention['kind'][] = ['sos', 'late', 'unassigned', 'quiet'];

export function AttentionList(): JSX.Element {
  const fleet = useFleet();
  const sorted = (items: Attention[]): Attention[] =>
    [...items].sort((a, b) => URGENCY.indexOf(a.kind) - URGENCY.indexOf(b.kind) || millis(a.since) - millis(b.since));
  return (
    <div class="scroll">
      <View
        data={fleet.attention}
        isEmpty={(items) => items.length === 0}
        empty={
          <>
            <p>{t('attention.none')}</p>
            <button type="button" class="button" onClick={() => fleet.select({ kind: 'new-delivery' })}>{t('delivery.new')}</button>
          </>
        }
      >
        {(items) => <ul><For each={sorted(items())}>{(item) => <Item item={item} />}</For></ul>}
      </View>
    </div>
  );
}

/** What a matter's first button does. */
const FIRST: Record<Attention['kind'], Key> = {
  sos: 'attention.show',
  late: 'deliveries.reassign',
  unassigned: 'action.assign',
  quiet: 'attention.show',
};

function Item(props: { item: Attention }): JSX.Element {
  const fleet = useFleet();
  const { item } = props;
  const words = (): ReturnType<typeof matterWords> => matterWords(item, fleet.now());
  const act = (assigning: boolean): void => {
    fleet.select(selectionOf(item, assigning));
    if (item.kind === 'sos' || item.kind === 'quiet') void fleet.goToCourier(item.courier_id ?? '');
  };
  const putAway = (minutes: number | null): void => {
    settle(localStorage, item, minutes === null ? null : Date.now() + minutes * 60_000);
    fleet.attention.set((fleet.attention.value() ?? []).filter((other) => other !== item));
    toast(minutes === null ? t('attention.resolved') : t('attention.snoozed', { n: minutes }));
  };
  return (
    <li class="attention" data-kind={item.kind}>
      <button type="button" class="attention-open" onClick={() => act(false)}>
        <span class="badge" classList={{ problem: item.kind === 'sos' || item.kind === 'late', waiting: item.kind === 'unassigned', quiet: item.kind === 'quiet' }}>
          {t(`attention.${item.kind}`)}
        </span>
        <span class="title">{words().sentence}</span>
        <Show when={words().who}><span class="muted small">{words().who}</span></Show>
      </button>
      <div class="row">
        <button type="button" class="button" onClick={() => act(true)}>{t(FIRST[item.kind])}</button>
        <span class="grow" />
        <button type="button" class="button plain" onClick={() => putAway(SNOOZE_MIN)}>{t('attention.snooze', { n: SNOOZE_MIN })}</button>
        <button type="button" class="button plain" onClick={() => putAway(null)}>{t('attention.resolve')}</button>
      </div>
    </li>
  );
}
