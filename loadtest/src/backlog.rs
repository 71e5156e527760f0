//! A backlog for a group that is measured later: uploads, as many as go through, while no consumer
//! runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::Api;
use crate::provision;
use crate::stand::Stand;
use crate::uploads::{Counts, Phones, Shape, drive};

/// Connections that upload.
const CONNECTIONS: usize = 256;

/// How large a backlog shall become.
#[derive(Clone, Copy)]
pub struct Backlog {
    /// Couriers, each with a phone.
    pub couriers: usize,
    /// Fixes an upload.
    pub fixes: usize,
    /// Seconds of uploads.
    pub seconds: u64,
}

impl Backlog {
    /// Fills the log of `stand` with a server that has no consumer, and stops that server; answers
    /// how many fixes were acknowledged. `phones` are those of the backlog before, if there was one.
    pub async fn fill(self, stand: &mut Stand, phones: &mut Option<Phones>) -> anyhow::Result<f64> {
        let server = stand.serve("ingest,dispatch", &[]).await?;
        let api = Api::new(&server.target.url, &server.target.api_key)?;
        let phones = match phones {
            Some(phones) => phones,
            none => none.insert(Phones::new(provision::phones(&api, self.couriers).await?)),
        };
        let shape = Shape {
            fixes: self.fixes,
            connections: CONNECTIONS,
            pipeline: 1,
            rate: None,
        };
        let counts = Arc::new(Counts::default());
        let time = Duration::from_secs(self.seconds);
        drive(&api, shape, phones, time, None, &counts).await?;
        server.stop().await?;
        Ok(counts.accepted.load(Ordering::Relaxed) as f64)
    }
}
