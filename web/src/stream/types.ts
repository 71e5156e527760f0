/** What `GET /v1/stream` tells of the log and its readers. */

export interface StreamState {
  backend: string;
  topics: { name: string; partitions: PartitionState[] }[];
  groups: GroupState[];
  /** What an operator should know, with cause and cure. */
  advice: { severity?: 'info' | 'warning' | 'problem'; text: string; cure?: string | null }[];
}

export interface PartitionState {
  partition: number;
  log_start_offset: number;
  log_end_offset: number;
  durable_offset: number;
  bytes?: number | null;
}

export interface GroupState {
  group: string;
  state?: string | null;
  members?: number | null;
  lag_records: number;
  lag_seconds?: number | null;
  partitions?: { partition: number; committed: number; lag_records: number; member?: string | null }[];
}

export interface Quarantined {
  received_at: string;
  courier_id?: string | null;
  reason: string;
}
