//! Other phones that post meanwhile.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::posting::{Due, Posting};
use crate::provision;

/// Phones of the background; few, as making them takes long: each posts several times a second.
const PHONES: usize = 500;
const CONNECTIONS: usize = 100;
/// It goes on until it is stopped.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// What is ingested meanwhile.
#[derive(Args, Clone, Default, Serialize)]
pub struct Background {
    /// Fixes a second that other phones post meanwhile.
    #[arg(long, default_value_t = 0)]
    ingest: u32,
    /// Fixes an upload of theirs.
    #[arg(long, default_value_t = 1)]
    ingest_fixes: u32,
}

/// A background that goes on.
pub struct Going {
    task: JoinHandle<anyhow::Result<u64>>,
    sent: Arc<AtomicU64>,
}

impl Background {
    /// Begins, if there is to be one.
    pub async fn start(&self, api: &Api) -> anyhow::Result<Option<Going>> {
        if self.ingest == 0 {
            return Ok(None);
        }
        let fixes = u64::from(self.ingest_fixes.max(1));
        let uploads = f64::from(self.ingest) / fixes as f64;
        let posting = Posting {
            api: api.clone(),
            phones: provision::phones(api, PHONES).await?.into(),
            connections: CONNECTIONS,
            every: Duration::from_secs_f64(PHONES as f64 / uploads),
        };
        let gap_ms = (posting.every.as_millis() as u64 / fixes).max(1);
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        let body = move |due: Due, body: &mut String| {
            counted.fetch_add(fixes, Ordering::Relaxed);
            for n in 0..fixes {
                body.push(if n == 0 { '[' } else { ',' });
                let time = due.at_ms - (fixes - 1 - n) * gap_ms;
                let lat = 36.2 + due.phone as f64 * 1e-4 + (time % 600_000) as f64 * 1e-7;
                let written = write!(
                    body,
                    r#"{{"fix_time":{time},"lat":{lat:.7},"lon":14.2,"accuracy_m":6,"speed_mps":11.1}}"#
                );
                // Writing to memory does not fail.
                debug_assert!(written.is_ok());
            }
            body.push(']');
        };
        let task = tokio::spawn(async move { posting.run(LONG, body).await });
        Ok(Some(Going { task, sent }))
    }
}

impl Going {
    /// Fixes sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; an error if it has failed before.
    pub async fn stop(self) -> anyhow::Result<()> {
        if self.task.is_finished() {
            self.task.await??;
        } else {
            self.task.abort();
        }
        Ok(())
    }
}
