/** Speed over time; its cursor is the page's cursor. */
import { createEffect, on, onCleanup, onMount, type JSX } from 'solid-js';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, clockSeconds, t } from '../i18n';
import { onThemeChange, readColors } from '../map/colors';
import { GAP_S, type Replay } from './replay';

const HEIGHT = 130;

export function SpeedChart(props: { replay: Replay; time: number; choose: (time: number) => void }): JSX.Element {
  let place!: HTMLDivElement;
  let chart: uPlot | undefined;
  const draw = (): void => {
    chart?.destroy();
    const c = readColors();
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: c.muted, font, grid: { stroke: c.line, width: 1 }, ticks: { show: false } };
    const { times, speeds } = props.replay;
    chart = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 8, 0, 0],
        cursor: { y: false, drag: { setScale: false, x: false }, points: { size: 9, fill: c.accent, stroke: c.halo } },
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(20, Math.ceil(max / 10) * 10)] } },
        axes: [
          { ...axis, size: 28, space: 90, values: (u, marks) => marks.map((mark) => (u.scales.x!.max! - u.scales.x!.min! < 900 ? clockSeconds : clock)(mark * 1000)) },
          { ...axis, size: 52, values: (_, marks) => marks.map((mark) => `${mark}`), label: 'km/h', labelSize: 14, labelFont: font },
        ],
        series: [
          {},
          { stroke: c.accent, width: 2, fill: c['accent-wash'], points: { show: false }, gaps: (u, series) => breaks(u, series, times) },
        ],
        hooks: {
          setCursor: [
            (u) => {
              const over = u.cursor.left ?? -1;
              if (byHand && over >= 0) props.choose(u.posToVal(over, 'x'));
            },
          ],
        },
      },
      [times, speeds.map((speed) => speed * 3.6)],
      place,
    );
    chart.over.addEventListener('pointermove', () => (byHand = true), true);
    chart.over.addEventListener('pointerleave', () => (byHand = false));
    follow(props.time);
  };
  let byHand = false;
  const follow = (time: number): void => {
    if (!chart || byHand) return;
    chart.setCursor({ left: chart.valToPos(time, 'x'), top: 0 }, false);
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
  createEffect(on(() => props.replay, draw, { defer: true }));
  createEffect(() => follow(props.time));
  return <div class="chart" ref={place} role="img" aria-label={t('trips.chart')} />;
}

/** Pixel spans without fixes, so that the line does not claim a speed there. */
function breaks(u: uPlot, _series: number, times: number[]): [number, number][] {
  const spans: [number, number][] = [];
  for (let i = 1; i < times.length; i += 1) {
    if (times[i]! - times[i - 1]! > GAP_S) spans.push([u.valToPos(times[i - 1]!, 'x', true), u.valToPos(times[i]!, 'x', true)]);
  }
  return spans;
}
