//! A patient client of Waylog's public HTTP API, for the tools of this program.
//!
//! Invariant: an answer of 5xx or 429 and a broken connection are tried again, as a phone would,
//! until the [`patience`](Api::new) for one call is used up; any other answer is handed back as it
//! is. So a call that is made twice must mean the same as once: creations carry an
//! `Idempotency-Key`, and fixes are known by courier and time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::UsageError;
use crate::domain::CourierId;

/// First pause before another try; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause that a `Retry-After` can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// An answer that has not come by then is as good as none.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 16 << 20;

/// A server, by its public API. Connections are kept and shared.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    patience: Duration,
    turn: AtomicU32,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    method: Method,
    path: &'a str,
    bearer: &'a str,
    idempotency_key: Option<&'a str>,
    body: Option<Vec<u8>>,
}

impl<'a> Call<'a> {
    /// A request of `path` (with its leading slash) by the holder of `bearer`.
    #[must_use]
    pub fn new(method: Method, path: &'a str, bearer: &'a str) -> Self {
        Self {
            method,
            path,
            bearer,
            idempotency_key: None,
            body: None,
        }
    }

    /// Gives it a JSON body.
    ///
    /// # Errors
    /// If `body` is not JSON, as a map with keys that are not text.
    pub fn json(mut self, body: &impl Serialize) -> anyhow::Result<Self> {
        self.body = Some(serde_json::to_vec(body).context("write a request's body")?);
        Ok(self)
    }

    /// Makes a creation one that can be tried again.
    #[must_use]
    pub fn idempotency_key(mut self, key: &'a str) -> Self {
        self.idempotency_key = Some(key);
        self
    }
}

/// An answer that was not a request to try again.
#[derive(Debug)]
pub struct Answer {
    /// Its status code.
    pub status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads the body.
    ///
    /// # Errors
    /// If it is not the JSON that was expected.
    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("read the server's answer ({})", self.status))
    }

    /// The body of an answer with a 2xx status.
    ///
    /// # Errors
    /// If the status is another one (the error holds the server's own words), or the body not the
    /// JSON that was expected.
    pub fn success<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        if self.status.is_success() {
            return self.json();
        }
        Err(anyhow::anyhow!("the server answered {}", self.problem()))
    }

    /// The status and what the server says about it.
    #[must_use]
    pub fn problem(&self) -> String {
        #[derive(Deserialize)]
        struct Problem {
            detail: Option<String>,
            title: Option<String>,
        }
        let said = serde_json::from_slice::<Problem>(&self.body).ok();
        match said.and_then(|p| p.detail.or(p.title)) {
            Some(words) => format!("{}: {words}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// The server could not be reached, or had no time, for longer than the patience of one call.
#[derive(Debug, thiserror::Error)]
#[error("gave up after {tries} tries in {}s: {last}", .after.as_secs())]
pub struct GaveUp {
    tries: u32,
    after: Duration,
    last: String,
}

/// A device that was just made: its token is shown this once.
#[derive(Debug, Deserialize)]
pub struct NewDevice {
    /// The bearer token of the device.
    pub token: String,
}

impl Api {
    /// A client of the server at `url`, which waits for up to `patience` for one call to succeed.
    ///
    /// # Errors
    /// [`UsageError`] if `url` is none.
    pub fn new(url: &str, patience: Duration) -> anyhow::Result<Self> {
        let plain = url.starts_with("http://");
        if !plain && !url.starts_with("https://") {
            let why = format!("--url must begin with http:// or https://, not {url}");
            return Err(UsageError(why).into());
        }
        // Only the first call in a process counts; every caller installs the same one.
        if rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
        {
            tracing::trace!("a TLS provider is installed already");
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("waylog/", env!("CARGO_PKG_VERSION")))
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if plain {
            // A machine without root certificates can still speak plain HTTP.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            http: http.build().context("make an HTTP client")?,
            base: url.trim_end_matches('/').to_owned(),
            patience,
            turn: AtomicU32::new(0),
        })
    }

    /// Makes a call until it is answered with something else than "try again".
    ///
    /// # Errors
    /// [`GaveUp`] when that took too long.
    pub async fn call(&self, call: &Call<'_>) -> Result<Answer, GaveUp> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        for tries in 1.. {
            let (asked, last) = match self.try_once(call).await {
                Ok(Tried::Answered(answer)) => return Ok(answer),
                Ok(Tried::Later { asked, status }) => (asked, format!("the server says {status}")),
                Err(error) => (None, describe(&error)),
            };
            let wait = asked.map_or_else(|| self.jitter(pause), |a| a.min(LONGEST_RETRY_AFTER));
            if begun.elapsed() + wait > self.patience {
                return Err(GaveUp {
                    tries,
                    after: begun.elapsed(),
                    last,
                });
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("the loop ends only by returning")
    }

    async fn try_once(&self, call: &Call<'_>) -> Result<Tried, reqwest::Error> {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{}{}", self.base, call.path))
            .bearer_auth(call.bearer);
        if let Some(key) = call.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let mut response = request.send().await?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let asked = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok());
            let asked = asked
                .and_then(|v| v.trim().parse().ok())
                .map(Duration::from_secs);
            return Ok(Tried::Later { asked, status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Tried::Answered(Answer { status, body }))
    }

    /// Half to all of `pause`, another share each time, so that many callers spread out.
    fn jitter(&self, pause: Duration) -> Duration {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Multiples of the golden ratio fill the unit interval evenly.
        let share = (f64::from(turn) * 0.618_033_988_749_895).fract();
        pause.mul_f64(0.5 + share / 2.0)
    }

    /// Makes sure that a courier exists. `courier` is the body of the creation and bears `id`.
    ///
    /// # Errors
    /// If the server refuses, or cannot be reached.
    pub async fn ensure_courier(
        &self,
        api_key: &str,
        id: &CourierId,
        courier: &impl Serialize,
    ) -> anyhow::Result<()> {
        let call = Call::new(Method::POST, "/v1/couriers", api_key).json(courier)?;
        let answer = self.call(&call).await?;
        if answer.status.is_success() || answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        Err(anyhow::anyhow!("create courier {id}: {}", answer.problem()))
    }

    /// Makes a device of a courier and returns its token. `key` makes the creation repeatable.
    ///
    /// # Errors
    /// If the server refuses, or cannot be reached.
    pub async fn create_device(
        &self,
        api_key: &str,
        id: &CourierId,
        label: &str,
        key: &str,
    ) -> anyhow::Result<String> {
        let path = format!("/v1/couriers/{id}/devices");
        let call = Call::new(Method::POST, &path, api_key)
            .json(&serde_json::json!({ "label": label }))?
            .idempotency_key(key);
        let answer = self.call(&call).await?;
        let device: NewDevice = answer
            .success()
            .with_context(|| format!("create a device of courier {id}"))?;
        Ok(device.token)
    }
}

enum Tried {
    Answered(Answer),
    Later {
        asked: Option<Duration>,
        status: StatusCode,
    },
}

/// The root of what went wrong, without the URL.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_connect() {
        format!("cannot connect: {cause}")
    } else {
        cause.to_string()
    }
}

/// A native upload as `POST /v1/positions` takes it.
#[derive(Debug, Serialize)]
pub struct Upload<'a> {
    /// The fixes.
    pub fixes: &'a [UploadFix],
}

/// One fix of a native upload. Numbers are sent as they are: what is right is for the server to
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UploadFix {
    /// Unix milliseconds.
    pub fix_time: i64,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f32>,
    /// Metres a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f32>,
    /// Degrees, 0 north, clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<f32>,
    /// Metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altitude_m: Option<f32>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_pct: Option<u8>,
}

/// What became of a native upload.
#[derive(Debug, Deserialize)]
pub struct Uploaded {
    /// Fixes that were stored.
    pub accepted: u64,
    /// Fixes that were there already.
    pub duplicate: u64,
    /// Fixes that were put aside.
    pub quarantined: Vec<Quarantined>,
}

/// A fix that was put aside.
#[derive(Debug, Deserialize)]
pub struct Quarantined {
    /// Its place in the upload.
    pub index: usize,
    /// Why.
    pub reason: String,
}
