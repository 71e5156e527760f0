/** A new delivery: two clicks on the map, two address labels, and what else is known. */
import { Show, createEffect, createSignal, onCleanup, onMount, type JSX } from 'solid-js';
import { t } from '../i18n';
import { chance, create } from '../net/api';
import { webConfig } from '../net/config';
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
  const [typed, setTyped] = createSignal<Partial<Record<End, boolean>>>({});
  const [geocoder, setGeocoder] = createSignal(false);
  onMount(async () => setGeocoder((await webConfig()).geocoder));
  /** A place by a click, or by its address where the server can look it up. */
  const known = (end: End): boolean => Boolean(places()[end] || (geocoder() && typed()[end]));
  const complete = (): boolean => known('pickup') && known('dropoff');
  const choose = (end: End, place: { lat: number; lon: number }): void => {
    const next = { ...places(), [end]: place };
    setPlaces(next);
    setChoosing(end === 'pickup' && !next.dropoff ? 'dropoff' : undefined);
  };
  createEffect(() => {
    const end = choosing();
    fleet.map()?.choosePlace(end && ((place) => choose(end, place)));
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
    const until = text('until');
    const tags = text('tags')?.split(/[\s,]+/).filter(Boolean);
    const deliveryId = `d-${chance(8)}`;
    setBusy(true);
    const body = {
      id: deliveryId,
      pickup: { ...places().pickup, label: text('pickup') },
      dropoff: { ...places().dropoff, label: text('dropoff') },
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
      <legend class="legend-text">{t(`deliveries.${props.end}`)}</legend>
      <div class="row">
        <input class="input grow" name={props.end} maxlength="200" onInput={(event) => setTyped({ ...typed(), [props.end]: event.currentTarget.value.trim() !== '' })} placeholder={t('deliveries.address')} aria-label={`${t(`deliveries.${props.end}`)}: ${t('deliveries.address')}`} />
        <button type="button" class="button" aria-pressed={choosing() === props.end} onClick={() => setChoosing(choosing() === props.end ? undefined : props.end)}>
          {t(places()[props.end] ? 'deliveries.move' : 'deliveries.on_map')}
        </button>
      </div>
      <Show when={choosing() === props.end}>
        <p class="small waiting-text" role="status">
          {t(`deliveries.click_${props.end}`)}{' '}
          <button type="button" class="link" disabled={!fleet.map()} onClick={() => choose(props.end, fleet.map()!.middle)}>{t('map.take_middle')}</button>
        </p>
      </Show>
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
        <Show when={!complete()}><p class="muted small">{t(geocoder() ? 'deliveries.needs_places_or_addresses' : 'deliveries.needs_places')}</p></Show>
        <button type="submit" class="button primary big" disabled={busy() || !complete()}>{t('deliveries.create')}</button>
      </form>
    </CardFrame>
  );
}
