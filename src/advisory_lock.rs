//! Postgres' advisory locks that Waylog takes: one job at a time in the whole database.
//!
//! All numbers in one place, as equal ones would shut two strangers out of each other's work; the
//! compiler refuses them here. `analytics.ensure_day` takes one more, by the hash of a name.

/// A job that one process does at a time. The numbers are "waylog" and the job's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum AdvisoryLock {
    /// Trips, stops and heat are derived. `analytics.erase` takes it by its number.
    Derive = 0x7761_796c_6f67_0001,
    /// Webhooks are sent.
    Send = 0x7761_796c_6f67_0002,
}

impl AdvisoryLock {
    /// What `pg_try_advisory_lock` is given.
    #[must_use]
    pub const fn key(self) -> i64 {
        self as i64
    }
}
