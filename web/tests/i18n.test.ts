import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { chooseLanguage, span, t, tn, use, type Key, type PluralKey } from '../src/i18n';
import de from '../src/i18n/de';
import en from '../src/i18n/en';

const places = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!).sort();
const sources = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(folder, entry.name)) : /\.tsx?$/.test(entry.name) ? [join(folder, entry.name)] : [],
  );

describe('the dictionaries', () => {
  it('have the same keys, and a text for each', () => {
    expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort());
    for (const text of [...Object.values(en), ...Object.values(de)]) expect(text.trim()).not.toBe('');
  });

  it('have each key in one file', () => {
    for (const language of ['en', 'de']) {
      const code = sources(join(import.meta.dirname, '../src/i18n', language)).map((file) => readFileSync(file, 'utf8')).join('\n');
      const keys = [...code.matchAll(/^ {2}'([^']+)':/gm)].map((match) => match[1]!);
      expect(keys.sort()).toEqual(Object.keys(en).sort());
    }
  });

  it('have the same places in each text', () => {
    for (const key of Object.keys(en) as Key[]) expect([key, places(de[key])]).toEqual([key, places(en[key])]);
  });

  it('have both forms of each plural', () => {
    for (const key of Object.keys(en)) if (key.endsWith('_one')) expect(en).toHaveProperty([`${key.slice(0, -4)}_other`]);
  });

  it('have every key that the pages use, and none that they do not', () => {
    const code = sources(join(import.meta.dirname, '../src')).filter((file) => !/i18n\/(en|de)[./]/.test(file)).map((file) => readFileSync(file, 'utf8')).join('\n');
    const written = new Set([...code.matchAll(/['"`]([a-z_]+(?:\.[a-z0-9_]+)+)['"`]/g)].map((match) => match[1]!));
    const patterns = [...code.matchAll(/`([a-z_]+\.[a-z_.]*)\$\{/g)].map((match) => match[1]!);
    const unused = Object.keys(en).filter((key) => {
      const base = key.replace(/_(one|other)$/, '');
      return !written.has(key) && !written.has(base) && !patterns.some((prefix) => key.startsWith(prefix));
    });
    expect(unused).toEqual([]);
  });
});

describe('texts', () => {
  it('are filled, counted and measured in the language', () => {
    use(de, 'de');
    expect(tn('couriers.count' satisfies PluralKey, 1)).toBe('1 Kurier');
    expect(tn('couriers.count', 2_000)).toBe('2.000 Kuriere');
    use(en, 'en');
    expect(t('customer.minutes', { from: 8, to: 12 })).toBe('8–12 min');
    expect([span(0), span(59_000), span(60_000), span(3_600_000), span(5_400_000), span(200_000_000)]).toEqual(['0 s', '59 s', '1 min', '1 h', '1 h 30 min', '2 d']);
  });

  it('come in the first language asked for that exists', () => {
    expect(chooseLanguage(['mt-MT', 'de-AT', 'en'])).toBe('de');
    expect(chooseLanguage(['xx'])).toBe('en');
    expect(chooseLanguage([])).toBe('en');
  });
});
