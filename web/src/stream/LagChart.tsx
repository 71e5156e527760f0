/** Lag of every group over the last ten minutes. */
import { createEffect, onCleanup, onMount, type JSX } from 'solid-js';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, clockSeconds, number, t } from '../i18n';
import { onThemeChange, readColors, type ColorName } from '../map/colors';
import type { Reading } from './StreamPage';

const HEIGHT = 180;
const LINES: ColorName[] = ['accent', 'speed-1', 'waiting', 'speed-3', 'speed-0'];
const DASHES = [[], [6, 4], [2, 3], [10, 4], [4, 2]];

export function LagChart(props: { readings: Reading[]; groups: string[] }): JSX.Element {
  let place!: HTMLDivElement;
  let chart: uPlot | undefined;
  const data = (): uPlot.AlignedData => [
    props.readings.map((one) => one.timeS),
    ...props.groups.map((group) => props.readings.map((one) => one.lag[group] ?? null)),
  ];
  const draw = (): void => {
    chart?.destroy();
    const c = readColors();
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: c.muted, font, grid: { stroke: c.line, width: 1 }, ticks: { show: false } };
    chart = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        cursor: { y: false, drag: { x: false } },
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(10, max * 1.1)] } },
        axes: [
          { ...axis, size: 28, space: 90, incrs: [5, 15, 30, 60, 120, 300, 600], values: (u, marks) => marks.map((mark) => (u.scales.x!.max! - u.scales.x!.min! < 900 ? clockSeconds : clock)(mark * 1000)) },
          { ...axis, size: 64, values: (_, marks) => marks.map((mark) => number(mark)) },
        ],
        series: [
          { label: t('stream.when'), value: (_, at) => (at == null ? '–' : clock(at * 1000)) },
          ...props.groups.map((group, i) => ({ label: group, stroke: c[LINES[i % LINES.length]!], dash: DASHES[i % DASHES.length]!, width: 2, points: { show: false } })),
        ],
      },
      data(),
      place,
    );
  };
  onMount(() => {
    draw();
    const observer = new ResizeObserver(() => chart?.setSize({ width: place.clientWidth, height: HEIGHT }));
    observer.observe(place);
    const forget = onThemeChange(draw);
    onCleanup(() => {
      observer.disconnect();
      forget();
      chart?.destroy();
    });
  });
  createEffect(() => {
    const next = data();
    chart?.setData(next);
  });
  return <div class="lag-chart" ref={place} role="img" aria-label={t('stream.lag_chart')} />;
}
