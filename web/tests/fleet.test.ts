import { describe, expect, it } from 'vitest';
import { byDistance } from '../src/fleet/candidates';
import { settle, unsettled, type Shelf } from '../src/fleet/settled';
import type { Attention, CourierRow } from '../src/fleet/types';

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

describe('who could take a delivery', () => {
  const courier = (id: string, lat: number, more: Partial<CourierRow> = {}): CourierRow => ({
    id, name: id, vehicle: 'bike', tags: [], status: 'idle', on_duty: true, position: { lat, lon: 14.5, fix_time: '' }, open_deliveries: 0, ...more,
  });

  it('is ranked by who is free, then by who is near', () => {
    const ranked = byDistance(
      [courier('far', 35.95), courier('busy', 35.9, { open_deliveries: 2 }), courier('near', 35.91), courier('lost', 35.9, { position: null }), courier('off', 35.9, { on_duty: false }), courier('gone', 35.9, { status: 'offline' })],
      { lat: 35.9, lon: 14.5 },
    );
    expect(ranked.map((one) => one.courier_id)).toEqual(['near', 'far', 'busy']);
    expect(ranked[0]!.distance_m).toBeCloseTo(1_112, 0);
  });
});
