/** The icons: strokes of one weight on a 24 px square, in the colour of the text around them. */
import type { JSX } from 'solid-js';

const PATHS = {
  arrow: 'M12 3 19 20 12 16 5 20Z',
  check: 'M5 12.500 10 17.500 19 7',
  cross: 'M6 6 18 18M18 6 6 18',
  pin: 'M12 21c-4-5-7-8.200-7-12a7 7 0 0 1 14 0c0 3.800-3 7-7 12ZM12 11.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Z',
  phone: 'M6 3h4l1.500 5L9 9.500a12 12 0 0 0 5.500 5.500L16 12.500l5 1.500v4c0 1.700-1.300 3-3 3A15 15 0 0 1 3 6c0-1.700 1.300-3 3-3Z',
  fleet: 'M3 11 21 3l-8 18-2.500-7.500Z',
  trips: 'M6 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM18 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM8 18h7a3.500 3.500 0 0 0 0-7H9a3.500 3.500 0 0 1 0-7h7',
  stream: 'M3 6h12M3 12h18M3 18h9M19 6h2M16 18h5',
  events: 'M12 3a6 6 0 0 1 6 6v4l2 4H4l2-4V9a6 6 0 0 1 6-6ZM10 20.500a2.200 2.200 0 0 0 4 0',
  docs: 'M5 3h9l5 5v13H5ZM14 3v5h5M8.500 13h7M8.500 17h7',
  out: 'M14 4H5v16h9M10 12h11M17.500 8.500 21 12l-3.500 3.500',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16 16l5 5',
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  share: 'M12 15V3M8 7l4-4 4 4M5 12v9h14v-9',
  copy: 'M9 9h11v11H9ZM5 15H4V4h11v1',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3.500 2',
  play: 'M7 4 19 12 7 20Z',
  pause: 'M8 5v14M16 5v14',
  fence: 'M12 3 21 9l-3.500 11h-11L3 9Z',
  circle: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Z',
  download: 'M12 3v12M7.500 10.500 12 15l4.500-4.500M4 20h16',
  heat: 'M12 21a6 6 0 0 0 6-6c0-4-3-5-3-9-3 1-4 4-4 6-1-1-1.500-2-1.500-3C7.500 11 6 12.500 6 15a6 6 0 0 0 6 6Z',
  refresh: 'M20 11a8 8 0 1 0-1 5M20 4v7h-7',
  navigate: 'M12 3 5 20l7-4 7 4Z',
  theme: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 3v18',
} as const;

export type IconName = keyof typeof PATHS;
export const ICON_NAMES = Object.keys(PATHS) as IconName[];

export function Icon(props: { name: IconName; size?: number }): JSX.Element {
  return (
    <svg
      class="icon"
      width={props.size ?? 20}
      height={props.size ?? 20}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[props.name]} />
    </svg>
  );
}
