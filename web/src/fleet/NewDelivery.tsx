/** A new delivery: two clicks on the map, two address labels, and what else is known. */
import { Show, createEffect, createSignal, onCleanup, type JSX } from 'solid-js';
import { t } from '../i18n';
import { create } from '../net/api';
import { attempt } from '../ui/toast';
import { CardFrame } from './CardFrame';
import { useFleet } from './context';
import type { Delivery } from './types';

type End = 'pickup' | 'dropoff';

export function NewDelivery(): JSX.Element {
  const fleet = useFleet();
  const [places, setPlaces] = createSignal<Partial<Record<End, { lat: number; lon: number }>>>({});
  const [choosing, setChoosing] = createSignal<End | undefined>('pickup');
  const [busy, setBusy] = createSignal(false);
  createEffect(() => {
    const end = choosing();
    fleet.map()?.choosePlace(
      end &&
        ((place) => {
          const next = { ...places(), [end]: place };
          setPlaces(next);
          setChoosing(end === 'pickup' && !next.dropoff ? 'dropoff' : undefined);
        }),
    );
  });
  createEffect(() => fleet.map()?.showPlaces(places().pickup, places().dropoff));
  onCleanup(() => {
    fleet.map()?.choosePlace(undefined);
    fleet.map()?.showPlaces(undefined, undefined);
  });
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string): string | undefined => String(form.get(name) ?? '').trim() || undefined;
    const { pickup, dropoff } = places();
    if (!pickup || !dropoff) return;
    const until = text('until');
    const tags = text('tags')?.split(/[\s,]+/).filter(Boolean);
    const deliveryId = `d-${crypto.randomUUID().slice(0, 8)}`;
    setBusy(true);
    const body = {
      id: deliveryId,
      pickup: { ...pickup, label: text('pickup') },
      dropoff: { ...dropoff, label: text('dropoff') },
      reference: text('reference'),
      note: text('note'),
      tags,
      window: until ? { from: new Date().toISOString(), to: new Date(until).toISOString() } : undefined,
      customer: text('customer') ? { name: text('customer') } : undefined,
    };
    const ok = await attempt(() => create<Delivery>('/v1/deliveries', body), t('deliveries.created'));
    setBusy(false);
    if (!ok) return;
    fleet.deliveriesChanged();
    fleet.attention.reload();
    fleet.select({ kind: 'delivery', id: deliveryId });
  };
  const End = (props: { end: End }): JSX.Element => (
    <fieldset class="end-field">
      <legend class="legend">{t(`deliveries.${props.end}`)}</legend>
      <div class="row">
        <input class="input grow" name={props.end} maxlength="200" placeholder={t('deliveries.address')} aria-label={`${t(`deliveries.${props.end}`)}: ${t('deliveries.address')}`} />
        <button type="button" class="button" aria-pressed={choosing() === props.end} onClick={() => setChoosing(choosing() === props.end ? undefined : props.end)}>
          {t(places()[props.end] ? 'deliveries.move' : 'deliveries.on_map')}
        </button>
      </div>
      <Show when={choosing() === props.end}><p class="small waiting-text" role="status">{t(`deliveries.click_${props.end}`)}</p></Show>
    </fieldset>
  );
  return (
    <CardFrame title={t('delivery.new')}>
      <form class="stack" onSubmit={submit}>
        <End end="pickup" />
        <End end="dropoff" />
        <label class="field"><span>{t('deliveries.customer')}</span><input class="input" name="customer" maxlength="200" autocomplete="off" /></label>
        <label class="field"><span>{t('deliveries.until_label')}</span><input class="input" name="until" type="datetime-local" /></label>
        <label class="field"><span>{t('deliveries.reference')}</span><input class="input" name="reference" maxlength="200" autocomplete="off" /></label>
        <label class="field"><span>{t('deliveries.tags')}</span><input class="input" name="tags" autocomplete="off" /></label>
        <label class="field"><span>{t('deliveries.note')}</span><textarea class="input" name="note" maxlength="1000" /></label>
        <Show when={!places().pickup || !places().dropoff}><p class="muted small">{t('deliveries.needs_places')}</p></Show>
        <button type="submit" class="button primary big" disabled={busy() || !places().pickup || !places().dropoff}>{t('deliveries.create')}</button>
      </form>
    </CardFrame>
  );
}
