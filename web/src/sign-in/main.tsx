/** Signing in: with a key, with a name and password, or by a one-time code in the address. */
import { Show, createSignal, onMount, type JSX } from 'solid-js';
import { render } from 'solid-js/web';
import '../base.css';
import './sign-in.css';
import { loadLanguage, t } from '../i18n';
import { ApiError, adopt, post, type Session } from '../net/api';
import { applyBrand, webConfig } from '../net/config';
import { Icon } from '../ui/icons';
import { LanguageSwitch } from '../ui/LanguageSwitch';
import { sayError, Skeleton } from '../ui/View';

type Way = 'key' | 'password';

/** Where to go after signing in: a path of this site, never another one. */
function destination(session: Session): string {
  const next = new URLSearchParams(location.search).get('next');
  if (next?.startsWith('/') && !next.startsWith('//') && !next.startsWith('/\\')) return next;
  return session.role === 'analyst' ? '/trips' : '/';
}

function SignIn(): JSX.Element {
  const [way, setWay] = createSignal<Way>('key');
  const [error, setError] = createSignal<string>();
  const [busy, setBusy] = createSignal(false);
  const [brand, setBrand] = createSignal('Waylog');
  const code = new URLSearchParams(location.hash.slice(1)).get('code');

  const enter = async (credential: Record<string, string>): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      const session = adopt(await post<Session>('/v1/session', credential));
      location.replace(destination(session));
    } catch (cause) {
      setBusy(false);
      const known = cause instanceof ApiError ? cause : undefined;
      if (known?.status === 401) setError(t(credential.code ? 'sign_in.bad_code' : 'sign_in.bad'));
      else if (known?.status === 429) setError(t('sign_in.too_many', { n: known.retryAfterS ?? 60 }));
      else setError(sayError(cause instanceof Error ? cause.message : String(cause)));
    }
  };
  onMount(async () => {
    if (code) {
      history.replaceState(null, '', location.pathname + location.search);
      void enter({ code });
    }
    const config = await webConfig();
    applyBrand(config.brand);
    setBrand(config.brand.name || 'Waylog');
  });
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string): string => String(form.get(name) ?? '').trim();
    void enter(way() === 'key' ? { key: text('key') } : { username: text('username'), password: String(form.get('password') ?? '') });
  };
  return (
    <main class="sign-in">
      <div class="card">
        <div class="row brand-line"><span class="mark"><Icon name="arrow" /></span><strong>{brand()}</strong></div>
        <h1>{t('sign_in.title')}</h1>
        <Show when={!(code && busy())} fallback={<Skeleton />}>
          <div class="chips" role="group" aria-label={t('sign_in.with')}>
            <button type="button" class="chip" aria-pressed={way() === 'key'} onClick={() => setWay('key')}>{t('sign_in.key')}</button>
            <button type="button" class="chip" aria-pressed={way() === 'password'} onClick={() => setWay('password')}>{t('sign_in.name_password')}</button>
          </div>
          <form class="stack" onSubmit={submit}>
            <Show
              when={way() === 'key'}
              fallback={
                <>
                  <label class="field"><span>{t('sign_in.username')}</span><input class="input" name="username" required autocomplete="username" /></label>
                  <label class="field"><span>{t('sign_in.password')}</span><input class="input" name="password" type="password" required autocomplete="current-password" /></label>
                </>
              }
            >
              <label class="field"><span>{t('sign_in.key')}</span><input class="input" name="key" type="password" required autocomplete="off" spellcheck={false} /></label>
            </Show>
            <Show when={error()}><p class="problem-text" role="alert">{error()}</p></Show>
            <button type="submit" class="button primary big" disabled={busy()}>{t('sign_in.enter')}</button>
          </form>
          <Show when={way() === 'key'}><p class="muted small">{t('sign_in.where_key')} <code>waylog keys create --role dispatcher</code></p></Show>
        </Show>
        <p><LanguageSwitch class="link small" /></p>
      </div>
    </main>
  );
}

await loadLanguage();
document.title = `${t('sign_in.title')} · Waylog`;
render(() => <SignIn />, document.getElementById('app')!);
