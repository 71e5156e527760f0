/** The card on the right: a title, a way out, and what it is about. It takes the focus and gives it back. */
import { onCleanup, onMount, type JSX } from 'solid-js';
import { t } from '../i18n';
import { Icon } from '../ui/icons';
import { useFleet } from './context';

export function CardFrame(props: { title: JSX.Element; subtitle?: JSX.Element; children: JSX.Element }): JSX.Element {
  const fleet = useFleet();
  let heading!: HTMLHeadingElement;
  onMount(() => {
    const before = document.activeElement;
    heading.focus({ preventScroll: true });
    onCleanup(() => {
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    });
  });
  return (
    <section class="panel card-panel" aria-label={t('fleet.card')}>
      <header>
        <div class="row between">
          <div class="grow">
            <h2 class="truncate" tabindex="-1" ref={heading}>{props.title}</h2>
            {props.subtitle}
          </div>
          <button type="button" class="button plain icon" aria-label={t('action.close')} onClick={() => fleet.select(undefined)}>
            <Icon name="cross" />
          </button>
        </div>
      </header>
      <div class="scroll card-body">{props.children}</div>
    </section>
  );
}
