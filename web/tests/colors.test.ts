import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const SRC = join(import.meta.dirname, '../src');
const files = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : /\.(css|tsx?)$/.test(entry.name) ? [join(folder, entry.name)] : [],
  );
const RAW = /#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})\b(?!-)|\b(?:rgba?|hsla?|oklch|oklab|lab|lch)\(\s*[\d.]/gi;

/** Relative luminance of a `#rrggbb` colour (WCAG 2). */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light! + 0.05) / (dark! + 0.05);
}

function tokens(): Map<string, [string, string]> {
  const css = readFileSync(join(SRC, 'tokens.css'), 'utf8');
  return new Map([...css.matchAll(/--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)].map((match) => [match[1]!, [match[2]!, match[3]!]]));
}

describe('colours', () => {
  it('are written down in tokens.css and nowhere else', () => {
    const found = files(SRC)
      .filter((file) => relative(SRC, file) !== 'tokens.css')
      .flatMap((file) => [...readFileSync(file, 'utf8').matchAll(RAW)].map((match) => `${relative(SRC, file)}: ${match[0]}`));
    expect(found).toEqual([]);
  });

  const onto = [['ink', 'bg'], ['ink', 'surface'], ['muted', 'bg'], ['muted', 'surface'], ['accent', 'surface'], ['accent', 'accent-wash'], ['waiting', 'surface'], ['waiting', 'waiting-wash'], ['problem', 'surface'], ['problem', 'problem-wash'], ['on-accent', 'accent'], ['on-problem', 'problem'], ['map-label', 'map-land'], ['map-label-strong', 'map-land']] as const;
  it.each(onto)('give %s on %s at least 4.5:1, and 5:1 for text on the page', (text, ground) => {
    const all = tokens();
    const least = ground === 'bg' || ground === 'surface' ? 5 : 4.5;
    for (const theme of [0, 1]) expect(contrast(all.get(text)![theme]!, all.get(ground)![theme]!)).toBeGreaterThanOrEqual(least);
  });

  it.each(['accent', 'waiting', 'problem', 'quiet'])('give a marker in %s at least 3:1 on the map', (marker) => {
    const all = tokens();
    for (const ground of ['map-land', 'map-water', 'map-park', 'map-street', 'map-primary', 'map-motorway'] as const) {
      for (const theme of [0, 1]) expect([ground, theme, contrast(all.get(marker)![theme]!, all.get(ground)![theme]!) >= 3]).toEqual([ground, theme, true]);
    }
  });
});
