//! What surrounds every handler: the request's metrics, an answer even to a panic, limits on time and
//! on what one address may ask, and [`Access`] for the extractors. One layer, so that the phones' way
//! stays short.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{ClientAddr, Problem};
use crate::access::Access;
use crate::telemetry::metrics::{HTTP_REQUESTS, HTTP_SECONDS};

/// Surrounds the routes it is laid on.
#[derive(Clone)]
pub struct Guard {
    access: Arc<Access>,
    timeout: Option<Duration>,
    observed: Arc<Observed>,
}

impl Guard {
    /// Without a limit on time or on an address: for phones, which are bounded each for itself and
    /// may share an address by thousands; their routes bound the reading of bodies themselves.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            timeout: None,
            observed: Arc::default(),
        }
    }

    /// The same with limits on the time until the answer begins and on each address.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self.clone()
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.clone(),
        }
    }
}

/// A service with a [`Guard`] around it.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let method = MethodName::of(request.method());
        let path = request.extensions().get::<MatchedPath>();
        let route = self
            .guard
            .observed
            .route(path.map_or("other", MatchedPath::as_str));
        let access = self.guard.access.clone();
        let address = request
            .extensions()
            .get::<ClientAddr>()
            .map(|client| client.0);
        let timeout = self.guard.timeout;
        if let (Some(address), Some(_)) = (address, timeout)
            && let Err(wait_s) = access.limits().address(address)
        {
            route
                .requests(method, StatusCode::TOO_MANY_REQUESTS)
                .increment(1);
            let refused = Problem::too_many("too many requests from this address", wait_s);
            return Box::pin(std::future::ready(Ok(refused.into_response())));
        }
        request.extensions_mut().insert(access.clone());
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let answer = match timeout {
                None => answer.await,
                Some(timeout) => match tokio::time::timeout(timeout, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(Ok(took_too_long())),
                },
            };
            let response = match answer {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => panicked(&*panic, &route.name),
            };
            let response = match address {
                Some(address) if response.status() == StatusCode::UNAUTHORIZED => {
                    match access.limits().wrong(address) {
                        Ok(()) => response,
                        Err(wait_s) => guessed_too_often(wait_s),
                    }
                }
                _ => response,
            };
            route.requests(method, response.status()).increment(1);
            route.seconds.record(started.elapsed().as_secs_f64());
            Ok(response)
        })
    }
}

fn guessed_too_often(wait_s: u32) -> Response {
    let detail = "too many wrong credentials from this address";
    Problem::too_many(detail, wait_s).into_response()
}

fn took_too_long() -> Response {
    let detail = "the request took too long; send it again, or ask for less at once";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
}

fn panicked(panic: &(dyn Any + Send), route: &str) -> Response {
    // The message may quote what was sent: only where it happened goes to the log, by the hook.
    let known = panic.is::<&'static str>() || panic.is::<String>();
    tracing::error!(route, known, "a handler panicked");
    let detail = "the server failed; its log says where";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// Handles of the metrics of each route, looked up once.
#[derive(Default)]
struct Observed(RwLock<FxHashMap<String, Arc<Route>>>);

struct Route {
    name: String,
    seconds: Histogram,
    requests: RwLock<FxHashMap<(MethodName, u16), Counter>>,
}

impl Observed {
    fn route(&self, name: &str) -> Arc<Route> {
        if let Some(route) = self.0.read().get(name) {
            return route.clone();
        }
        let route = Arc::new(Route {
            name: name.to_owned(),
            seconds: histogram!(HTTP_SECONDS, "route" => name.to_owned()),
            requests: RwLock::default(),
        });
        self.0
            .write()
            .entry(name.to_owned())
            .or_insert(route)
            .clone()
    }
}

impl Route {
    fn requests(&self, method: MethodName, status: StatusCode) -> Counter {
        let class = status.as_u16() / 100;
        if let Some(counter) = self.requests.read().get(&(method, class)) {
            return counter.clone();
        }
        let counter = counter!(HTTP_REQUESTS, "route" => self.name.clone(), "method" => method.0,
            "status" => format!("{class}xx"));
        self.requests
            .write()
            .entry((method, class))
            .or_insert(counter)
            .clone()
    }
}

/// One of the methods that exist: a caller's invention must not become a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct MethodName(&'static str);

impl MethodName {
    fn of(method: &Method) -> Self {
        Self(match method.as_str() {
            "GET" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "HEAD" => "HEAD",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        })
    }
}
