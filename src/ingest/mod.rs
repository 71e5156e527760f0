//! Ingest: what phones send becomes records of the log.
//!
//! ```text
//!   body ──▶ formats ──▶ admission ──▶ topic delivery-location          (fixes, heartbeats, alarms)
//!            native      dedupe   └──▶ topic delivery-location.quarantine (what cannot be kept)
//!            osmand
//!            owntracks   advice ◀── Directory
//! ```
//!
//! Invariants:
//! - A 2xx is sent only after everything of the upload that is kept is durable.
//! - A bad fix never makes a phone's upload fail; a phone is refused only for its credential (401),
//!   for load (503 with Retry-After), for a connection that does not deliver (408), and in the
//!   native format for a body that cannot be read at all (400, 413).
//! - No request asks the database, except once for a token that is not known here.
//! - No coordinate and no token is logged; quarantine keeps coordinates, never a token.

pub mod admission;
pub mod body;
pub mod dedupe;
pub mod formats;

mod advice;
mod meters;
mod quarantine;
mod rebuild;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::clock::SharedClock;
use crate::config::IngestConfig;
use crate::directory::Directory;
use crate::stream::{Log, LogError};
use crate::telemetry::metrics::{INGEST_DEDUPE_BYTES, INGEST_IN_FLIGHT};

use admission::Admission;
use advice::Advisor;
use body::Bodies;
use dedupe::Dedupe;
use meters::Meters;

/// How often the gauges are brought up to date.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// The slice. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    config: IngestConfig,
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    access: Arc<Access>,
    clock: SharedClock,
    dedupe: Arc<Dedupe>,
    admission: Admission,
    advisor: Advisor,
    bodies: Bodies,
}

impl Ingest {
    /// Takes uploads into `log`. A body must arrive within `body_timeout`. Made after the metrics
    /// recorder is installed.
    ///
    /// # Errors
    /// If the log lacks one of our topics.
    pub fn new(
        config: &IngestConfig,
        body_timeout: Duration,
        log: Arc<dyn Log>,
        directory: Arc<Directory>,
        access: Arc<Access>,
        clock: SharedClock,
    ) -> Result<Self, LogError> {
        let dedupe = Dedupe::new(config.dedupe_mib << 20);
        let admission = Admission::new(
            log.clone(),
            dedupe.clone(),
            config.max_in_flight,
            Meters::new(),
        )?;
        Ok(Self(Arc::new(Inner {
            advisor: Advisor::new(config.clone(), directory.clone()),
            bodies: Bodies::new(
                config.max_body_kib << 10,
                body_timeout,
                config.max_buffered_mib << 20,
            ),
            config: config.clone(),
            log,
            directory,
            access,
            clock,
            dedupe,
            admission,
        })))
    }

    /// Reads what is known about duplicates back from the end of the log; answers how many records
    /// that took. Awaited once, before phones are let in.
    ///
    /// # Errors
    /// If the log cannot be asked, or has stopped.
    pub async fn rebuild(&self) -> Result<u64, LogError> {
        rebuild::rebuild(&*self.0.log, &self.0.dedupe).await
    }

    /// Keeps the gauges up to date until `stop`, then waits for appends whose phones have gone. To
    /// be awaited after the listeners are closed and before the log is.
    ///
    /// # Errors
    /// Never; the type is that of every slice.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(GAUGES_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {
                    gauge!(INGEST_IN_FLIGHT).set(self.0.admission.in_flight() as f64);
                    gauge!(INGEST_DEDUPE_BYTES).set(self.0.dedupe.bytes() as f64);
                }
            }
        }
        self.0.admission.finish().await;
        Ok(())
    }
}
