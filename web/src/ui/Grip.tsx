/** The handle of a bottom sheet on a phone: one tap makes it small, so that the map can be seen. */
import { type JSX } from 'solid-js';
import { t } from '../i18n';

export function Grip(props: { open: boolean; toggle: () => void }): JSX.Element {
  return (
    <button type="button" class="grip" aria-expanded={props.open} aria-label={t('sheet.details')} onClick={() => props.toggle()}>
      <span />
    </button>
  );
}
