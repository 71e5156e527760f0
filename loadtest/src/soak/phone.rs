//! A phone of the soak: sends, loses connections, hangs up, repeats itself, sends nonsense; and sends
//! every upload again until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

use super::ledger::{Account, Expected};
use crate::api::Api;
use crate::client::{Answer, Connection};
use crate::provision::Phone;
use crate::template::STEP_MS;

/// Most fixes of an upload.
const MAX_FIXES: u64 = 100;
/// Pauses between tries while the server is away.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// An answer that has not come by then is taken for lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Out of so many uploads …
const OF: u32 = 1000;
/// … so many come on a new connection,
const RECONNECT: u32 = 30;
/// … break off in the middle of the request,
const BREAK_OFF: u32 = 10;
/// … hang up before the answer,
const HANG_UP: u32 = 15;
/// … repeat the one before,
const REPEAT: u32 = 30;
/// … hold a bad fix,
const BAD_FIX: u32 = 50;
/// … cannot be read at all.
const NONSENSE: u32 = 10;

/// What phones are told while they run.
#[derive(Default)]
pub struct Orders {
    /// Finish what is under way, then stop.
    pub stop: AtomicBool,
    /// Raised when all connections are to be dropped.
    pub storm: AtomicU64,
}

/// The phone.
pub struct SoakPhone {
    api: Api,
    phone: Phone,
    chance: StdRng,
    connection: Option<Connection>,
    first_ms: u64,
    account: Account,
    storms_seen: u64,
}

/// An upload's body with what is in it.
struct Upload {
    body: String,
    good: u64,
    bad: u64,
}

#[derive(Deserialize)]
struct Told {
    accepted: u64,
    duplicate: u64,
    quarantined: Vec<serde::de::IgnoredAny>,
}

impl SoakPhone {
    pub fn new(api: &Api, phone: Phone, first_ms: u64, seed: u64) -> Self {
        Self {
            api: api.clone(),
            phone,
            chance: StdRng::seed_from_u64(seed),
            connection: None,
            first_ms,
            account: Account::default(),
            storms_seen: 0,
        }
    }

    /// Sends uploads, on average one every `every`, until told to stop; every one is acknowledged
    /// before it returns.
    pub async fn run(
        mut self,
        orders: Arc<Orders>,
        every: Duration,
    ) -> anyhow::Result<(Account, Expected)> {
        let mut last: Option<Upload> = None;
        while !orders.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(every.mul_f64(self.chance.random_range(0.2..1.8))).await;
            let storms = orders.storm.load(Ordering::Relaxed);
            if storms != std::mem::replace(&mut self.storms_seen, storms) || self.one_in(RECONNECT)
            {
                self.connection = None;
            }
            if self.one_in(NONSENSE) {
                self.send_nonsense().await?;
            }
            if let Some(upload) = last
                .take()
                .filter(|_| self.chance.random_range(0..OF) < REPEAT)
            {
                self.account.repeated += upload.good;
                self.deliver(&upload).await?;
            }
            let upload = self.next_upload();
            self.account.made += upload.good;
            self.deliver(&upload).await?;
            last = Some(upload);
        }
        let expected = Expected {
            courier: self.phone.courier,
            first_ms: self.first_ms,
            made: self.account.made,
        };
        Ok((self.account, expected))
    }

    fn one_in(&mut self, share: u32) -> bool {
        self.chance.random_range(0..OF) < share
    }

    fn next_upload(&mut self) -> Upload {
        let good = self.chance.random_range(1..=MAX_FIXES);
        let mut fixes: Vec<String> = (0..good)
            .map(|i| {
                let n = self.account.made + i;
                let (time, lat) = (self.first_ms + n * STEP_MS, n % 10_000);
                format!(r#"{{"fix_time":{time},"lat":35.{lat:04},"lon":14.5,"speed_mps":4.2}}"#)
            })
            .collect();
        let mut bad = 0;
        if self.one_in(BAD_FIX) {
            bad = 1;
            let at = self.chance.random_range(0..=fixes.len());
            fixes.insert(at, r#"{"fix_time":1,"lat":135.0,"lon":"here"}"#.to_owned());
        }
        Upload {
            body: format!("[{}]", fixes.join(",")),
            good,
            bad,
        }
    }

    /// Sends an upload until it is acknowledged.
    async fn deliver(&mut self, upload: &Upload) -> anyhow::Result<()> {
        let fixes = upload.good + upload.bad;
        loop {
            match self.try_once(&upload.body).await {
                Ok(Some(answer)) if answer.status == 200 => {
                    let told: Told = serde_json::from_slice(&answer.body)?;
                    self.account.sent += fixes;
                    self.account.accepted += told.accepted;
                    self.account.duplicate += told.duplicate;
                    self.account.quarantined += told.quarantined.len() as u64;
                    return Ok(());
                }
                Ok(Some(answer)) if answer.status == 503 || answer.status == 429 => {
                    self.account.sent += fixes;
                    self.account.refused += fixes;
                }
                Ok(Some(answer)) => bail!(
                    "an upload was answered {}: {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                ),
                // Broken off before it was sent in full: nothing to account for.
                Ok(None) => {}
                Err(_) => self.account.unanswered += fixes,
            }
            self.connection = None;
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Sends a body once; `None` if it was not sent in full.
    async fn try_once(&mut self, body: &str) -> anyhow::Result<Option<Answer>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => match Connection::open(self.api.address).await {
                Ok(connection) => none.insert(connection),
                Err(_) => return Ok(None),
            },
        };
        let request = format!(
            "POST /v1/positions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.api.host,
            self.phone.token,
            body.len()
        );
        let dice = self.chance.random_range(0..OF);
        if dice < BREAK_OFF {
            let part = request.len() / 2;
            // Whether half of it arrives is all the same.
            connection
                .send(&request.as_bytes()[..part])
                .await
                .unwrap_or_default();
            return Ok(None);
        }
        connection.send(request.as_bytes()).await?;
        if dice < BREAK_OFF + HANG_UP {
            bail!("hung up before the answer");
        }
        let answer = tokio::time::timeout(PATIENCE, connection.answer()).await;
        answer.context("no answer")?.map(Some)
    }

    /// A body that is no upload: refused, and not a reason to close the connection.
    async fn send_nonsense(&mut self) -> anyhow::Result<()> {
        if let Ok(Some(answer)) = self.try_once("[{\"fix_time\":").await {
            if !matches!(answer.status, 400 | 503 | 429) {
                bail!("nonsense was answered {}", answer.status);
            }
            self.account.sent += 1;
            self.account.refused += 1;
        } else {
            self.connection = None;
        }
        Ok(())
    }
}
