import { beforeAll, describe, expect, it } from 'vitest';
import { use } from '../src/i18n';
import en from '../src/i18n/en';
import { advise, groupLag } from '../src/stream/advice';
import type { GroupState, PartitionState, StreamState } from '../src/stream/types';

const partitions = (count: number): PartitionState[] => Array.from({ length: count }, (_, partition) => ({ partition, log_start_offset: 0, log_end_offset: 9, durable_offset: 9, disk_bytes: 4096 }));
const group = (members: number): GroupState => ({
  group: 'analytics', topic: 'delivery-location', members, generation: 1,
  partitions: [{ partition: 0, committed: 1, lag_records: 8, lag_seconds: 0.5 }, { partition: 1, committed: null, lag_records: 3, lag_seconds: 4 }],
});
const stream = (count: number, members: number): StreamState => ({ topics: [{ topic: 'delivery-location', partitions: partitions(count) }], groups: [group(members)] });

beforeAll(() => use(en, 'en'));

describe('advice on the stream', () => {
  it('is silent when all is well', () => {
    expect(advise(stream(12, 4), { 'delivery-location': Array(12).fill(10) as number[] })).toEqual([]);
  });

  it('names members with nothing to do, and those with unequal work', () => {
    expect(advise(stream(4, 6), {})[0]!.text).toBe('analytics has 2 members with nothing to do.');
    expect(advise(stream(12, 10), {})[0]!.text).toBe('analytics: 10 members cannot share 12 partitions evenly.');
    expect(advise(stream(12, 5), {})).toEqual([]);
  });

  it('names the partition that takes too much, but not from a handful of records', () => {
    expect(advise(stream(4, 1), { 'delivery-location': [10, 10, 40, 10] })[0]!.text).toBe('delivery-location, partition 2 takes 2.3 times the mean load.');
    expect(advise(stream(4, 1), { 'delivery-location': [0, 0, 1, 0] })).toEqual([]);
  });

  it('names damage before all else', () => {
    const damaged = stream(4, 1);
    damaged.topics[0]!.partitions[3]!.quarantined = 'a hole at offset 7';
    expect(advise(damaged, {})[0]).toMatchObject({ severity: 'problem', text: 'delivery-location, partition 3 is shut: a hole at offset 7' });
  });

  it('adds up the lag, and takes the oldest', () => {
    expect(groupLag(group(1))).toEqual({ records: 11, seconds: 4 });
  });
});
