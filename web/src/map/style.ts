/**
 * The basemap: a calm style of our own over the OpenMapTiles schema, in the colours of the tokens.
 * Overlays go below `FIRST_LABEL`, so that names stay readable.
 */
import type {
  ExpressionSpecification,
  FilterSpecification,
  LayerSpecification,
  StyleSpecification,
} from '@maplibre/maplibre-gl-style-spec';
import regularLatin from '@fontsource/noto-sans/files/noto-sans-latin-400-normal.woff2?url';
import regularExtended from '@fontsource/noto-sans/files/noto-sans-latin-ext-400-normal.woff2?url';
import regularCyrillic from '@fontsource/noto-sans/files/noto-sans-cyrillic-400-normal.woff2?url';
import regularGreek from '@fontsource/noto-sans/files/noto-sans-greek-400-normal.woff2?url';
import boldLatin from '@fontsource/noto-sans/files/noto-sans-latin-600-normal.woff2?url';
import boldExtended from '@fontsource/noto-sans/files/noto-sans-latin-ext-600-normal.woff2?url';
import boldCyrillic from '@fontsource/noto-sans/files/noto-sans-cyrillic-600-normal.woff2?url';
import boldGreek from '@fontsource/noto-sans/files/noto-sans-greek-600-normal.woff2?url';
import type { Colors } from './colors';

export const FIRST_LABEL = 'street-name';

export const ATTRIBUTION =
  '<a href="https://openmaptiles.org/" target="_blank" rel="noreferrer">© OpenMapTiles</a> ' +
  '<a href="https://www.openstreetmap.org/copyright" target="_blank" rel="noreferrer">© OpenStreetMap contributors</a>';

export const REGULAR = ['Noto Sans Regular'];
export const BOLD = ['Noto Sans Semibold'];

function faces(latin: string, extended: string, cyrillic: string, greek: string) {
  const absolute = (url: string): string => new URL(url, location.href).href;
  return [
    { url: absolute(latin), 'unicode-range': ['U+0000-00FF', 'U+2000-206F', 'U+20AC', 'U+2122'] },
    { url: absolute(extended), 'unicode-range': ['U+0100-02BA', 'U+1E00-1E9F', 'U+1EF2-1EFF'] },
    { url: absolute(cyrillic), 'unicode-range': ['U+0400-045F', 'U+0490-0491'] },
    { url: absolute(greek), 'unicode-range': ['U+0370-03FF'] },
  ];
}

/** A width in pixels that grows with the zoom: pairs of zoom and width. */
function widths(...stops: number[]): ExpressionSpecification {
  return ['interpolate', ['exponential', 1.5], ['zoom'], ...stops] as unknown as ExpressionSpecification;
}

function classes(...names: string[]): FilterSpecification {
  return ['match', ['get', 'class'], names, true, false];
}

const notTunnel: FilterSpecification = ['!=', ['get', 'brunnel'], 'tunnel'];

interface RoadKind {
  id: string;
  classes: string[];
  minzoom: number;
  color: keyof Colors;
  width: number[];
  /** Pixels of casing on each side. */
  casing: number;
}

const ROADS: RoadKind[] = [
  { id: 'service', classes: ['service', 'track', 'raceway'], minzoom: 14, color: 'map-street', width: [14, 0.8, 16, 3, 18, 9, 20, 20], casing: 0.7 },
  { id: 'minor', classes: ['minor', 'busway'], minzoom: 12, color: 'map-street', width: [12, 0.6, 14, 2.6, 16, 7, 18, 18, 20, 44], casing: 0.8 },
  { id: 'tertiary', classes: ['tertiary'], minzoom: 11, color: 'map-street', width: [11, 0.7, 13, 2.2, 14, 4, 16, 9, 18, 22, 20, 52], casing: 0.9 },
  { id: 'secondary', classes: ['secondary'], minzoom: 9, color: 'map-secondary', width: [9, 0.6, 12, 2.2, 14, 5, 16, 11, 18, 25, 20, 56], casing: 0.9 },
  { id: 'primary', classes: ['primary', 'trunk'], minzoom: 8, color: 'map-primary', width: [8, 0.7, 11, 2, 13, 4, 14, 6, 16, 13, 18, 28, 20, 62], casing: 1 },
  { id: 'motorway', classes: ['motorway'], minzoom: 6, color: 'map-motorway', width: [6, 0.6, 10, 2, 13, 5, 16, 15, 18, 32, 20, 66], casing: 1 },
];

function roads(c: Colors): LayerSpecification[] {
  const base = { type: 'line', source: 'base', 'source-layer': 'transportation' } as const;
  const round = { 'line-cap': 'round', 'line-join': 'round' } as const;
  const filter = (kind: RoadKind, tunnel: boolean): FilterSpecification =>
    ['all', classes(...kind.classes), tunnel ? ['==', ['get', 'brunnel'], 'tunnel'] : notTunnel] as FilterSpecification;
  const casingWidths = (kind: RoadKind): ExpressionSpecification =>
    widths(...kind.width.map((value, i) => (i % 2 ? value + 2 * kind.casing : value)));
  return [
    ...ROADS.map((kind): LayerSpecification => ({
      ...base,
      id: `tunnel-${kind.id}`,
      minzoom: Math.max(kind.minzoom, 13),
      filter: filter(kind, true),
      layout: { 'line-join': 'round' },
      paint: { 'line-color': c['map-casing'], 'line-width': widths(...kind.width), 'line-opacity': 0.45, 'line-dasharray': [1.2, 0.8] },
    })),
    {
      ...base,
      id: 'path',
      minzoom: 14.5,
      filter: classes('path', 'pier'),
      layout: round,
      paint: { 'line-color': c['map-path'], 'line-width': widths(14, 0.6, 16, 1.4, 18, 3), 'line-dasharray': [1.6, 1.6] },
    },
    ...ROADS.map((kind): LayerSpecification => ({
      ...base,
      id: `casing-${kind.id}`,
      minzoom: kind.minzoom + 1,
      filter: filter(kind, false),
      layout: round,
      paint: { 'line-color': c['map-casing'], 'line-width': casingWidths(kind) },
    })),
    ...ROADS.map((kind): LayerSpecification => ({
      ...base,
      id: `road-${kind.id}`,
      minzoom: kind.minzoom,
      filter: filter(kind, false),
      layout: round,
      paint: { 'line-color': c[kind.color], 'line-width': widths(...kind.width) },
    })),
    {
      ...base,
      id: 'rail',
      minzoom: 11,
      filter: classes('rail', 'transit'),
      paint: { 'line-color': c['map-border'], 'line-width': widths(11, 0.6, 16, 2) },
    },
  ];
}

function ground(c: Colors): LayerSpecification[] {
  const base = { source: 'base' } as const;
  const fill = (id: string, layer: string, names: string[], color: string, minzoom = 0): LayerSpecification => ({
    ...base,
    id,
    type: 'fill',
    'source-layer': layer,
    minzoom,
    filter: classes(...names),
    paint: { 'fill-color': color, 'fill-antialias': false },
  });
  return [
    { id: 'land', type: 'background', paint: { 'background-color': c['map-land'] } },
    fill('residential', 'landuse', ['residential', 'suburb', 'neighbourhood', 'quarter'], c['map-residential']),
    fill('industrial', 'landuse', ['industrial', 'commercial', 'retail', 'railway', 'garages', 'military', 'quarry'], c['map-industrial'], 10),
    fill('institution', 'landuse', ['school', 'university', 'college', 'kindergarten', 'hospital', 'library'], c['map-industrial'], 12),
    fill('grass', 'landcover', ['grass', 'farmland', 'wetland'], c['map-grass']),
    fill('sand', 'landcover', ['sand', 'rock'], c['map-sand']),
    fill('wood', 'landcover', ['wood'], c['map-wood']),
    { ...base, id: 'park', type: 'fill', 'source-layer': 'park', minzoom: 11, paint: { 'fill-color': c['map-park'], 'fill-opacity': 0.7 } },
    fill('green', 'landuse', ['cemetery', 'playground', 'zoo', 'park'], c['map-park'], 11),
    fill('pitch', 'landuse', ['pitch', 'stadium', 'track'], c['map-pitch'], 13),
    { ...base, id: 'water', type: 'fill', 'source-layer': 'water', paint: { 'fill-color': c['map-water'] } },
    { ...base, id: 'shore', type: 'line', 'source-layer': 'water', minzoom: 10, paint: { 'line-color': c['map-waterline'], 'line-width': widths(10, 0.4, 16, 1.2) } },
    { ...base, id: 'waterway', type: 'line', 'source-layer': 'waterway', minzoom: 11, paint: { 'line-color': c['map-waterline'], 'line-width': widths(11, 0.5, 18, 3) } },
    {
      ...base, id: 'runway', type: 'line', 'source-layer': 'aeroway', minzoom: 10, filter: classes('runway', 'taxiway'),
      paint: { 'line-color': c['map-runway'], 'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 10, 1, 14, ['match', ['get', 'class'], 'runway', 10, 3], 18, ['match', ['get', 'class'], 'runway', 90, 24]] },
    },
    {
      ...base, id: 'building', type: 'fill', 'source-layer': 'building', minzoom: 13,
      paint: { 'fill-color': c['map-building'], 'fill-outline-color': c['map-building-line'], 'fill-opacity': ['interpolate', ['linear'], ['zoom'], 13, 0, 14.5, 1] },
    },
  ];
}

function labels(c: Colors): LayerSpecification[] {
  const name: ExpressionSpecification = ['coalesce', ['get', 'name:latin'], ['get', 'name']];
  const base = { type: 'symbol', source: 'base' } as const;
  const paint = (color: string, halo = 1.4) => ({
    'text-color': color,
    'text-halo-color': c['map-label-halo'],
    'text-halo-width': halo,
  });
  const place = (id: string, names: string[], minzoom: number, maxzoom: number, size: number[], font: string[], color: string, extra = {}): LayerSpecification => ({
    ...base,
    id,
    'source-layer': 'place',
    minzoom,
    maxzoom,
    filter: classes(...names),
    layout: { 'text-field': name, 'text-font': font, 'text-size': widths(...size), 'text-max-width': 8, 'text-padding': 6, 'symbol-sort-key': ['to-number', ['get', 'rank'], 99], ...extra },
    paint: paint(color, 1.6),
  });
  return [
    {
      ...base, id: FIRST_LABEL, 'source-layer': 'transportation_name', minzoom: 13,
      filter: ['all', ['!=', ['get', 'class'], 'ferry'], ['!=', ['get', 'class'], 'path']],
      layout: { 'symbol-placement': 'line', 'text-field': name, 'text-font': REGULAR, 'text-size': widths(13, 10.5, 16, 12.5, 19, 15), 'symbol-spacing': 320, 'text-letter-spacing': 0.01 },
      paint: paint(c['map-label']),
    },
    {
      ...base, id: 'path-name', 'source-layer': 'transportation_name', minzoom: 16, filter: classes('path'),
      layout: { 'symbol-placement': 'line', 'text-field': name, 'text-font': REGULAR, 'text-size': 11, 'symbol-spacing': 320 },
      paint: paint(c.muted),
    },
    {
      ...base, id: 'house-number', 'source-layer': 'housenumber', minzoom: 17.2,
      layout: { 'text-field': ['get', 'housenumber'], 'text-font': REGULAR, 'text-size': 10 },
      paint: paint(c.muted, 1),
    },
    {
      ...base, id: 'poi', 'source-layer': 'poi', minzoom: 16.2,
      filter: ['all', ['has', 'name:latin'], ['<=', ['to-number', ['get', 'rank'], 99], 12]],
      layout: { 'text-field': name, 'text-font': REGULAR, 'text-size': 11, 'text-max-width': 8, 'text-padding': 10 },
      paint: paint(c.muted),
    },
    {
      ...base, id: 'park-name', 'source-layer': 'park', minzoom: 13.5,
      layout: { 'text-field': name, 'text-font': REGULAR, 'text-size': 11.5, 'text-max-width': 8 },
      paint: paint(c['map-label-park']),
    },
    {
      ...base, id: 'water-name', 'source-layer': 'water_name', minzoom: 9,
      layout: { 'text-field': name, 'text-font': REGULAR, 'text-size': widths(9, 11, 14, 13, 17, 15), 'text-letter-spacing': 0.08, 'text-max-width': 7 },
      paint: paint(c['map-label-water'], 1),
    },
    {
      ...base, id: 'airport', 'source-layer': 'aerodrome_label', minzoom: 10.5,
      layout: { 'text-field': name, 'text-font': REGULAR, 'text-size': 12, 'text-max-width': 9 },
      paint: paint(c['map-label']),
    },
    place('hamlet', ['hamlet', 'isolated_dwelling', 'island', 'islet'], 12, 18, [12, 10.5, 16, 13], REGULAR, c['map-label']),
    place('suburb', ['suburb', 'neighbourhood', 'quarter'], 12.5, 18, [12, 11, 16, 14], REGULAR, c['map-label']),
    place('village', ['village'], 10.2, 17, [10, 11, 13, 13.5, 16, 16], REGULAR, c['map-label-strong']),
    place('town', ['town'], 9, 17, [9, 11.5, 13, 15, 16, 18], BOLD, c['map-label-strong']),
    place('city', ['city'], 5, 17, [5, 12, 10, 15, 14, 19], BOLD, c['map-label-strong']),
    place('country', ['country', 'state'], 3, 9, [3, 12, 8, 17], BOLD, c['map-label'], { 'text-letter-spacing': 0.06 }),
  ];
}

/** The whole style for one set of colours; `url` is the absolute URL of a PMTiles file. */
export function basemapStyle(c: Colors, url: string): StyleSpecification {
  return {
    version: 8,
    name: 'Waylog',
    'font-faces': {
      [REGULAR[0]!]: faces(regularLatin, regularExtended, regularCyrillic, regularGreek),
      [BOLD[0]!]: faces(boldLatin, boldExtended, boldCyrillic, boldGreek),
    },
    sources: { base: { type: 'vector', url: `pmtiles://${url}`, attribution: ATTRIBUTION } },
    transition: { duration: 0, delay: 0 },
    layers: [
      ...ground(c),
      ...roads(c),
      {
        id: 'border', type: 'line', source: 'base', 'source-layer': 'boundary', filter: ['all', ['<=', ['get', 'admin_level'], 4], ['!=', ['get', 'maritime'], 1]],
        paint: { 'line-color': c['map-border'], 'line-width': 1, 'line-dasharray': [3, 2] },
      },
      ...labels(c),
    ],
  };
}
