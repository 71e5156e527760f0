/** The map of one event: where it happened, the fixes it was judged by, the fence it is about. */
import { Marker, type GeoJSONSource } from 'maplibre-gl';
import { clockSeconds } from '../i18n';
import { show } from '../live/shown';
import { createMap, type WaylogMap } from '../map/createMap';
import { markerElement } from '../map/markers';
import { circleRing } from '../map/shapes';
import { FIRST_LABEL, REGULAR } from '../map/style';
import type { Subject, WaylogEvent } from './types';

const EMPTY: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

export class EvidenceMap {
  private data = EMPTY;
  private readonly marker = new Marker({ element: markerElement('dropoff', 'door'), anchor: 'bottom' });

  private constructor(private readonly view: WaylogMap) {}

  static async open(container: HTMLElement): Promise<EvidenceMap> {
    const evidence = new EvidenceMap(await createMap(container));
    const { map } = evidence.view;
    evidence.view.overlay((_, c) => {
      map.addSource('evidence', { type: 'geojson', data: evidence.data });
      map.addLayer({ id: 'reach', type: 'fill', source: 'evidence', filter: ['==', ['get', 'kind'], 'reach'], paint: { 'fill-color': c.waiting, 'fill-opacity': 0.12 } }, FIRST_LABEL);
      map.addLayer({ id: 'reach-line', type: 'line', source: 'evidence', filter: ['==', ['get', 'kind'], 'reach'], paint: { 'line-color': c.waiting, 'line-width': 2, 'line-dasharray': [2, 1.5] } }, FIRST_LABEL);
      map.addLayer({ id: 'between', type: 'line', source: 'evidence', filter: ['==', ['get', 'kind'], 'between'], paint: { 'line-color': c.accent, 'line-width': 3 } }, FIRST_LABEL);
      map.addLayer({ id: 'fix', type: 'circle', source: 'evidence', filter: ['==', ['get', 'kind'], 'fix'], paint: { 'circle-radius': 6, 'circle-color': c.accent, 'circle-stroke-color': c.halo, 'circle-stroke-width': 2 } });
      map.addLayer({ id: 'fix-time', type: 'symbol', source: 'evidence', filter: ['==', ['get', 'kind'], 'fix'], layout: { 'text-field': ['get', 'label'], 'text-font': REGULAR, 'text-size': 11, 'text-offset': [0, 1.2] }, paint: { 'text-color': c.ink, 'text-halo-color': c['map-label-halo'], 'text-halo-width': 1.4 } });
    });
    map.once('idle', () => show({ mapReady: true }));
    return evidence;
  }

  show(event: WaylogEvent | undefined, subject: Subject = {}): void {
    const fixes = event?.evidence?.fixes ?? [];
    const radius = event?.evidence?.radius_m ?? 0;
    const { stop, fence } = subject;
    const features: GeoJSON.Feature[] = fixes.map((fix) => ({
      type: 'Feature',
      properties: { kind: 'fix', label: clockSeconds(Date.parse(fix.at)) },
      geometry: { type: 'Point', coordinates: [fix.lon, fix.lat] },
    }));
    if (fixes.length > 1) features.push({ type: 'Feature', properties: { kind: 'between' }, geometry: { type: 'LineString', coordinates: fixes.map((fix) => [fix.lon, fix.lat]) } });
    const zone = (geometry: GeoJSON.Polygon): number => features.push({ type: 'Feature', properties: { kind: 'reach' }, geometry });
    if (stop && radius > 0) zone({ type: 'Polygon', coordinates: [circleRing(stop.lat, stop.lon, radius)] });
    if (fence?.circle) zone({ type: 'Polygon', coordinates: [circleRing(fence.circle.lat, fence.circle.lon, fence.circle.radius_m)] });
    if (fence?.polygon) zone(fence.polygon);
    this.data = { type: 'FeatureCollection', features };
    this.view.map.getSource<GeoJSONSource>('evidence')?.setData(this.data);
    const place = stop ?? event?.position;
    if (!place) {
      this.marker.remove();
      return;
    }
    this.marker.setLngLat([place.lon, place.lat]).addTo(this.view.map);
    const seen = [...fixes, place, ...(event?.position ? [event.position] : [])];
    this.view.map.fitBounds(
      [
        [Math.min(...seen.map((one) => one.lon)), Math.min(...seen.map((one) => one.lat))],
        [Math.max(...seen.map((one) => one.lon)), Math.max(...seen.map((one) => one.lat))],
      ],
      { padding: 96, maxZoom: 16.5, duration: matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 400 },
    );
  }

  close(): void {
    this.view.destroy();
  }
}
