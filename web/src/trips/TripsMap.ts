/** The map of the trips page: a path coloured by speed, its stops, the marker, and the heatmap. */
import { Marker, Popup, type GeoJSONSource } from 'maplibre-gl';
import { clock, kmh, span, t, tn } from '../i18n';
import { show } from '../live/shown';
import { createMap, isCovered, type WaylogMap } from '../map/createMap';
import { markerElement } from '../map/markers';
import { FIRST_LABEL } from '../map/style';
import { pathBySpeed, type Replay } from './replay';
import type { Stop } from './types';

const EMPTY: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };
const BANDS = ['speed-0', 'speed-1', 'speed-2', 'speed-3', 'speed-4'] as const;
const HEATS = ['heat-0', 'heat-1', 'heat-2', 'heat-3', 'heat-4'] as const;

export class TripsMap {
  private readonly data = { path: EMPTY, stops: EMPTY, heat: EMPTY };
  private readonly element = markerElement('courier-dot', 'courier');
  private readonly marker = new Marker({ element: this.element });

  private constructor(private readonly view: WaylogMap) {}

  static async open(container: HTMLElement, note: (text: string | undefined) => void, moved: () => void): Promise<TripsMap> {
    const view = await createMap(container);
    const trips = new TripsMap(view);
    trips.install(note, moved);
    return trips;
  }

  private install(note: (text: string | undefined) => void, moved: () => void): void {
    const { map } = this.view;
    this.view.overlay((_, c) => {
      for (const id of ['heat', 'path', 'stops'] as const) map.addSource(id, { type: 'geojson', data: this.data[id] });
      map.addLayer({ id: 'heat', type: 'fill', source: 'heat', paint: { 'fill-color': ['interpolate', ['linear'], ['get', 'warmth'], ...HEATS.flatMap((name, i) => [i / 4, c[name]])] as never, 'fill-opacity': 0.7 } }, FIRST_LABEL);
      map.addLayer({ id: 'path-casing', type: 'line', source: 'path', layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': c.halo, 'line-width': 8 } }, FIRST_LABEL);
      map.addLayer({ id: 'path-speed', type: 'line', source: 'path', layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': ['match', ['get', 'band'], ...BANDS.flatMap((name, i) => [i, c[name]]), c.muted] as never, 'line-width': 5 } }, FIRST_LABEL);
      map.addLayer({ id: 'stop', type: 'circle', source: 'stops', paint: { 'circle-radius': 8, 'circle-color': c.surface, 'circle-stroke-color': c.waiting, 'circle-stroke-width': 4 } });
    });
    map.on('moveend', () => {
      const { lng, lat } = map.getCenter();
      note(isCovered(this.view.coverage, lng, lat) ? undefined : t('map.outside'));
      moved();
    });
    map.on('click', 'stop', (event) => this.say(event.lngLat, event.features?.[0]?.properties.label));
    map.on('click', 'heat', (event) => {
      const { fixes, couriers, mean_speed_mps: speed } = event.features?.[0]?.properties ?? {};
      this.say(event.lngLat, `${tn('trips.fixes', Number(fixes))} · ${tn('couriers.count', Number(couriers))} · ${kmh(Number(speed))}`);
    });
    map.once('idle', () => show({ mapReady: true }));
  }

  private say(at: { lng: number; lat: number }, text: string | undefined): void {
    if (text) new Popup({ closeButton: false, maxWidth: '280px' }).setLngLat(at).setText(text).addTo(this.view.map);
  }

  /** [west, south, east, north] of what is seen. */
  get bbox(): [number, number, number, number] {
    const bounds = this.view.map.getBounds();
    return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
  }

  get zoom(): number {
    return this.view.map.getZoom();
  }

  showTrip(replay: Replay | undefined, stops: Stop[]): void {
    this.put('path', { type: 'FeatureCollection', features: replay ? pathBySpeed(replay) : [] });
    this.put('stops', {
      type: 'FeatureCollection',
      features: stops.map((stop) => {
        const from = Date.parse(stop.start_time);
        const to = stop.end_time ? Date.parse(stop.end_time) : Date.now();
        return { type: 'Feature', properties: { label: t('trips.stop', { from: clock(from), to: clock(to), ago: span(to - from) }) }, geometry: { type: 'Point', coordinates: [stop.lon, stop.lat] } };
      }),
    });
    if (!replay || replay.times.length === 0) {
      this.marker.remove();
      return;
    }
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.view.map.fitBounds(
      [[least(replay.lons), least(replay.lats)], [most(replay.lons), most(replay.lats)]],
      { padding: 64, maxZoom: 16, duration: still ? 0 : 500 },
    );
  }

  placeMarker(place: { lon: number; lat: number; headingDeg: number | undefined }): void {
    this.marker.setLngLat([place.lon, place.lat]).addTo(this.view.map);
    this.element.classList.toggle('still', place.headingDeg === undefined);
    this.element.querySelector('svg')!.style.transform = `rotate(${place.headingDeg ?? 0}deg)`;
  }

  showHeat(cells: GeoJSON.FeatureCollection | undefined): void {
    const features = cells?.features ?? [];
    const busiest = features.reduce((top, cell) => Math.max(top, Number(cell.properties?.fixes) || 0), 1);
    this.put('heat', {
      type: 'FeatureCollection',
      features: features.map((cell) => ({
        ...cell,
        properties: { ...cell.properties, warmth: Math.log1p(Number(cell.properties?.fixes) || 0) / Math.log1p(busiest) },
      })),
    });
    show({ cells: features.length });
  }

  close(): void {
    this.view.destroy();
  }

  private put(id: keyof TripsMap['data'], data: GeoJSON.FeatureCollection): void {
    this.data[id] = data;
    this.view.map.getSource<GeoJSONSource>(id)?.setData(data);
  }
}

function least(values: number[]): number {
  return values.reduce((a, b) => Math.min(a, b));
}

function most(values: number[]): number {
  return values.reduce((a, b) => Math.max(a, b));
}
