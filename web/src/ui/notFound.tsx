/** For an address that leads nowhere. */
import { render } from 'solid-js/web';
import '../base.css';
import { loadLanguage, t } from '../i18n';

await loadLanguage();
document.title = `${t('not_found.title')} · Waylog`;
render(
  () => (
    <main class="page">
      <div class="inner">
        <h1>{t('not_found.title')}</h1>
        <p class="muted">{t('not_found.say')}</p>
        <p><a class="button" href="/">{t('not_found.go')}</a></p>
      </div>
    </main>
  ),
  document.getElementById('app')!,
);
