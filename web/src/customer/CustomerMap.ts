/** The customer's map: the dot gliding along its way, the door, what may be drawn of path and route. */
import { createEffect, createRoot } from 'solid-js';
import { Marker, type GeoJSONSource } from 'maplibre-gl';
import { t } from '../i18n';
import { Glide } from '../live/glide';
import { isOver } from '../live/track';
import { createMap, isCovered } from '../map/createMap';
import { FIRST_LABEL } from '../map/style';
import { markerElement } from '../map/markers';
import { show } from '../live/shown';
import { Way } from '../live/way';
import type { Model } from './model';
import { isStale } from './words';

/** How often what is left of the route is drawn anew while the dot moves. */
const WAY_EVERY_MS = 400;
const EMPTY: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

export async function showMap(container: HTMLElement, model: Model, note: (text: string | undefined) => void): Promise<void> {
  const first = model.snapshot();
  const start = first?.position ?? first?.delivery.dropoff;
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const view = await createMap(container, start ? { bounds: undefined, center: [start.lon, start.lat], zoom: 15 } : {});
  const { map } = view;
  const glide = new Glide(still);
  const dotElement = markerElement('courier-dot', 'courier');
  const dot = new Marker({ element: dotElement, rotationAlignment: 'map' });
  const door = new Marker({ element: markerElement('dropoff', 'door'), anchor: 'bottom' });
  const arrow = dotElement.querySelector<SVGElement>('svg')!;
  let dotShown = false;
  let following = false;
  let fitted = false;
  let frame = 0;
  let way: Way | undefined;
  let wayDrawnMs = 0;

  const followButton = document.createElement('button');
  followButton.type = 'button';
  followButton.className = 'button follow';
  container.parentElement!.append(followButton);
  const follow = (on: boolean): void => {
    following = on;
    followButton.setAttribute('aria-pressed', String(on));
    followButton.textContent = t(on ? 'map.following' : 'map.follow');
    if (on) draw();
  };
  followButton.addEventListener('click', () => follow(!following));
  map.on('dragstart', () => follow(false));
  map.on('moveend', () => {
    const { lng, lat } = map.getCenter();
    note(isCovered(view.coverage, lng, lat) ? undefined : t('map.outside'));
  });
  follow(false);

  view.overlay((_, colors) => {
    map.addSource('way', { type: 'geojson', data: EMPTY });
    const line = { type: 'line', source: 'way', layout: { 'line-cap': 'round', 'line-join': 'round' } } as const;
    map.addLayer({ ...line, id: 'way-route', filter: ['==', ['get', 'kind'], 'route'], paint: { 'line-color': colors.accent, 'line-width': 5, 'line-opacity': 0.55 } }, FIRST_LABEL);
    map.addLayer({ ...line, id: 'way-path', filter: ['==', ['get', 'kind'], 'path'], paint: { 'line-color': colors.accent, 'line-width': 3, 'line-dasharray': [0.2, 2] } }, FIRST_LABEL);
    drawWay();
  });

  function drawWay(): void {
    wayDrawnMs = performance.now();
    const snapshot = model.snapshot();
    const along = glide.along(performance.now());
    const route = way && along !== undefined ? way.rest(along) : snapshot?.route;
    const feature = (kind: string, line: [number, number][] | null | undefined): GeoJSON.Feature[] =>
      line && line.length > 1
        ? [{ type: 'Feature', properties: { kind }, geometry: { type: 'LineString', coordinates: line } }]
        : [];
    map.getSource<GeoJSONSource>('way')?.setData({
      type: 'FeatureCollection',
      features: [...feature('route', route), ...feature('path', snapshot?.path)],
    });
  }

  function draw(): void {
    cancelAnimationFrame(frame);
    const shown = glide.at(performance.now());
    if (!shown || !dotShown) return;
    dot.setLngLat([shown.lon, shown.lat]);
    show({ courier: { lat: shown.lat, lon: shown.lon } });
    arrow.style.transform = `rotate(${shown.headingDeg ?? 0}deg)`;
    dotElement.classList.toggle('still', shown.headingDeg === undefined);
    dotElement.style.setProperty('--fade', String(shown.opacity));
    if (following) map.jumpTo({ center: [shown.lon, shown.lat] });
    if (way && performance.now() - wayDrawnMs > WAY_EVERY_MS) drawWay();
    if (shown.animating) frame = requestAnimationFrame(draw);
  }

  function fitOnce(): void {
    const snapshot = model.snapshot();
    const { position } = snapshot ?? {};
    const dropoff = snapshot?.delivery.dropoff;
    if (fitted || !dropoff) return;
    if (!position) {
      map.jumpTo({ center: [dropoff.lon, dropoff.lat], zoom: 15.5 });
      return;
    }
    fitted = true;
    const corners = [position, dropoff, ...(snapshot?.route ?? []).map(([lon, lat]) => ({ lon, lat }))];
    map.fitBounds(
      [
        [Math.min(...corners.map((c) => c.lon)), Math.min(...corners.map((c) => c.lat))],
        [Math.max(...corners.map((c) => c.lon)), Math.max(...corners.map((c) => c.lat))],
      ],
      { padding: { top: 64, bottom: 72, left: 56, right: 64 }, maxZoom: 16.5, animate: false },
    );
  }

  let lastFix: unknown;
  createRoot(() => {
    createEffect(() => {
      const snapshot = model.snapshot();
      if (!snapshot) return;
      const { position, delivery } = snapshot;
      if (delivery.dropoff) door.setLngLat([delivery.dropoff.lon, delivery.dropoff.lat]).addTo(map);
      if (position && position !== lastFix) {
        lastFix = position;
        if (snapshot.route !== way?.line) way = snapshot.route && snapshot.route.length > 1 ? new Way(snapshot.route) : undefined;
        glide.observe(position, performance.now(), way);
      }
      const visible = position !== null && !isOver(delivery.status);
      if (visible !== dotShown) {
        dotShown = visible;
        if (visible) {
          const shown = glide.at(performance.now())!;
          dot.setLngLat([shown.lon, shown.lat]).addTo(map);
        } else {
          dot.remove();
          show({ courier: null });
        }
      }
      followButton.hidden = !visible;
      fitOnce();
      drawWay();
      draw();
    });
    createEffect(() => {
      const moment = model.moment();
      dotElement.classList.toggle('stale', moment !== undefined && isStale(moment));
    });
  });
  // Not 'idle': a map whose courier is always on the way never rests.
  map.once('load', () => show({ mapReady: true }));
}
