//! The in-memory picture of couriers, devices, deliveries, links, geofences and keys, and of who is
//! watched: what every hot path asks instead of the database.
//!
//! Invariants:
//! - Reads never wait for Postgres.
//! - A write of this process is applied here before its answer is sent; writes of other processes
//!   arrive by LISTEN/NOTIFY and a periodic resync.
//! - Tokens are held as SHA-256 hashes only, here and in `directory.snap`.

mod entries;
mod index;
mod rows;
mod snapshot;
mod store;
mod sync;
mod watched;

pub use entries::{ApiKey, Device, Link, PreviousStop, Role, Run, Session, TokenHash};
pub use store::{Change, Directory};
pub use sync::{CHANGES_KEPT_MS, Filled, Sync, Table};

#[cfg(test)]
mod tests;
