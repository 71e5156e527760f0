//! The way in for live connections: which origins may connect, how many are open, and the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Problem;

/// At a stop, sockets are closed over this long.
pub(crate) const DRAIN_OVER: Duration = Duration::from_secs(10);

/// Lets connections in, and sends them away at a stop. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `https://host[:port]` of our own pages, and of others that may call the API.
    origins: Box<[Box<str>]>,
    drain: CancellationToken,
    open: TaskTracker,
    drained: AtomicU32,
}

impl Gate {
    /// Our own pages are below `public_url`; `others` may connect as well.
    pub(crate) fn new(public_url: &str, others: &[String]) -> Self {
        let others = others.iter().map(|origin| origin_of(origin).into());
        Self(Arc::new(Inner {
            origins: others.chain([origin_of(public_url).into()]).collect(),
            drain: CancellationToken::new(),
            open: TaskTracker::new(),
            drained: AtomicU32::new(0),
        }))
    }

    /// Refuses new connections while the server is stopping.
    pub(crate) fn admit(&self) -> Result<(), Problem> {
        if self.0.drain.is_cancelled() {
            return Err(Problem::unavailable("the server is stopping; reconnect", 2));
        }
        Ok(())
    }

    /// Whether the page that connects is one of our own, or of a site that may call the API.
    /// Programs send no `Origin`: they are let through to the token check.
    pub(crate) fn allows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        // A server that is not told its public URL is known by the name it was called.
        let called = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let known = self.0.origins.iter().any(|known| **known == *origin);
        known || (called.is_some() && authority == called)
    }

    /// Held by every open connection.
    pub(crate) fn enter(&self) -> tokio_util::task::task_tracker::TaskTrackerToken {
        self.0.open.token()
    }

    /// Cancelled when connections are to be sent away.
    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.0.drain
    }

    /// When a connection that is drained should be closed: evenly spread, each after another.
    pub(crate) fn drain_after(&self) -> Duration {
        // Multiples of the golden ratio fill [0, 1) evenly, however many there are.
        let n = self.0.drained.fetch_add(1, Ordering::Relaxed);
        let share = (f64::from(n) * 0.618_033_988_749_895).fract();
        DRAIN_OVER.mul_f64(share * 0.9)
    }

    /// Sends everybody away and waits until they are gone, or the time for it is over.
    pub(crate) async fn close(&self) {
        self.0.drain.cancel();
        self.0.open.close();
        let patience = DRAIN_OVER + Duration::from_secs(2);
        if tokio::time::timeout(patience, self.0.open.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                open = self.0.open.len(),
                "live connections were cut at the stop"
            );
        }
    }
}

/// Scheme and authority of a URL.
fn origin_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..]
        .find('/')
        .map_or(url.len(), |at| after_scheme + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &str, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().expect("a value"));
        headers.insert(header::HOST, host.parse().expect("a value"));
        headers
    }

    #[test]
    fn only_our_own_pages_and_programs_come_in() {
        let shop = "https://shop.example.org".to_owned();
        let gate = Gate::new("https://track.example.com/base", &[shop]);
        assert!(gate.allows_origin(&HeaderMap::new()));
        assert!(gate.allows_origin(&headers("https://track.example.com", "10.0.0.1:8080")));
        assert!(gate.allows_origin(&headers("http://10.0.0.1:8080", "10.0.0.1:8080")));
        assert!(gate.allows_origin(&headers("https://shop.example.org", "10.0.0.1:8080")));
        for evil in [
            "https://evil.example",
            "http://shop.example.org",
            "null",
            "https://track.example.com.evil.example",
        ] {
            assert!(
                !gate.allows_origin(&headers(evil, "track.example.com")),
                "{evil}"
            );
        }
    }

    #[test]
    fn a_drain_is_spread_evenly() {
        let gate = Gate::new("http://localhost", &[]);
        let mut a_second = [0; 9];
        for _ in 0..9_000 {
            a_second[gate.drain_after().as_secs() as usize] += 1;
        }
        assert!(
            a_second.iter().all(|n| (990..=1010).contains(n)),
            "{a_second:?}"
        );
    }
}
