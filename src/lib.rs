//! Waylog: self-hosted delivery-location tracking around a durable log.
//!
//! # Code map
//! The folder listing is the data's way. Arrows point down only; `tests/scenarios/tidy.rs` holds the
//! table.
//!
//! ```text
//! main → cli → app → ingest, live_map, analytics, notifications, dispatch → http → access → directory → domain
//! stream, roads: ground beside domain
//! config, telemetry, lifecycle, clock, advisory_lock: leaves that anything but domain may use
//! ```
//!
//! - [`ingest`]: phones' uploads in three formats → validated, without duplicates → the log.
//! - [`stream`]: the delivery-location log: partitions, groups, offsets. Bytes only.
//! - [`live_map`], [`analytics`], [`notifications`]: three readers of the log that know nothing of
//!   each other.
//! - [`dispatch`]: couriers, devices, deliveries, links and geofences, kept in Postgres.
//! - [`directory`]: all of that in memory, so that no hot path asks the database.
//!
//! # Invariants
//! - A fix is acknowledged only after the log has it on disk.
//! - What may be lost by a crash was never acknowledged; what was acknowledged reaches Postgres once.
//! - Slices never import one another: only the log, the Directory and Postgres join them.

pub mod access;
pub mod advisory_lock;
pub mod analytics;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod dispatch;
pub mod domain;
pub mod http;
pub mod ingest;
pub mod lifecycle;
pub mod live_map;
pub mod local_postgres;
pub mod notifications;
pub mod roads;
pub mod stream;
pub mod telemetry;

#[cfg(test)]
mod test_support;
