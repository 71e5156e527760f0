/** `/join/{code}` and `/courier`: which of the two is shown, and what survives going offline. */
import { render } from 'solid-js/web';
import { Match, Switch, createSignal, type JSX } from 'solid-js';
import '../base.css';
import './courier.css';
import { loadLanguage, t } from '../i18n';
import { applyBrand, webConfig } from '../net/config';
import { CourierPage, type Phone } from './CourierPage';
import { JoinPage } from './JoinPage';
import { Outbox } from './outbox';

function Pages(props: { outbox: Outbox; known: Phone | undefined; code: string | undefined }): JSX.Element {
  const [phone, setPhone] = createSignal(props.known);
  const [code, setCode] = createSignal(props.code);
  const use = (joined: Phone): void => {
    history.replaceState(null, '', '/courier');
    setCode(undefined);
    setPhone(joined);
  };
  const forget = async (): Promise<void> => {
    await props.outbox.clear();
    setPhone(undefined);
  };
  // What waits is kept: the same courier may join again with a new code and send it then.
  const shutOut = (): void => void setPhone(undefined);
  return (
    <Switch fallback={<main class="join"><h1>{t('courier.stranger')}</h1><p class="muted">{t('courier.stranger_say')}</p></main>}>
      <Match when={code()}>{(value) => <JoinPage outbox={props.outbox} code={value()} use={use} />}</Match>
      <Match when={phone()} keyed>{(value) => <CourierPage outbox={props.outbox} phone={value} forget={forget} shutOut={shutOut} />}</Match>
    </Switch>
  );
}

/** Lets the page open again without a network: the worker keeps what was loaded. */
async function keepForOffline(): Promise<void> {
  // What waits to be sent is not to be cleared when the phone runs out of space.
  await navigator.storage?.persist?.();
  if (!('serviceWorker' in navigator) || !import.meta.env.PROD) return;
  // Not `ready`: on the page of the code, which is not the worker's, that never comes.
  const registration = await navigator.serviceWorker.register('/courier-sw.js', { scope: '/courier' });
  const worker = registration.active ?? (await activated(registration.installing ?? registration.waiting));
  const loaded = performance.getEntriesByType('resource').map((entry) => new URL(entry.name));
  const own = loaded.filter((url) => url.origin === location.origin && url.pathname.startsWith('/assets/'));
  worker?.postMessage({ keep: ['/courier', '/web-config.json', '/favicon.svg', ...own.map((url) => url.pathname)] });
}

function activated(worker: ServiceWorker | null): Promise<ServiceWorker | null> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (!worker || worker.state === 'redundant') resolve(null);
      else if (worker.state === 'activated') resolve(worker);
    };
    worker?.addEventListener('statechange', look);
    look();
  });
}

const [, section, code] = location.pathname.split('/');
const [outbox] = await Promise.all([Outbox.open(), loadLanguage()]);
document.title = `${t('courier.title')} · Waylog`;
const known = await outbox.kept<Phone>('phone');
render(() => <Pages outbox={outbox} known={known} code={section === 'join' ? decodeURIComponent(code ?? '') : undefined} />, document.getElementById('app')!);
applyBrand((await webConfig()).brand);
await keepForOffline().catch(() => undefined);
