/** The API's objects as the fleet page reads them. */
import type { Place, Status } from '../live/track';
import type { FleetStatus } from '../live/fleetFrame';

export interface Position {
  lat: number;
  lon: number;
  fix_time: string;
  accuracy_m?: number | null;
  speed_mps?: number | null;
  heading_deg?: number | null;
  age_s?: number | null;
}

export interface CourierRow {
  id: string;
  name: string | null;
  vehicle: string | null;
  tags: string[];
  status: FleetStatus;
  on_duty: boolean;
  position: Position | null;
  open_deliveries: number;
}

export interface Courier {
  id: string;
  name: string | null;
  phone: string | null;
  vehicle: string | null;
  tags?: string[];
}

export interface Delivery {
  id: string;
  status: Status;
  pickup: Place;
  dropoff: Place;
  courier_id: string | null;
  sequence?: number | null;
  reference?: string | null;
  note?: string | null;
  tags?: string[];
  window?: { from?: string | null; to?: string | null } | null;
  customer?: { name?: string | null; phone?: string | null } | null;
  timeline?: { status: Status; at: string }[];
  tracking_url?: string;
  version?: number;
}

export interface Candidate {
  courier_id: string;
  name: string | null;
  vehicle: string | null;
  /** By road; `null` where nothing is known of roads. */
  travel_s: number | null;
  distance_m: number;
  open_deliveries: number;
}

export interface Attention {
  kind: 'unassigned' | 'late' | 'quiet' | 'sos';
  since: string;
  courier_id?: string | null;
  delivery_id?: string | null;
  /** What people call the two. */
  courier_name?: string | null;
  delivery_label?: string | null;
  text: string;
}

export interface Geofence {
  id: string;
  name: string;
  circle?: { lat: number; lon: number; radius_m: number } | null;
  polygon?: GeoJSON.Polygon | null;
  dwell_s?: number | null;
  events?: string[];
}

export interface Link {
  id: string;
  token?: string;
  url?: string;
  prefix?: string;
  expires_at?: string;
  viewers?: number;
}

/** What the card on the right is about. */
export type Selection =
  | { kind: 'courier'; id: string }
  | { kind: 'delivery'; id: string; assigning?: boolean }
  | { kind: 'new-delivery' }
  | { kind: 'geofence'; geofence: Geofence }
  | { kind: 'new-geofence'; shape: 'circle' | 'polygon' };
