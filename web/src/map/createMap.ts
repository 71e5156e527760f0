/**
 * A map with the installation's basemap, in the theme that is on. Overlays are installers that run
 * again after every style change; the map itself moves only when a person or Follow moves it.
 */
import { AttributionControl, Map as MapLibreMap, NavigationControl, addProtocol, setWorkerUrl } from 'maplibre-gl';
import type { MapOptions } from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url';
import 'maplibre-gl/dist/maplibre-gl.css';
import './map.css';
import { PMTiles, Protocol } from 'pmtiles';
import { t } from '../i18n';
import { webConfig } from '../net/config';
import { onThemeChange, readColors, type Colors } from './colors';
import { ATTRIBUTION, basemapStyle } from './style';

setWorkerUrl(workerUrl);
const protocol = new Protocol();
addProtocol('pmtiles', protocol.tile);

export { Map as MapLibreMap, Marker, Popup } from 'maplibre-gl';

export type Overlay = (map: MapLibreMap, colors: Colors) => void;

/** How to begin; `bounds: undefined` with a centre overrides the basemap's own bounds. */
export type StartOptions = { [K in keyof MapOptions]?: MapOptions[K] | undefined };

export interface WaylogMap {
  map: MapLibreMap;
  /** Installs now (or when the style is there) and after every theme change. */
  overlay: (install: Overlay) => void;
  /** The colours of the theme that is on. */
  colors: () => Colors;
  /** [west, south, east, north] of the basemap; `undefined` where it has no end. */
  coverage: [number, number, number, number] | undefined;
  destroy: () => void;
}

/** Whether the browser can draw the map at all. */
export function canDrawMaps(): boolean {
  return document.createElement('canvas').getContext('webgl2') !== null;
}

/** Whether a view's centre lies on the basemap. */
export function isCovered(coverage: WaylogMap['coverage'], lon: number, lat: number): boolean {
  if (!coverage) return true;
  const [west, south, east, north] = coverage;
  return lon >= west && lon <= east && lat >= south && lat <= north;
}

/** The middle part of a box. */
function shrink([west, south, east, north]: [number, number, number, number], share: number): [number, number, number, number] {
  const lon = ((east - west) * (1 - share)) / 2;
  const lat = ((north - south) * (1 - share)) / 2;
  return [west + lon, south + lat, east - lon, north - lat];
}

/** Makes the map in `container`; resolves when its style is loaded. */
export async function createMap(container: HTMLElement, options: StartOptions = {}): Promise<WaylogMap> {
  const { basemap } = await webConfig();
  const url = new URL(basemap.url, location.href).href;
  let coverage: WaylogMap['coverage'];
  let start: Partial<MapOptions> = {};
  if (basemap.kind === 'pmtiles') {
    const archive = new PMTiles(url);
    protocol.add(archive);
    const header = await archive.getHeader();
    coverage = [header.minLon, header.minLat, header.maxLon, header.maxLat];
    // A little closer than the whole, so that the edge of the tiles stays out of sight.
    const [west, south, east, north] = shrink(coverage, 0.7);
    start = { bounds: [west, south, east, north] };
  }
  let colors = readColors();
  const style = () => (basemap.kind === 'pmtiles' ? basemapStyle(colors, url) : basemap.url);
  const map = new MapLibreMap({
    container,
    style: style(),
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    maxPitch: 0,
    minZoom: 2,
    maxZoom: 19.5,
    fadeDuration: matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 160,
    locale: {
      'NavigationControl.ZoomIn': t('map.zoom_in'),
      'NavigationControl.ZoomOut': t('map.zoom_out'),
      'Map.Title': t('map.title'),
      'AttributionControl.ToggleAttribution': t('map.attribution'),
    },
    ...start,
    ...(options as Partial<MapOptions>),
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }), 'top-right');
  map.addControl(
    new AttributionControl({ compact: false, ...(basemap.kind === 'style' ? {} : { customAttribution: ATTRIBUTION }) }),
    'bottom-right',
  );
  const overlays: Overlay[] = [];
  let styled = false;
  map.on('style.load', () => {
    styled = true;
    for (const install of overlays) install(map, colors);
  });
  const forget = onThemeChange(() => {
    colors = readColors();
    styled = false;
    map.setStyle(style(), { diff: false });
  });
  await new Promise<void>((resolve) => map.once('style.load', () => resolve()));
  return {
    map,
    coverage,
    colors: () => colors,
    overlay: (install) => {
      overlays.push(install);
      if (styled) install(map, colors);
    },
    destroy: () => {
      forget();
      map.remove();
    },
  };
}
