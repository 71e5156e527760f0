/** The classic mistakes of partitioned logs, seen in what the stream tells: pure, with cause and cure. */
import { number, t, tn } from '../i18n';
import type { StreamState } from './types';

export interface Advice {
  severity: 'problem' | 'warning';
  text: string;
  cure: string;
}

/** Above this the busiest partition is too busy: its load by the mean load. */
export const MOST_SKEW = 1.5;
/** Above this members have too unequal work: most partitions a member by the mean. */
export const MOST_UNEVEN = 1.25;
/** Below this many records a second nothing can be said about skew. */
const LEAST_RATE = 5;

export function groupLag(group: StreamState['groups'][number]): { records: number; seconds: number } {
  return group.partitions.reduce(
    (sum, one) => ({ records: sum.records + one.lag_records, seconds: Math.max(sum.seconds, one.lag_seconds) }),
    { records: 0, seconds: 0 },
  );
}

/** What an operator should know. `rates` are records a second by partition, for each topic. */
export function advise(state: StreamState, rates: Record<string, number[]>): Advice[] {
  const found: Advice[] = [];
  for (const { topic, partitions } of state.topics) {
    for (const one of partitions) {
      const place = { topic, partition: one.partition };
      if (one.quarantined) found.push({ severity: 'problem', text: t('advice.quarantined', { ...place, why: one.quarantined }), cure: t('advice.quarantined_cure') });
      else if (one.damaged) found.push({ severity: 'problem', text: t('advice.damaged', { ...place, why: one.damaged }), cure: t('advice.damaged_cure') });
    }
    const load = rates[topic] ?? [];
    const mean = load.reduce((sum, rate) => sum + rate, 0) / Math.max(load.length, 1);
    const busiest = load.indexOf(Math.max(...load));
    if (load.length > 1 && mean * load.length >= LEAST_RATE && load[busiest]! / mean > MOST_SKEW) {
      const ratio = number(load[busiest]! / mean, { maximumFractionDigits: 1 });
      found.push({ severity: 'warning', text: t('advice.skew', { topic, partition: partitions[busiest]?.partition ?? busiest, ratio }), cure: t('advice.skew_cure') });
    }
  }
  for (const { group, topic, members } of state.groups) {
    const count = state.topics.find((one) => one.topic === topic)?.partitions.length ?? 0;
    if (count === 0 || members === 0) continue;
    if (members > count) {
      found.push({ severity: 'warning', text: tn('advice.idle', members - count, { group }), cure: t('advice.idle_cure', { members, partitions: count }) });
    } else if (Math.ceil(count / members) / (count / members) > MOST_UNEVEN) {
      found.push({ severity: 'warning', text: t('advice.uneven', { group, members, partitions: count }), cure: t('advice.uneven_cure') });
    }
  }
  return found;
}
