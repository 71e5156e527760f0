/** Events and webhooks as the API tells them. */
import type { Geofence } from '../fleet/types';

export interface WaylogEvent {
  id: string;
  type: string;
  at: string;
  courier_id?: string | null;
  delivery_id?: string | null;
  geofence_id?: string | null;
  position?: { lat: number; lon: number } | null;
  evidence?: Evidence | null;
}

export interface Evidence {
  rule?: string;
  version?: number;
  /** Radius of the zone that was judged by. */
  radius_m?: number;
  /** Known too late for an alarm: recorded, not sent. */
  late?: boolean;
  /** Newest first. */
  fixes?: EvidenceFix[];
  [measure: string]: unknown;
}

export interface EvidenceFix {
  at: string;
  lat: number;
  lon: number;
  accuracy_m?: number | null;
  /** To what the rule watches; negative inside a fence. */
  distance_m?: number | null;
}

/** What an event is about, for the map. */
export interface Subject {
  /** The stop that was approached or reached. */
  stop?: { lat: number; lon: number };
  fence?: Pick<Geofence, 'circle' | 'polygon'>;
}

/** An event, and who was told of it. */
export interface EventDetail extends WaylogEvent {
  sent: SentTo[];
}

/** What became of an event on its way to one endpoint. */
export interface SentTo {
  webhook_id: string;
  url: string;
  /** It is still to be sent. */
  waiting: boolean;
  next_at: string | null;
  attempts: number;
  outcome: 'delivered' | 'failed' | 'gave_up' | null;
  error: string | null;
}

export interface Webhook {
  id: string;
  url: string;
  events?: string[];
  enabled?: boolean;
  /** Why it was switched off, if it was. */
  disabled_reason?: string | null;
  health?: 'unknown' | 'ok' | 'failing' | 'disabled';
  pending?: number | null;
  /** Since when the oldest event waits. */
  pending_since?: string | null;
  /** Of the last calls, 200 at most, … */
  recent_attempts?: number;
  /** … so many were delivered. */
  recent_delivered?: number;
  last_error?: string | null;
  last_attempt_at?: string | null;
  secret?: string;
}

export interface Attempt {
  id: number;
  /** `null`: a test. */
  event_id: string | null;
  event_type: string;
  at: string;
  /** HTTP status of the answer; `null` when there was none. */
  status: number | null;
  duration_ms?: number | null;
  error?: string | null;
  /** `delivered`, `failed` (it is tried again) or `gave_up`. */
  outcome: string;
}
