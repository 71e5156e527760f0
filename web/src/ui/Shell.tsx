/** The frame of the operators' pages: rail, bars that say what is wrong, toasts. */
import { For, Show, createSignal, onMount, type JSX } from 'solid-js';
import { t, type Key } from '../i18n';
import { remove, type Session } from '../net/api';
import { applyBrand, webConfig } from '../net/config';
import { Icon, type IconName } from './icons';
import { LanguageSwitch } from './LanguageSwitch';
import { Toasts, attempt } from './toast';
import { useOnline } from './View';
import { Dialog } from './Dialog';

interface Place {
  path: string;
  icon: IconName;
  label: Key;
  roles: Session['role'][];
}

const PLACES: Place[] = [
  { path: '/', icon: 'fleet', label: 'nav.fleet', roles: ['admin', 'dispatcher'] },
  { path: '/trips', icon: 'trips', label: 'nav.trips', roles: ['admin', 'dispatcher', 'analyst'] },
  { path: '/events', icon: 'events', label: 'nav.events', roles: ['admin', 'dispatcher'] },
  { path: '/stream', icon: 'stream', label: 'nav.stream', roles: ['admin'] },
  { path: '/docs', icon: 'docs', label: 'nav.docs', roles: ['admin', 'dispatcher', 'analyst'] },
];

export function Shell(props: { session: Session; children: JSX.Element }): JSX.Element {
  const online = useOnline();
  const [demo, setDemo] = createSignal(false);
  const [removing, setRemoving] = createSignal(false);
  onMount(async () => {
    const config = await webConfig();
    applyBrand(config.brand);
    setDemo(config.demo);
  });
  const signOut = async (): Promise<void> => {
    if (await attempt(() => remove('/v1/session'))) location.assign('/sign-in');
  };
  return (
    <div class="shell">
      <div class="bars" role="status">
        <Show when={!online()}>
          <div class="bar">{t('state.offline_plain')}</div>
        </Show>
        <Show when={demo()}>
          <div class="bar demo">
            {t('demo.title')}
            <Show when={props.session.role === 'admin'}>
              <span aria-hidden="true">·</span>
              <button type="button" class="button" onClick={() => setRemoving(true)}>
                {t('demo.remove')}
              </button>
            </Show>
          </div>
        </Show>
      </div>
      <nav class="rail" aria-label={t('nav.label')}>
        <span class="mark">
          <Icon name="arrow" />
        </span>
        <For each={PLACES.filter((place) => place.roles.includes(props.session.role))}>
          {(place) => (
            <a
              class="place"
              href={place.path}
              title={t(place.label)}
              aria-label={t(place.label)}
              aria-current={location.pathname === place.path ? 'page' : undefined}
            >
              <Icon name={place.icon} />
            </a>
          )}
        </For>
        <span class="spacer" />
        <LanguageSwitch short class="place language" />
        <button
          type="button"
          class="place"
          title={t('nav.sign_out_of', { name: props.session.name })}
          aria-label={t('nav.sign_out_of', { name: props.session.name })}
          onClick={signOut}
        >
          <Icon name="out" />
        </button>
      </nav>
      <main>{props.children}</main>
      <Toasts />
      <Show when={removing()}>
        <Dialog title={t('demo.remove_title')} close={() => setRemoving(false)}>
          <p>{t('demo.remove_say')}</p>
          <div class="row">
            <button
              type="button"
              class="button danger"
              onClick={async () => {
                setRemoving(false);
                if (await attempt(() => remove('/v1/demo'), t('demo.removed'))) setDemo(false);
              }}
            >
              {t('demo.remove')}
            </button>
            <button type="button" class="button" onClick={() => setRemoving(false)}>
              {t('action.cancel')}
            </button>
          </div>
        </Dialog>
      </Show>
    </div>
  );
}
