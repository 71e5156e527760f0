/** What the installation tells its pages: brand, basemap, whether this is a demo. */
import type { Brand } from '../live/track';

export interface WebConfig {
  brand: Brand;
  basemap: { url: string; kind: 'pmtiles' | 'style' };
  demo: boolean;
  languages: string[];
  /** Whether an address finds its place by itself. */
  geocoder: boolean;
  /** A position is stale after so many seconds without a fix. */
  stale_after_s: number;
}

const BUNDLED: WebConfig = {
  brand: { name: 'Waylog' },
  basemap: { url: '/basemap/malta.pmtiles', kind: 'pmtiles' },
  demo: false,
  languages: ['en', 'de'],
  geocoder: false,
  stale_after_s: 30,
};

let loading: Promise<WebConfig> | undefined;

/** The configuration, fetched once; the bundled defaults where it cannot be had. */
export function webConfig(): Promise<WebConfig> {
  loading ??= fetch('/web-config.json')
    .then((response) => (response.ok ? (response.json() as Promise<Partial<WebConfig>>) : {}))
    .catch(() => ({}))
    .then((given) => ({ ...BUNDLED, ...given }));
  return loading;
}

/** Applies the brand's accent colour, if it is one, to the whole page. */
export function applyBrand(brand: Brand | null | undefined): void {
  const accent = brand?.accent;
  if (accent && CSS.supports('color', accent)) {
    document.documentElement.style.setProperty('--accent', accent);
    document.documentElement.style.setProperty('--accent-wash', `color-mix(in srgb, ${accent} 14%, var(--surface))`);
    document.documentElement.style.setProperty('--on-accent', readableOn(accent));
  }
}

/** Ink or white, whichever reads better on the colour. */
function readableOn(color: string): string {
  const probe = document.createElement('span');
  probe.style.color = color;
  document.body.append(probe);
  const [r = 0, g = 0, b = 0] = (getComputedStyle(probe).color.match(/[\d.]+/g) ?? []).map(Number);
  probe.remove();
  const linear = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0]! + 0.7152 * linear[1]! + 0.0722 * linear[2]!;
  return luminance > 0.3 ? 'black' : 'white';
}
