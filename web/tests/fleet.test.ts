import { beforeAll, describe, expect, it } from 'vitest';
import { fresh, matterWords, selectionOf } from '../src/fleet/matters';
import { settle, unsettled, type Shelf } from '../src/fleet/settled';
import type { Attention } from '../src/fleet/types';
import { use } from '../src/i18n';
import en from '../src/i18n/en';

function shelf(): Shelf {
  const kept = new Map<string, string>();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) };
}

const late: Attention = { kind: 'late', since: '2026-11-22T10:00:00Z', courier_id: 'c-1', delivery_id: 'd-1', text: '' };
const quiet: Attention = { kind: 'quiet', since: '2026-11-22T10:00:00Z', courier_id: 'c-1', text: '' };

describe('what asks for attention', () => {
  it('stays away while it is put off, and no longer', () => {
    const kept = shelf();
    settle(kept, late, 5_000);
    expect(unsettled(kept, [late, quiet], 4_999)).toEqual([quiet]);
    expect(unsettled(kept, [late, quiet], 5_000)).toEqual([late, quiet]);
  });

  it('comes back when it happens anew after it was settled', () => {
    const kept = shelf();
    settle(kept, quiet, null);
    expect(unsettled(kept, [quiet], 1e15)).toEqual([]);
    const anew = { ...quiet, since: '2026-11-22T12:00:00Z' };
    expect(unsettled(kept, [anew], 1e15)).toEqual([anew]);
  });

  it('remembers a bounded number', () => {
    const kept = shelf();
    for (let i = 0; i < 600; i += 1) settle(kept, { ...late, delivery_id: `d-${i}` }, null);
    expect(Object.keys(JSON.parse(kept.getItem('waylog-settled')!) as object)).toHaveLength(500);
    expect(unsettled(kept, [{ ...late, delivery_id: 'd-599' }], 0)).toEqual([]);
  });
});

describe('the words for a matter', () => {
  beforeAll(() => use(en, 'en'));
  const now = Date.parse('2026-11-22T10:19:00Z');

  it('call people and places by their names, and things without one by their ids', () => {
    expect(matterWords({ ...late, courier_name: 'Maria', delivery_label: 'Mint Street 9' }, now)).toEqual({ sentence: 'Mint Street 9 is 19 min late', who: 'Maria · d-1' });
    expect(matterWords(late, now)).toEqual({ sentence: 'd-1 is 19 min late', who: 'c-1' });
    expect(matterWords({ ...quiet, courier_name: 'Maria' }, now)).toEqual({ sentence: 'Maria: quiet for 19 min', who: '' });
  });

  it('look ahead at what will be late', () => {
    expect(matterWords({ ...late, since: '2026-11-22T10:44:00Z' }, now).sentence).toBe('d-1 is due in 25 min and will be late');
  });

  it('lead to the delivery, or to the courier where that is the matter', () => {
    expect(selectionOf(late, true)).toEqual({ kind: 'delivery', id: 'd-1', assigning: true });
    expect(selectionOf({ ...quiet, delivery_id: 'd-1' })).toEqual({ kind: 'courier', id: 'c-1' });
  });

  it('are said aloud once', () => {
    expect(fresh([late], [{ ...late, since: '2026-11-22T10:05:00Z' }, quiet])).toEqual([quiet]);
    expect(fresh([late], [])).toEqual([]);
  });
});
