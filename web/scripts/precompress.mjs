// Puts a .br and a .gz beside every text file of the build, so that the server compresses nothing.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const SMALL = 1024;

function* files(dir) {
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else yield path;
  }
}

for (const path of files('dist')) {
  if (!/\.(html|js|mjs|css|json|svg|txt|webmanifest)$/.test(path)) continue;
  const text = readFileSync(path);
  if (text.length < SMALL) continue;
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };
  writeFileSync(`${path}.br`, brotliCompressSync(text, quality));
  writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
}
