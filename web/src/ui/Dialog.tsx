/** A modal dialog over the native element: it holds the focus and closes on Escape by itself. */
import { onMount, type JSX } from 'solid-js';
import { t } from '../i18n';
import { Icon } from './icons';

export function Dialog(props: { title: string; close: () => void; children: JSX.Element }): JSX.Element {
  let element!: HTMLDialogElement;
  onMount(() => element.showModal());
  return (
    <dialog class="dialog" ref={element} onClose={() => props.close()} aria-label={props.title}>
      <div class="body">
        <div class="row between">
          <h2>{props.title}</h2>
          <button type="button" class="button plain icon" aria-label={t('action.close')} onClick={() => element.close()}>
            <Icon name="cross" />
          </button>
        </div>
        {props.children}
      </div>
    </dialog>
  );
}
