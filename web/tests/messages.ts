/** What a customer is told first, for tests. */
import type { Snapshot } from '../src/live/track';

export const snapshot: Snapshot = {
  type: 'snapshot', epoch: 'a', seq: 5,
  delivery: {
    status: 'picked_up',
    timeline: [{ status: 'created', at: '2026-11-22T10:00:00Z' }, { status: 'picked_up', at: '2026-11-22T10:20:00Z' }],
    dropoff: { lat: 35.91, lon: 14.5, label: 'Tower Road 12' }, window: null,
  },
  courier: { name: 'Maria', vehicle: 'bike' },
  position: { lat: 35.9, lon: 14.5, heading_deg: 0, speed_mps: 5, accuracy_m: 4, fix_time: '2026-11-22T10:30:00Z' },
  why_hidden: null, eta: { from: '2026-11-22T10:38:00Z', to: '2026-11-22T10:42:00Z' }, stops_before: 0,
  path: null, route: [[14.5, 35.9], [14.5, 35.91]], viewers: 1,
};
