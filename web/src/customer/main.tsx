import { render } from 'solid-js/web';
import './customer.css';
import { loadLanguage, t } from '../i18n';
import { CustomerPage } from './CustomerPage';
import { createModel } from './model';

const token = decodeURIComponent(location.pathname.split('/')[2] ?? '');

await loadLanguage();
document.title = t('customer.title');
render(() => <CustomerPage model={createModel(token)} />, document.getElementById('app')!);
