// What the customer page may weigh, in gzip'd bytes of JavaScript: the first part (text, ETA, timeline),
// and everything that it ever loads. Reads the manifest of the build; fails when a budget is passed.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const FIRST = 30_000;
const ALL = 520_000;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));
const size = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length;

/** The chunks behind `key`: those imported at once, and with `lazy` those imported later. */
function chunks(key, lazy, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  const { imports = [], dynamicImports = [] } = manifest[key];
  for (const next of lazy ? [...imports, ...dynamicImports] : imports) chunks(next, lazy, seen);
  return seen;
}

const files = (keys) => [...keys].map((key) => manifest[key].file).filter((file) => file.endsWith('.js'));
// One language is loaded at once: the largest counts for the first part, all of them for the whole.
const languages = ['src/i18n/en.ts', 'src/i18n/de.ts'].map((key) => size(manifest[key].file));
const worker = readdirSync(new URL('assets/', dist)).filter((file) => /^maplibre-gl-worker.*\.js$/.test(file)).map((file) => `assets/${file}`);
if (worker.length !== 1) throw new Error('the map worker is missing from the build');

const first = files(chunks('customer.html', false)).reduce((sum, file) => sum + size(file), 0) + Math.max(...languages);
const all = [...files(chunks('customer.html', true)), ...worker].reduce((sum, file) => sum + size(file), 0);
let passed = true;
for (const [name, bytes, budget] of [['first part', first, FIRST], ['all', all, ALL]]) {
  console.log(`customer page, ${name}: ${(bytes / 1000).toFixed(1)} kB of ${budget / 1000} kB gzip`);
  if (bytes > budget) passed = false;
}
process.exitCode = passed ? 0 : 1;
