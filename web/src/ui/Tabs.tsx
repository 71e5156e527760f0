/** Tabs as screen readers and keyboards know them: arrow keys choose, Tab leads into the panel. */
import { For, type JSX } from 'solid-js';

export function Tabs<T extends string>(props: {
  tabs: readonly T[];
  chosen: T;
  choose: (tab: T) => void;
  label: string;
  /** Id of the element that shows what is chosen. */
  panel: string;
  children: (tab: T) => JSX.Element;
}): JSX.Element {
  let list!: HTMLDivElement;
  const onKey = (event: KeyboardEvent): void => {
    const at = props.tabs.indexOf(props.chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: props.tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    props.choose(props.tabs.at(to % props.tabs.length)!);
    list.querySelector<HTMLElement>('[aria-selected="true"]')?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={props.label} ref={list} onKeyDown={onKey}>
      <For each={props.tabs}>
        {(tab) => (
          <button
            type="button"
            role="tab"
            class="tab"
            data-tab={tab}
            aria-selected={props.chosen === tab}
            aria-controls={props.panel}
            tabindex={props.chosen === tab ? 0 : -1}
            onClick={() => props.choose(tab)}
          >
            {props.children(tab)}
          </button>
        )}
      </For>
    </div>
  );
}
