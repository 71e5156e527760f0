import { defineConfig } from 'vitest/config';
import solid from 'vite-plugin-solid';

/** Every page is an HTML file of its own; the server maps its routes to them. */
export const pages = [
  'index', 'customer', 'sign-in', 'trips', 'stream', 'events', 'courier', 'couriers', 'docs', 'styleguide', 'not-found',
] as const;

/** Modules that the customer's page needs before its map, beside its own; other pages share them. */
const FIRST = ['customer/words', 'i18n/index', 'live/(glide|shown|track|way)', 'net/(backoff|config)', 'ui/(Grip|icons|LanguageSwitch)'];

/** In development the pages are served by Vite and everything else by a running Waylog. */
const backend = process.env.WAYLOG_URL ?? 'http://127.0.0.1:8080';

/** The server's routes and the file that answers each, for `npm run dev`. */
const routes: [RegExp, string][] = [
  [/^\/t\/[^/]+$/, '/customer.html'],
  [/^\/(join\/[^/]+|courier)$/, '/courier.html'],
  [/^\/(sign-in|trips|stream|events|couriers|docs|styleguide)$/, '/$1.html'],
];

export default defineConfig({
  plugins: [
    solid(),
    {
      name: 'waylog-routes',
      configureServer(server) {
        server.middlewares.use((request, _response, next) => {
          const [path = '/', query] = (request.url ?? '/').split('?');
          for (const [pattern, file] of routes) {
            if (!pattern.test(path)) continue;
            request.url = path.replace(pattern, file) + (query ? `?${query}` : '');
            break;
          }
          next();
        });
      },
    },
  ],
  worker: { format: 'es' },
  test: { environment: 'node', include: ['tests/**/*.test.ts'] },
  build: {
    target: ['chrome111', 'firefox114', 'safari16.4'],
    // The content security policy allows no `data:` fonts or scripts, so nothing is inlined.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1200,
    modulePreload: { polyfill: false },
    manifest: true,
    rollupOptions: {
      input: pages.map((page) => `${page}.html`),
      // Few requests: what the customer's page begins with is one file, the map is another.
      output: {
        codeSplitting: {
          groups: [
            { name: 'map', priority: 1, test: /node_modules\/(maplibre-gl|@maplibre|pmtiles|@mapbox)|src\/(map\/|customer\/CustomerMap)/ },
            { name: 'first', priority: 2, test: new RegExp(`vite/preload-helper|node_modules/solid-js|src/(${FIRST.join('|')})`) },
          ],
        },
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ['/v1', '/basemap', '/web-config.json', '/ws', '/demo'].map((path) => [
        path,
        { target: backend, ws: path === '/ws' },
      ]),
    ),
  },
});
