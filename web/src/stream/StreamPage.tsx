/** The log from inside: topics, partitions, who reads them and how far behind, what is in quarantine. */
import { For, Show, createEffect, createMemo, createSignal, on, type JSX } from 'solid-js';
import { bytes, dateTime, number, span, t, tn } from '../i18n';
import { get, type Page } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { LagChart } from './LagChart';
import { advise, groupLag, type Advice } from './advice';
import type { PartitionState, Quarantined, StreamState } from './types';

const EVERY_MS = 2_000;
/** Ten minutes of lag at one reading every 2 s. */
const MOST_READINGS = 300;
const LEAST_SPAN_S = 60;

export interface Reading {
  timeS: number;
  lag: Record<string, number>;
  appended: Record<string, number>;
}

export function StreamPage(): JSX.Element {
  const stream = load(() => true, (_, signal) => get<StreamState>('/v1/stream', undefined, signal), { everyMs: EVERY_MS });
  const quarantine = load(() => true, async (_, signal) => (await get<Page<Quarantined>>('/v1/quarantine', { limit: 20 }, signal)).items);
  const [readings, setReadings] = createSignal<Reading[]>([]);
  createEffect(on(stream.value, (state) => {
    if (!state) return;
    const reading: Reading = {
      timeS: Date.now() / 1000,
      lag: Object.fromEntries(state.groups.map((group) => [group.group, groupLag(group).records])),
      appended: Object.fromEntries(state.topics.flatMap((topic) => topic.partitions.map((one) => [`${topic.topic}/${one.partition}`, one.log_end_offset]))),
    };
    setReadings((before) => [...before.slice(1 - MOST_READINGS), reading]);
  }));
  return (
    <div class="page">
      <div class="inner">
        <h1>{t('nav.stream')}</h1>
        <View data={stream}>
          {(state) => (
            <>
              <AdviceList advice={advise(state(), isTelling(readings()) ? ratesOf(state(), readings()) : {})} />
              <section class="card stack">
                <h2>{t('stream.groups')}</h2>
                <div class="table-scroll" tabindex="0">
                  <table class="table">
                    <thead><tr><th>{t('stream.group')}</th><th class="number">{t('stream.lag')}</th><th class="number">{t('stream.behind')}</th><th class="number">{t('stream.members')}</th></tr></thead>
                    <tbody>
                      <For each={state().groups}>
                        {(group) => (
                          <tr>
                            <td><strong>{group.group}</strong></td>
                            <td class="number">{tn('stream.records', groupLag(group).records)}</td>
                            <td class="number">{span(groupLag(group).seconds * 1000)}</td>
                            <td class="number">{number(group.members)}</td>
                          </tr>
                        )}
                      </For>
                    </tbody>
                  </table>
                </div>
                <Show when={readings().length > 1}><LagChart readings={readings()} groups={state().groups.map((group) => group.group)} /></Show>
              </section>
              <For each={state().topics}>{(topic) => <Topic name={topic.topic} partitions={topic.partitions} rates={ratesOf(state(), readings())[topic.topic] ?? []} />}</For>
            </>
          )}
        </View>
        <section class="card stack">
          <div class="row between"><h2>{t('stream.quarantine')}</h2><button type="button" class="button plain icon" aria-label={t('state.retry')} onClick={quarantine.reload}><Icon name="refresh" size={18} /></button></div>
          <View data={quarantine} isEmpty={(list) => list.length === 0} empty={<p class="muted">{t('stream.quarantine_none')}</p>}>
            {(list) => (
              <div class="table-scroll" tabindex="0">
                <table class="table">
                  <thead><tr><th>{t('stream.when')}</th><th>{t('deliveries.courier')}</th><th>{t('stream.reason')}</th></tr></thead>
                  <tbody>
                    <For each={list()}>{(one) => <tr><td>{dateTime(Date.parse(one.received_at))}</td><td>{one.courier_id}</td><td>{one.reason}</td></tr>}</For>
                  </tbody>
                </table>
              </div>
            )}
          </View>
        </section>
      </div>
    </div>
  );
}

/** Whether the readings span long enough for a partition's load to be more than chance. */
function isTelling(readings: Reading[]): boolean {
  return readings.length > 1 && readings.at(-1)!.timeS - readings[0]!.timeS >= LEAST_SPAN_S;
}

/** Records appended a second in each partition, over what has been read so far. */
function ratesOf(state: StreamState, readings: Reading[]): Record<string, number[]> {
  const first = readings[0];
  const last = readings.at(-1);
  const seconds = first && last ? last.timeS - first.timeS : 0;
  const rate = (key: string): number => (seconds > 0 ? ((last!.appended[key] ?? 0) - (first!.appended[key] ?? 0)) / seconds : 0);
  return Object.fromEntries(state.topics.map(({ topic, partitions }) => [topic, partitions.map((one) => rate(`${topic}/${one.partition}`))]));
}

function AdviceList(props: { advice: Advice[] }): JSX.Element {
  return (
    <Show when={props.advice.length > 0} fallback={<p class="row"><span class="badge moving"><Icon name="check" size={16} />{t('stream.all_well')}</span></p>}>
      <ul class="stack">
        <For each={props.advice}>
          {(one) => (
            <li class="card advice" data-severity={one.severity}>
              <p><strong>{one.text}</strong></p>
              <p class="muted">{one.cure}</p>
            </li>
          )}
        </For>
      </ul>
    </Show>
  );
}

/** A topic's partitions with their share of what has lately been appended. */
function Topic(props: { name: string; partitions: PartitionState[]; rates: number[] }): JSX.Element {
  const most = createMemo(() => Math.max(...props.rates, 0.001));
  return (
    <section class="card stack">
      <div class="row between wrap">
        <h2>{props.name}</h2>
        <span class="muted">
          {tn('stream.partitions', props.partitions.length)} · {bytes(props.partitions.reduce((sum, one) => sum + one.disk_bytes, 0))} · {t('stream.per_second', { n: number(props.rates.reduce((sum, rate) => sum + rate, 0), { maximumFractionDigits: 1 }) })}
        </span>
      </div>
      <div class="table-scroll" tabindex="0">
        <table class="table">
          <thead><tr><th class="number">{t('stream.partition')}</th><th>{t('stream.load')}</th><th class="number">{t('stream.rate')}</th><th class="number">log_start_offset</th><th class="number">durable_offset</th><th class="number">{t('stream.size')}</th></tr></thead>
          <tbody>
            <For each={props.partitions}>
              {(one, i) => (
                <tr>
                  <td class="number">{one.partition}</td>
                  <td class="load-cell"><meter min="0" max="1" value={(props.rates[i()] ?? 0) / most()} aria-label={t('stream.load')} /></td>
                  <td class="number">{number((props.rates[i()] ?? 0), { maximumFractionDigits: 1 })}</td>
                  <td class="number">{number(one.log_start_offset)}</td>
                  <td class="number">{number(one.durable_offset)}</td>
                  <td class="number">{bytes(one.disk_bytes)}</td>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </section>
  );
}
