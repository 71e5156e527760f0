/** The languages that are not shown now, each by its own name; a choice is kept in this browser. */
import { For, type JSX } from 'solid-js';
import { currentLanguage, LANGUAGES, switchLanguage } from '../i18n';

export function LanguageSwitch(props: { short?: boolean; class: string }): JSX.Element {
  const others = Object.entries(LANGUAGES).filter(([tag]) => tag !== currentLanguage());
  return (
    <For each={others}>
      {([tag, name]) => (
        <button type="button" class={props.class} lang={tag} title={name} aria-label={props.short ? `${tag.toUpperCase()}, ${name}` : name} onClick={() => switchLanguage(tag)}>
          {props.short ? tag.toUpperCase() : name}
        </button>
      )}
    </For>
  );
}
