/** The fleet on the map: couriers or cells, the selected one's trail, places being chosen, fences. */
import { Marker, type GeoJSONSource, type MapMouseEvent } from 'maplibre-gl';
import { number, t } from '../i18n';
import { STATUSES, type FleetStatus } from '../live/fleetFrame';
import { mercatorX, mercatorY, type FleetStore } from '../live/fleetStore';
import { show } from '../live/shown';
import type { Place } from '../live/track';
import { createMap, isCovered, type WaylogMap } from '../map/createMap';
import { markerElement } from '../map/markers';
import { circleRing } from '../map/shapes';
import { BOLD, FIRST_LABEL, REGULAR } from '../map/style';
import type { Cell } from '../net/fleetChannel';
import { CourierLayer } from './CourierLayer';
import type { Geofence } from './types';

/** From this zoom on couriers are drawn one by one. */
export const COURIERS_FROM_ZOOM = 13;
const REACH_PX = 22;
const VIEW_KEY = 'waylog-fleet-view';

export interface FleetMapEvents {
  view: (view: { bbox: [number, number, number, number]; zoom: number }) => void;
  courier: (courierId: string) => void;
  geofence: (geofenceId: string) => void;
  /** A click on nothing. */
  nothing: () => void;
  note: (text: string | undefined) => void;
  /** A person moved the map. */
  taken: () => void;
}

const EMPTY: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;

export class FleetMap {
  private readonly data = { cells: EMPTY, counts: EMPTY, found: EMPTY, trail: EMPTY, fences: EMPTY };
  /** Couriers that a filter has found: drawn instead of the cells. */
  private filtered = false;
  private pickup: Marker | undefined;
  private dropoff: Marker | undefined;
  private pick: ((place: { lat: number; lon: number }) => void) | undefined;
  private followed: string | undefined;
  private animating = false;
  /** Until a person or the first fleet has chosen where to look. */
  private unseen = true;
  drawing = false;

  private constructor(
    private readonly view: WaylogMap,
    private readonly store: FleetStore,
    private readonly events: FleetMapEvents,
  ) {}

  static async open(container: HTMLElement, store: FleetStore, events: FleetMapEvents): Promise<FleetMap> {
    const remembered = rememberedView();
    const view = await createMap(container, { boxZoom: false, ...remembered });
    const fleet = new FleetMap(view, store, events);
    fleet.unseen = remembered === undefined;
    fleet.install();
    return fleet;
  }

  get map() {
    return this.view.map;
  }

  private install(): void {
    const { map } = this.view;
    this.view.overlay((_, c) => {
      for (const id of ['cells', 'counts', 'found', 'trail', 'fences'] as const) {
        map.addSource(id, { type: 'geojson', data: this.data[id] });
      }
      map.addLayer({ id: 'fence', type: 'fill', source: 'fences', paint: { 'fill-color': c.waiting, 'fill-opacity': 0.1 } }, FIRST_LABEL);
      map.addLayer({ id: 'fence-line', type: 'line', source: 'fences', paint: { 'line-color': c.waiting, 'line-width': 2, 'line-dasharray': [2, 1.5] } }, FIRST_LABEL);
      map.addLayer({ id: 'cell', type: 'fill', source: 'cells', maxzoom: COURIERS_FROM_ZOOM, paint: { 'fill-color': ['interpolate', ['linear'], ['get', 'silent'], 0.2, c.accent, 0.8, c.quiet], 'fill-opacity': ['interpolate', ['linear'], ['get', 'total'], 1, 0.14, 20, 0.4, 200, 0.65] } }, FIRST_LABEL);
      map.addLayer({ id: 'cell-line', type: 'line', source: 'cells', maxzoom: COURIERS_FROM_ZOOM, paint: { 'line-color': c.accent, 'line-width': 1, 'line-opacity': 0.7 } }, FIRST_LABEL);
      map.addLayer({ id: 'trail', type: 'line', source: 'trail', layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': c.accent, 'line-width': 4, 'line-opacity': 0.65 } }, FIRST_LABEL);
      map.addLayer(new CourierLayer(this.store, () => performance.now(), c, still), FIRST_LABEL);
      map.addLayer({
        id: 'count', type: 'symbol', source: 'counts', maxzoom: COURIERS_FROM_ZOOM,
        layout: { 'text-field': ['get', 'total'], 'text-font': BOLD, 'text-size': 13, 'text-allow-overlap': true },
        paint: { 'text-color': c.ink, 'text-halo-color': c.surface, 'text-halo-width': 1.6 },
      });
      map.addLayer({
        id: 'found', type: 'circle', source: 'found', maxzoom: COURIERS_FROM_ZOOM,
        paint: { 'circle-radius': 6, 'circle-color': ['match', ['get', 'tone'], 'moving', c.accent, 'waiting', c.waiting, c.surface], 'circle-stroke-width': ['match', ['get', 'tone'], 'quiet', 3, 2], 'circle-stroke-color': ['match', ['get', 'tone'], 'quiet', c.quiet, c.halo] },
      });
      this.showCells();
      map.addLayer({
        id: 'fence-name', type: 'symbol', source: 'fences', minzoom: 12,
        layout: { 'text-field': ['get', 'name'], 'text-font': REGULAR, 'text-size': 12 },
        paint: { 'text-color': c.waiting, 'text-halo-color': c['map-label-halo'], 'text-halo-width': 1.4 },
      });
    });
    const moved = (): void => {
      const bounds = map.getBounds();
      this.events.view({
        bbox: [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()],
        zoom: map.getZoom(),
      });
      const { lng, lat } = map.getCenter();
      sessionStorage.setItem(VIEW_KEY, JSON.stringify({ center: [lng, lat], zoom: map.getZoom() }));
      this.events.note(isCovered(this.view.coverage, lng, lat) ? undefined : t('map.outside'));
    };
    map.on('moveend', moved);
    map.on('dragstart', () => this.events.taken());
    map.on('click', (event) => this.clicked(event));
    map.on('mousemove', (event) => {
      const pointing = this.pick || this.drawing ? 'crosshair' : this.courierAt(event) || this.featureAt(event) ? 'pointer' : '';
      map.getCanvas().style.cursor = pointing;
    });
    map.once('idle', () => show({ mapReady: true }));
    moved();
  }

  /** The store has new positions: draw for as long as something glides. */
  positionsChanged(): void {
    show({ couriers: this.store.count });
    if (this.animating) return;
    this.animating = true;
    const frame = (): void => {
      if (this.followed) {
        const place = this.store.place(this.followed);
        if (place) this.map.jumpTo({ center: [place.lon, place.lat] });
      }
      this.map.triggerRepaint();
      if (!still && performance.now() < this.store.busyUntilMs) requestAnimationFrame(frame);
      else this.animating = false;
    };
    requestAnimationFrame(frame);
  }

  setCells(cells: ReadonlyMap<string, Cell>): void {
    const polygons: GeoJSON.Feature[] = [];
    const counts: GeoJSON.Feature[] = [];
    let everybody = 0;
    for (const [id, cell] of cells) {
      const total = cell.counts.reduce((sum, count) => sum + count, 0);
      if (total === 0) continue;
      everybody += total;
      const silent = cell.counts[STATUSES.indexOf('stale')]! + cell.counts[STATUSES.indexOf('offline')]!;
      const ring = closed(cell.polygon);
      const middle = middleOf(cell.polygon);
      polygons.push({ type: 'Feature', properties: { id, total, silent: silent / total }, geometry: { type: 'Polygon', coordinates: [ring] } });
      counts.push({
        type: 'Feature',
        properties: { total: number(total) },
        geometry: { type: 'Point', coordinates: middle },
      });
    }
    if (this.unseen && polygons.length > 0) {
      this.unseen = false;
      this.fit([...cells.values()].flatMap((cell) => cell.polygon.map(([lon, lat]) => ({ lon, lat }))), 32, 12.9);
    }
    this.put('cells', { type: 'FeatureCollection', features: polygons });
    this.put('counts', { type: 'FeatureCollection', features: counts });
    show({ cells: polygons.length, inCells: everybody });
  }

  /** Draws what a filter has found, one by one at every zoom; `undefined` is no filter. */
  showFound(couriers: { id: string; status: FleetStatus; position: { lat: number; lon: number } | null }[] | undefined): void {
    this.filtered = couriers !== undefined;
    this.put('found', {
      type: 'FeatureCollection',
      features: (couriers ?? []).flatMap(({ id, status, position }): GeoJSON.Feature[] =>
        position ? [{ type: 'Feature', properties: { id, tone: toneOf(status) }, geometry: { type: 'Point', coordinates: [position.lon, position.lat] } }] : [],
      ),
    });
    this.showCells();
    show({ found: this.data.found.features.length });
  }

  private showCells(): void {
    for (const layer of ['cell', 'cell-line', 'count']) {
      if (this.map.getLayer(layer)) this.map.setLayoutProperty(layer, 'visibility', this.filtered ? 'none' : 'visible');
    }
  }

  showTrail(line: GeoJSON.Feature<GeoJSON.Geometry | null> | undefined): void {
    this.put('trail', line?.geometry ? { type: 'FeatureCollection', features: [line as GeoJSON.Feature] } : EMPTY);
  }

  showFences(fences: Geofence[]): void {
    this.put('fences', {
      type: 'FeatureCollection',
      features: fences.flatMap((fence): GeoJSON.Feature[] => {
        const geometry: GeoJSON.Polygon | undefined | null = fence.circle
          ? { type: 'Polygon', coordinates: [circleRing(fence.circle.lat, fence.circle.lon, fence.circle.radius_m)] }
          : fence.polygon;
        return geometry ? [{ type: 'Feature', properties: { id: fence.id, name: fence.name }, geometry }] : [];
      }),
    });
  }

  /** Marks where a delivery goes from and to. */
  showPlaces(pickup: Place | undefined, dropoff: Place | undefined): void {
    this.pickup?.remove();
    this.dropoff?.remove();
    const mark = (place: Place | undefined, shape: string): Marker | undefined =>
      place && new Marker({ element: markerElement('dropoff', shape), anchor: 'bottom' }).setLngLat([place.lon, place.lat]).addTo(this.map);
    this.pickup = mark(pickup, 'shop');
    this.dropoff = mark(dropoff, 'door');
  }

  /** Hands the next clicked places to `chosen`; `undefined` ends it. */
  choosePlace(chosen: ((place: { lat: number; lon: number }) => void) | undefined): void {
    this.pick = chosen;
    this.map.getCanvas().style.cursor = chosen ? 'crosshair' : '';
  }

  /** The middle of what is seen: how a place is chosen without a pointer. */
  get middle(): { lat: number; lon: number } {
    const { lng, lat } = this.map.getCenter();
    return { lat: round(lat), lon: round(lng) };
  }

  follow(courierId: string | undefined): void {
    this.followed = courierId;
    this.positionsChanged();
  }

  goTo(place: { lat: number; lon: number }, zoom = 15): void {
    this.map.flyTo({ center: [place.lon, place.lat], zoom: Math.max(this.map.getZoom(), zoom), duration: still ? 0 : 700 });
  }

  fit(places: { lat: number; lon: number }[], padding = 80, maxZoom = 16): void {
    if (places.length === 0) return;
    const lons = places.map((place) => place.lon);
    const lats = places.map((place) => place.lat);
    this.map.fitBounds(
      [[Math.min(...lons), Math.min(...lats)], [Math.max(...lons), Math.max(...lats)]],
      { padding, maxZoom, duration: still ? 0 : 500 },
    );
  }

  close(): void {
    this.view.destroy();
  }

  private put(id: keyof FleetMap['data'], data: GeoJSON.FeatureCollection): void {
    this.data[id] = data;
    this.map.getSource<GeoJSONSource>(id)?.setData(data);
  }

  private clicked(event: MapMouseEvent): void {
    if (this.drawing) return;
    if (this.pick) {
      this.pick({ lat: round(event.lngLat.lat), lon: round(event.lngLat.lng) });
      return;
    }
    const courier = this.courierAt(event);
    if (courier) {
      this.events.courier(courier);
      return;
    }
    const feature = this.featureAt(event);
    if (feature?.source === 'found') {
      this.events.courier(String(feature.properties.id));
    } else if (feature?.source === 'cells' && feature.geometry.type === 'Polygon') {
      this.fit(feature.geometry.coordinates[0]!.map(([lon, lat]) => ({ lon: lon!, lat: lat! })));
    } else if (feature) {
      this.events.geofence(String(feature.properties.id));
    } else {
      this.events.nothing();
    }
  }

  private courierAt(event: MapMouseEvent): string | undefined {
    if (this.map.getZoom() < COURIERS_FROM_ZOOM - 0.5) return undefined;
    const reach = REACH_PX / (512 * 2 ** this.map.getZoom());
    return this.store.nearest(mercatorX(event.lngLat.lng), mercatorY(event.lngLat.lat), reach)?.courierId;
  }

  private featureAt(event: MapMouseEvent) {
    const layers = ['found', 'cell', 'fence-name', 'fence'].filter((layer) => this.map.getLayer(layer));
    return this.map.queryRenderedFeatures(event.point, { layers })[0];
  }
}

/** Where this tab's map looked last. */
function rememberedView(): { bounds: undefined; center: [number, number]; zoom: number } | undefined {
  const kept = sessionStorage.getItem(VIEW_KEY);
  return kept ? { bounds: undefined, ...(JSON.parse(kept) as { center: [number, number]; zoom: number }) } : undefined;
}

function toneOf(status: FleetStatus): string {
  if (status === 'stale' || status === 'offline') return 'quiet';
  return status === 'stopped' ? 'waiting' : 'moving';
}

function closed(ring: [number, number][]): [number, number][] {
  const first = ring[0]!;
  const last = ring.at(-1)!;
  return first[0] === last[0] && first[1] === last[1] ? ring : [...ring, first];
}

function middleOf(ring: [number, number][]): [number, number] {
  const corners = closed(ring).slice(1);
  const sum = corners.reduce(([x, y], [lon, lat]) => [x + lon, y + lat], [0, 0]);
  return [sum[0]! / corners.length, sum[1]! / corners.length];
}

function round(degrees: number): number {
  return Math.round(degrees * 1e6) / 1e6;
}
