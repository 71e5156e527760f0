/** The colour tokens as the map needs them: resolved for the theme that is on. */

const NAMES = [
  'bg', 'surface', 'ink', 'muted', 'line', 'accent', 'on-accent', 'accent-wash', 'waiting', 'problem',
  'quiet', 'halo', 'map-land', 'map-residential', 'map-industrial', 'map-grass', 'map-wood', 'map-park',
  'map-sand', 'map-pitch', 'map-water', 'map-waterline', 'map-building', 'map-building-line', 'map-casing',
  'map-path', 'map-street', 'map-secondary', 'map-primary', 'map-motorway', 'map-runway', 'map-border',
  'map-label', 'map-label-strong', 'map-label-halo', 'map-label-water', 'map-label-park',
  'speed-0', 'speed-1', 'speed-2', 'speed-3', 'speed-4', 'heat-0', 'heat-1', 'heat-2', 'heat-3', 'heat-4',
] as const;

export type ColorName = (typeof NAMES)[number];
export type Colors = Record<ColorName, string>;

/** Reads every token through the browser, which knows the theme and the brand's accent. */
export function readColors(): Colors {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  const colors = {} as Colors;
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colors;
}

/** Calls back when the theme changes, by the system or by `data-theme`. */
export function onThemeChange(changed: () => void): () => void {
  const query = matchMedia('(prefers-color-scheme: dark)');
  query.addEventListener('change', changed);
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributeFilter: ['data-theme'] });
  return () => {
    query.removeEventListener('change', changed);
    observer.disconnect();
  };
}

/** Red, green, blue in 0..1 of a colour as the browser writes it. */
export function rgb(color: string): [number, number, number] {
  const [r = 0, g = 0, b = 0] = (color.match(/[\d.]+/g) ?? []).map(Number);
  return color.startsWith('color(') ? [r, g, b] : [r / 255, g / 255, b / 255];
}
