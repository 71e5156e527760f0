/** What `GET /v1/stream` tells of the log and its readers. */

export interface StreamState {
  topics: TopicState[];
  groups: GroupState[];
}

export interface TopicState {
  topic: string;
  partitions: PartitionState[];
}

export interface PartitionState {
  partition: number;
  log_start_offset: number;
  log_end_offset: number;
  durable_offset: number;
  disk_bytes: number;
  /** Why it serves neither reads nor writes, if so. */
  quarantined?: string | null;
  /** Damage in older records: they cannot be read, new ones are taken. */
  damaged?: string | null;
  /** What keeps it from being written or read now though nothing is lost, if so. */
  unavailable?: string | null;
}

export interface GroupState {
  group: string;
  topic: string;
  members: number;
  /** `null` where the log is Kafka, which keeps it to itself. */
  generation: number | null;
  partitions: { partition: number; member?: string | null; committed: number | null; lag_records: number; lag_seconds: number }[];
}

export interface Quarantined {
  offset: number;
  received_at: string;
  courier_id: string;
  reason: string;
  format: string;
}
