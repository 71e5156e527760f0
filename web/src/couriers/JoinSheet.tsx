/** Codes to join, one a courier, on paper: cut out and handed over. */
import { For, type JSX } from 'solid-js';
import { clock, t } from '../i18n';

export interface SheetItem {
  courier_id: string;
  courier_name?: string | null;
  url: string;
  qr?: string | null;
  expires_at: string;
}

export function JoinSheet(props: { items: SheetItem[]; close: () => void }): JSX.Element {
  const picture = (svg: string): string => `data:image/svg+xml;utf8,${encodeURIComponent(svg)}`;
  const until = (): string => clock(Math.min(...props.items.map((item) => Date.parse(item.expires_at))));
  return (
    <div class="sheet">
      <div class="row wrap no-print">
        <button type="button" class="button primary" onClick={() => window.print()}>{t('bulk.print')}</button>
        <button type="button" class="button" onClick={() => props.close()}>{t('action.close')}</button>
        <p class="waiting-text">{t('bulk.until', { at: until() })}</p>
      </div>
      <ul>
        <For each={props.items}>
          {(item) => (
            <li>
              <strong>{item.courier_name || item.courier_id}</strong>
              <span>{item.courier_id}</span>
              {item.qr && <img src={picture(item.qr)} alt={t('bulk.code_of', { name: item.courier_name || item.courier_id })} />}
              <span class="small">{t('bulk.scan', { at: until() })}</span>
            </li>
          )}
        </For>
      </ul>
    </div>
  );
}
