/** A new courier, and the codes that connect a phone. */
import { Show, createSignal, type JSX } from 'solid-js';
import { t, type Key } from '../i18n';
import { chance, create, id } from '../net/api';
import { Dialog } from '../ui/Dialog';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { attempt, toast } from '../ui/toast';
import { View } from '../ui/View';

export function NewCourier(props: { close: () => void; created: () => void }): JSX.Element {
  const [connect, setConnect] = createSignal<string>();
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string): string | undefined => String(form.get(name) ?? '').trim() || undefined;
    const courierId = text('id') ?? `c-${chance(8)}`;
    const ok = await attempt(
      () => create('/v1/couriers', { id: courierId, name: text('name'), phone: text('phone'), vehicle: text('vehicle') }),
      t('couriers.created'),
    );
    if (!ok) return;
    props.created();
    setConnect(courierId);
  };
  return (
    <Show when={connect()} fallback={
      <Dialog title={t('couriers.new')} close={props.close}>
        <form onSubmit={submit}>
          <label class="field"><span>{t('couriers.name')}</span><input class="input" name="name" required maxlength="200" autocomplete="off" /></label>
          <label class="field"><span>{t('couriers.id')}</span><input class="input" name="id" pattern="[A-Za-z0-9._:\-]{1,64}" autocomplete="off" placeholder={t('couriers.id_hint')} /></label>
          <label class="field"><span>{t('couriers.phone')}</span><input class="input" name="phone" type="tel" maxlength="40" autocomplete="off" /></label>
          <label class="field">
            <span>{t('couriers.vehicle')}</span>
            <select class="select" name="vehicle">
              {(['bike', 'car', 'van', 'foot'] as const).map((one) => <option value={one}>{t(`couriers.vehicle_${one}`)}</option>)}
            </select>
          </label>
          <button type="submit" class="button primary big">{t('couriers.create')}</button>
          <a class="button plain" href="/couriers">{t('bulk.open')}</a>
        </form>
      </Dialog>
    }>
      {(courierId) => <ConnectPhone courierId={courierId()} close={props.close} />}
    </Show>
  );
}

interface Device {
  id: string;
  token: string;
  links: Record<string, string>;
  qr: Record<string, string>;
}

/** Makes a device token and shows it as codes to scan: this is the only time it is shown. */
export function ConnectPhone(props: { courierId: string; close: () => void }): JSX.Element {
  const device = load(() => props.courierId, (courier) => create<Device>(`/v1/couriers/${id(courier)}/devices`, {}));
  const [app, setApp] = createSignal('join');
  const source = (svg: string): string => `data:image/svg+xml;utf8,${encodeURIComponent(svg)}`;
  return (
    <Dialog title={t('couriers.connect')} close={props.close}>
      <View data={device}>
        {(known) => (
          <>
            <p class="muted">{t('couriers.connect_say')}</p>
            <div class="chips" role="group">
              {Object.keys(known().links).map((name) => (
                <button type="button" class="chip" aria-pressed={app() === name} onClick={() => setApp(name)}>{appName(name)}</button>
              ))}
            </div>
            <Show when={known().qr?.[app()]}>{(svg) => <img class="qr" src={source(svg())} alt={t('couriers.qr', { app: appName(app()) })} />}</Show>
            <div class="row">
              <input class="input grow" readonly value={known().links[app()] ?? ''} aria-label={appName(app())} onFocus={(event) => event.currentTarget.select()} />
              <button type="button" class="button icon" aria-label={t('action.copy')} onClick={() => void navigator.clipboard?.writeText(known().links[app()] ?? '').then(() => toast(t('action.copied')), () => undefined)}>
                <Icon name="copy" />
              </button>
            </div>
          </>
        )}
      </View>
    </Dialog>
  );
}

function appName(name: string): string {
  const known: Record<string, Key> = { native: 'couriers.app_native', osmand: 'couriers.app_osmand', owntracks: 'couriers.app_owntracks', join: 'couriers.app_join' };
  const key = known[name];
  return key ? t(key) : name;
}
