//! One call of one webhook.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::Instant;

use super::address::{AddressRefused, GuardedResolver, check_literal};
use super::secret::{WebhookSecret, signatures};
use crate::clock::SharedClock;
use crate::domain::UnixMs;

/// Of an answer at most so much is read, bytes: only its status counts.
const ANSWER_READ: usize = 64 * 1024;
/// Longest error that is kept, characters.
const ERROR_LEN: usize = 300;
/// Longest time that a receiver may ask for by Retry-After, seconds.
const LONGEST_RETRY_AFTER_S: i64 = 3_600;
/// Idle connections kept an endpoint.
const IDLE_CONNECTIONS: usize = 64;
/// A connection must be there by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a webhook is called and how the call is signed.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Target {
    pub(in super::super) url: Url,
    pub(in super::super) secret: WebhookSecret,
    /// The secret before the rotation, and until when it signs too.
    pub(in super::super) previous: Option<(WebhookSecret, UnixMs)>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Called {
    pub(in super::super) verdict: Verdict,
    /// The receiver's status, where it answered.
    pub(in super::super) status: Option<u16>,
    /// What went wrong, for the people who look after the endpoint.
    pub(in super::super) error: Option<String>,
}

/// What follows from a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// The receiver has it.
    Delivered,
    /// To be tried again; the receiver may have asked for a pause, seconds.
    Failed { retry_after_s: Option<i64> },
    /// 410: the receiver wants no more calls.
    Gone,
}

/// Calls webhooks. Cheap to clone.
#[derive(Clone)]
pub(in super::super) struct Sender {
    /// Or why there is none, as on a machine without certificates.
    client: Result<Client, String>,
    clock: SharedClock,
    timeout: Duration,
    allow_private: bool,
}

impl Sender {
    pub(in super::super) fn new(
        clock: SharedClock,
        timeout: Duration,
        allow_private: bool,
    ) -> Self {
        // Whoever was first in this process has installed the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .user_agent(concat!("Waylog-Webhooks/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .no_gzip()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .dns_resolver(GuardedResolver { allow_private })
            .build()
            .map_err(|e| reason(&e));
        Self {
            client,
            clock,
            timeout,
            allow_private,
        }
    }

    /// Posts `body` to `target`. Every failure is an outcome, not an error.
    pub(in super::super) async fn call(&self, target: &Target, id: &str, body: Vec<u8>) -> Called {
        let until = Instant::now() + self.timeout;
        let answer = match tokio::time::timeout_at(until, self.post(target, id, body)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return failed(None, error),
            Err(_) => {
                let s = self.timeout.as_secs_f32();
                return failed(None, format!("no answer within {s} s"));
            }
        };
        let called = judge(answer.status(), retry_after_s(answer.headers()));
        // What the receiver thinks is known; the rest is read so that the connection can be kept,
        // as long as it is short and comes soon.
        drop(tokio::time::timeout_at(until, read(answer)).await);
        called
    }

    async fn post(&self, target: &Target, id: &str, body: Vec<u8>) -> Result<Response, String> {
        check_literal(&target.url, self.allow_private).map_err(|e| e.to_string())?;
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let headers = self
            .headers(target, id, &body)
            .ok_or("the event's id is no header")?;
        let request = client.post(target.url.clone()).headers(headers).body(body);
        request.send().await.map_err(|e| reason(&e))
    }

    fn headers(&self, target: &Target, id: &str, body: &[u8]) -> Option<HeaderMap> {
        let now = UnixMs(self.clock.now_ms());
        let timestamp_s = now.0.div_euclid(1000);
        let mut secrets = vec![&target.secret];
        if let Some((previous, until)) = &target.previous
            && *until > now
        {
            secrets.push(previous);
        }
        let signature = signatures(&secrets, id, timestamp_s, body);
        let header = |name, value: &str| {
            Some((
                HeaderName::from_static(name),
                HeaderValue::from_str(value).ok()?,
            ))
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend([
            header("webhook-id", id)?,
            header("webhook-timestamp", &timestamp_s.to_string())?,
            header("webhook-signature", &signature)?,
        ]);
        Some(headers)
    }
}

/// Reads an answer's body, up to [`ANSWER_READ`]; a longer one is dropped with its connection.
async fn read(mut answer: Response) {
    let mut read = 0;
    while read < ANSWER_READ {
        match answer.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

fn judge(status: StatusCode, retry_after_s: Option<i64>) -> Called {
    let code = status.as_u16();
    if status.is_success() {
        return Called {
            verdict: Verdict::Delivered,
            status: Some(code),
            error: None,
        };
    }
    if status == StatusCode::GONE {
        let error = Some("the receiver answered 410 Gone: it wants no more calls".to_owned());
        return Called {
            verdict: Verdict::Gone,
            status: Some(code),
            error,
        };
    }
    let why = if status.is_redirection() {
        ": redirects are not followed"
    } else {
        ""
    };
    let mut called = failed(Some(code), format!("the receiver answered {status}{why}"));
    called.verdict = Verdict::Failed { retry_after_s };
    called
}

fn failed(status: Option<u16>, error: String) -> Called {
    let error = Some(error.chars().take(ERROR_LEN).collect());
    Called {
        verdict: Verdict::Failed {
            retry_after_s: None,
        },
        status,
        error,
    }
}

fn retry_after_s(headers: &HeaderMap) -> Option<i64> {
    let seconds: i64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.clamp(0, LONGEST_RETRY_AFTER_S))
}

/// The innermost cause, without the URL, which may hold the receiver's own secrets.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        if inner.is::<AddressRefused>() {
            return inner.to_string();
        }
        cause = inner;
    }
    let what = if error.is_connect() {
        "cannot connect"
    } else {
        "the call failed"
    };
    match error.source() {
        Some(_) => format!("{what}: {cause}"),
        None => what.to_owned(),
    }
}
