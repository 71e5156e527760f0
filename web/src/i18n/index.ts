/**
 * Words and numbers in the reader's language. One dictionary a language; the one that is needed is
 * loaded before a page is drawn. Texts have `{name}` places; plurals are two keys, `…_one` and `…_other`.
 */
import type { Dictionary, Key, PluralKey } from './en';

export type { Key, PluralKey } from './en';

/** What a reader may choose, each called by its own name. */
export const LANGUAGES: Record<string, string> = { en: 'English', de: 'Deutsch' };

const dictionaries: Record<string, () => Promise<{ default: Dictionary }>> = {
  en: () => import('./en'),
  de: () => import('./de'),
};

let dictionary: Dictionary | undefined;
let language = 'en';
/** The language as the reader's own country writes it: hours and numbers differ. */
let locale = 'en';

/** The language to show, of those that exist: chosen by the reader, else asked for by the browser. */
export function chooseLanguage(wanted: readonly string[]): string {
  for (const tag of wanted) {
    const base = tag.toLowerCase().split('-')[0] ?? '';
    if (base in dictionaries) return base;
  }
  return 'en';
}

const CHOICE = 'waylog-language';

/** Loads the reader's dictionary; `t` works from then on. */
export async function loadLanguage(): Promise<void> {
  const chosen = localStorage.getItem(CHOICE);
  language = chooseLanguage(chosen ? [chosen, ...navigator.languages] : navigator.languages);
  const load = dictionaries[language] ?? dictionaries.en!;
  use((await load()).default, language);
  locale = navigator.languages.find((tag) => chooseLanguage([tag]) === language && tag.toLowerCase().startsWith(language)) ?? language;
  document.documentElement.lang = language;
}

/** Puts a dictionary in place (tests, and `loadLanguage`). */
export function use(words: Dictionary, tag: string): void {
  dictionary = words;
  language = tag;
  locale = tag;
}

/** Remembers another language and draws the page again in it. */
export function switchLanguage(tag: string): void {
  localStorage.setItem(CHOICE, tag);
  location.reload();
}

export function currentLanguage(): string {
  return language;
}

type Values = Record<string, string | number>;

/** The text of a key with its places filled. */
export function t(key: Key, values?: Values): string {
  const text: string = dictionary?.[key] ?? key;
  return values ? text.replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place)) : text;
}

/** The text for a count: `{n}` is the count in the reader's digits. */
export function tn(key: PluralKey, n: number, values?: Values): string {
  const form = new Intl.PluralRules(language).select(n) === 'one' ? 'one' : 'other';
  return t(`${key}_${form}` as Key, { n: number(n), ...values });
}

export function number(value: number, options?: Intl.NumberFormatOptions): string {
  return new Intl.NumberFormat(locale, options).format(value);
}

/** 14:05 */
export function clock(ms: number): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }).format(ms);
}

/** 14:05:09 */
export function clockSeconds(ms: number): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);
}

/** 14:05 today, 22 Nov, 14:05 on other days. */
export function dateTime(ms: number): string {
  if (new Date(ms).toDateString() === new Date().toDateString()) return clock(ms);
  return new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).format(ms);
}

/** A span in the coarsest unit that says enough: "8 s", "3 min", "2 h 5 min", "4 d". */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return t('span.s', { n: seconds });
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return t('span.min', { n: minutes });
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? t('span.h_min', { h: hours, m: minutes % 60 }) : t('span.h', { n: hours });
  return t('span.d', { n: Math.floor(hours / 24) });
}

/** Metres below a kilometre, then kilometres. */
export function distance(metres: number): string {
  return metres < 995
    ? `${number(Math.round(metres / 10) * 10)}\u00a0m`
    : `${number(metres / 1000, { maximumFractionDigits: metres < 9950 ? 1 : 0 })}\u00a0km`;
}

/** Kilometres an hour from metres a second. */
export function kmh(mps: number): string {
  return `${number(Math.round(mps * 3.6))}\u00a0km/h`;
}

/** Bytes in binary units. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value, { maximumFractionDigits: unit === 0 || value >= 100 ? 0 : 1 })} ${units[unit]}`;
}
