/** What needs a person now: unassigned, late, quiet, SOS; each with what can be done about it. */
import { For, Show, type JSX } from 'solid-js';
import { span, t, type Key } from '../i18n';
import { millis } from '../live/track';
import { toast } from '../ui/toast';
import { View } from '../ui/View';
import { useFleet } from './context';
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

function Item(props: { item: Attention }): JSX.Element {
  const fleet = useFleet();
  const { item } = props;
  const who = (): string => fleet.store.get(item.courier_id ?? '')?.name ?? item.courier_id ?? '';
  const open = (): void => {
    fleet.select(item.delivery_id && item.kind !== 'quiet' ? { kind: 'delivery', id: item.delivery_id } : item.courier_id ? { kind: 'courier', id: item.courier_id } : undefined);
  };
  const putAway = (minutes: number | null): void => {
    settle(localStorage, item, minutes === null ? null : Date.now() + minutes * 60_000);
    fleet.attention.set((fleet.attention.value() ?? []).filter((other) => other !== item));
    toast(minutes === null ? t('attention.resolved') : t('attention.snoozed', { n: minutes }));
  };
  // What will be late bears the time at which it is due.
  const ahead = (): boolean => millis(item.since) > fleet.now();
  const sentence = (): Key => (item.kind === 'late' && ahead() ? 'attention.say_will_be_late' : `attention.say_${item.kind}`);
  const ago = (): string => span(Math.abs(fleet.now() - millis(item.since)));
  return (
    <li class="attention" data-kind={item.kind}>
      <button type="button" class="attention-open" onClick={open}>
        <span class="badge" classList={{ problem: item.kind === 'sos' || item.kind === 'late', waiting: item.kind === 'unassigned', quiet: item.kind === 'quiet' }}>
          {t(`attention.${item.kind}`)}
        </span>
        <span class="grow">
          <span class="title">{t(sentence(), { courier: who(), delivery: item.delivery_id ?? '', ago: ago() })}</span>
          <Show when={item.kind === 'late' && who()}><span class="muted small">{who()}</span></Show>
        </span>
      </button>
      <div class="row">
        <Show when={item.kind === 'unassigned'}>
          <button type="button" class="button" onClick={open}>{t('action.assign')}</button>
        </Show>
        <button type="button" class="button plain" onClick={() => putAway(SNOOZE_MIN)}>{t('attention.snooze', { n: SNOOZE_MIN })}</button>
        <button type="button" class="button plain" onClick={() => putAway(null)}>{t('attention.resolve')}</button>
      </div>
    </li>
  );
}
