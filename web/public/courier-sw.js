// Keeps the courier's page for when there is no network. Built files have their hash in the name and
// never change, so they are answered from the cache first; the page itself from the network first.
const CACHE = 'waylog-courier-1';

self.addEventListener('install', () => self.skipWaiting());

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('message', (event) => {
  const keep = event.data?.keep;
  if (!Array.isArray(keep)) return;
  event.waitUntil(
    caches.open(CACHE).then(async (cache) => {
      for (const request of await cache.keys()) {
        if (!keep.includes(new URL(request.url).pathname)) await cache.delete(request);
      }
      await Promise.all(keep.map((path) => cache.add(path).catch(() => undefined)));
    }),
  );
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (url.pathname.startsWith('/assets/')) {
    event.respondWith(caches.match(url.pathname).then((kept) => kept ?? fetch(event.request)));
  } else if (event.request.mode === 'navigate' || url.pathname === '/web-config.json') {
    const path = event.request.mode === 'navigate' ? '/courier' : url.pathname;
    event.respondWith(fetch(event.request).catch(async () => (await caches.match(path)) ?? Response.error()));
  }
});
