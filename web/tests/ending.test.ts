import { expect, test } from 'vitest';
import { ending } from '../src/ui/ending';

test('ids that differ at their end stay different, short ones stay whole', () => {
  expect(ending('d-1')).toBe('d-1');
  expect(ending('order-12345678')).toBe('order-12345678');
  expect(ending('sim-049-tpb1mi-2-1')).toBe('…49-tpb1mi-2-1');
  expect(ending('sim-049-tpb1mi-2-1')).not.toBe(ending('sim-049-tpb1mi-2-2'));
});
