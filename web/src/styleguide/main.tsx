/** Every element in both themes, side by side, so that a change is seen where it would hurt. */
import { render } from 'solid-js/web';
import { For, createSignal, type JSX } from 'solid-js';
import '../base.css';
import '../map/map.css';
import '../customer/customer.css';
import '../fleet/fleet.css';
import './styleguide.css';
import { loadLanguage, t, type Key } from '../i18n';
import { markerElement } from '../map/markers';
import { Dialog } from '../ui/Dialog';
import { Icon, ICON_NAMES } from '../ui/icons';
import { Toasts, toast } from '../ui/toast';
import { Failed } from '../ui/View';

const COLORS = ['bg', 'surface', 'raised', 'ink', 'muted', 'line', 'field-line', 'accent', 'accent-wash', 'waiting', 'waiting-wash', 'problem', 'problem-wash', 'quiet'];
const MAP_COLORS = ['map-land', 'map-residential', 'map-grass', 'map-wood', 'map-park', 'map-sand', 'map-water', 'map-building', 'map-street', 'map-secondary', 'map-primary', 'map-motorway'];
const SPEEDS = ['speed-0', 'speed-1', 'speed-2', 'speed-3', 'speed-4', 'heat-0', 'heat-1', 'heat-2', 'heat-3', 'heat-4'];
const SIZES = ['xxl', 'xl', 'l', 'm', 's'];
const LOOKS = ['delivering', 'to_pickup', 'idle', 'stopped', 'stale', 'offline', 'problem'];

function Styleguide(): JSX.Element {
  return (
    <main class="styleguide">
      <Theme name="light" />
      <Theme name="dark" />
      <Toasts />
    </main>
  );
}

function Swatches(props: { names: string[] }): JSX.Element {
  return (
    <ul class="swatches">
      <For each={props.names}>
        {(name) => <li><span class="swatch" ref={(element) => element.style.setProperty('background', `var(--${name})`)} /><code>{name}</code></li>}
      </For>
    </ul>
  );
}

function Theme(props: { name: 'light' | 'dark' }): JSX.Element {
  const [open, setOpen] = createSignal(false);
  return (
    <section class="theme" data-theme={props.name} aria-label={props.name}>
      <h1>{props.name}</h1>
      <h2>Colour</h2>
      <Swatches names={COLORS} />
      <Swatches names={MAP_COLORS} />
      <Swatches names={SPEEDS} />
      <h2>Type</h2>
      <div class="card"><For each={SIZES}>{(size) => <p class={`type-${size}`}>{t('customer.minutes', { from: 8, to: 12 })} · Triq ir-Repubblika, Ħal Għargħur</p>}</For></div>
      <h2>Buttons</h2>
      <div class="row wrap">
        <button type="button" class="button primary">{t('action.assign')}</button>
        <button type="button" class="button">{t('action.cancel')}</button>
        <button type="button" class="button danger">{t('fences.remove')}</button>
        <button type="button" class="button plain">{t('attention.resolve')}</button>
        <button type="button" class="button" aria-pressed="true">{t('map.following')}</button>
        <button type="button" class="button" disabled>{t('action.assign')}</button>
        <button type="button" class="button icon" aria-label={t('couriers.new')}><Icon name="plus" /></button>
        <button type="button" class="button" onClick={() => toast(t('deliveries.link_copied'))}>Toast</button>
        <button type="button" class="button" onClick={() => setOpen(true)}>Dialog</button>
      </div>
      <h2>Fields</h2>
      <div class="stack">
        <label class="field"><span>{t('couriers.name')}</span><input class="input" placeholder={t('couriers.search')} /></label>
        <label class="field"><span>{t('couriers.vehicle')}</span><select class="select"><option>{t('couriers.vehicle_bike')}</option></select></label>
        <div class="chips"><button type="button" class="chip" aria-pressed="true">{t('deliveries.group_open')}</button><button type="button" class="chip" aria-pressed="false">{t('deliveries.group_done')}</button></div>
        <label class="row"><input type="checkbox" checked />{t('fences.enter')}</label>
        <input type="range" aria-label={t('trips.time')} />
      </div>
      <h2>Badges</h2>
      <div class="row wrap">
        <span class="badge moving">{t('delivery.picked_up')}</span><span class="badge waiting">{t('delivery.created')}</span><span class="badge problem">{t('attention.late')}</span><span class="badge quiet">{t('attention.quiet')}</span><span class="badge">{t('delivery.assigned')}</span>
      </div>
      <h2>Shapes</h2>
      <ul class="row wrap"><For each={LOOKS}>{(look) => <li class="row"><span class={`look ${look}`} />{look === 'problem' ? t('fleet.look_problem') : t(`fleet.status_${look}` as Key)}</li>}</For></ul>
      <div class="row markers">{markerElement('courier-dot', 'courier')}{markerElement('courier-dot still', 'courier')}{markerElement('courier-dot stale', 'courier')}{markerElement('dropoff', 'door')}{markerElement('dropoff', 'shop')}</div>
      <h2>Icons</h2>
      <div class="row wrap"><For each={ICON_NAMES}>{(name) => <Icon name={name} />}</For></div>
      <h2>States</h2>
      <div class="card flush-card">
        <div class="bar">{t('state.reconnecting', { ago: t('span.s', { n: 8 }) })}</div>
        <div class="bar demo">{t('demo.title')}</div>
        <div class="skeleton"><span /><span /><span /></div>
        <div class="state"><p>{t('deliveries.none')}</p><button type="button" class="button primary">{t('delivery.new')}</button></div>
        <Failed failure={{ message: 'no-answer', sinceMs: Date.now() - 192_000 }} retry={() => undefined} />
      </div>
      <h2>Timeline</h2>
      <ol class="timeline card">
        <li class="done"><span class="grow">{t('delivery.created')}</span><span class="muted">13:40</span></li>
        <li class="done current"><span class="grow">{t('delivery.picked_up')}</span><span class="muted">14:02</span></li>
        <li><span class="grow">{t('delivery.delivered')}</span></li>
      </ol>
      {open() && <Dialog title={t('demo.remove_title')} close={() => setOpen(false)}><p>{t('demo.remove_say')}</p></Dialog>}
    </section>
  );
}

await loadLanguage();
render(() => <Styleguide />, document.getElementById('app')!);
