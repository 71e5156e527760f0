import { beforeAll, describe, expect, it } from 'vitest';
import { joined } from '../src/events/joined';
import { standing } from '../src/events/standing';
import { localMinute } from '../src/events/localMinute';
import { use } from '../src/i18n';
import en from '../src/i18n/en';
import type { SentTo, WaylogEvent } from '../src/events/types';

beforeAll(() => use(en, 'en'));

const event = (id: string): WaylogEvent => ({ id, type: 'geofence.enter', at: '2026-11-22T10:00:00Z' });
const sent = (more: Partial<SentTo>): SentTo => ({ webhook_id: 'w', url: 'https://example.org/', waiting: false, next_at: null, attempts: 1, outcome: 'delivered', error: null, ...more });

describe('events', () => {
  it('are listed once, the newest first, however the pages overlap', () => {
    const newest = [event('evt_4'), event('evt_3')];
    const before = [event('evt_3'), event('evt_2'), event('evt_1')];
    expect(joined(newest, before).map((one) => one.id)).toEqual(['evt_4', 'evt_3', 'evt_2', 'evt_1']);
  });

  it('say where they stand with an endpoint', () => {
    expect(standing(sent({})).tone).toBe('moving');
    expect(standing(sent({ waiting: true, outcome: null }))).toEqual({ tone: 'waiting', text: 'On its way' });
    expect(standing(sent({ waiting: true, outcome: 'failed', next_at: '2026-11-22T10:00:00Z' })).text).toContain('Next try');
    expect(standing(sent({ outcome: 'gave_up' })).tone).toBe('problem');
  });

  it('are sent again by a time that a person reads on the clock', () => {
    const at = new Date(2026, 10, 22, 9, 5).getTime();
    expect(localMinute(at)).toBe('2026-11-22T09:05');
  });
});
