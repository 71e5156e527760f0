//! A server with this slice alone.

use std::sync::Arc;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::access::{Access, Chance, Limits};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::Config;
use crate::directory::{Directory, Sync};
use crate::dispatch::{Dispatch, Settings};
use crate::http::{Listen, Site, assemble};
use crate::test_support::TestDatabase;

pub(super) const ADMIN_KEY: &str = "admin-key-of-the-tests-0123456789";

pub(super) struct TestServer {
    pub(super) database: TestDatabase,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) url: String,
    pub(super) http: reqwest::Client,
    pub(super) access: Arc<Access>,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    _data: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn text(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no text {field} in {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().expect("text")
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With other settings than the defaults.
    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let data = tempfile::tempdir().expect("a folder");
        let directory = Directory::new();
        // The database has a clock of its own: begin where it is.
        let clock = ManualClock::at(SystemClock.now_ms());
        let pool = database.pool.clone();
        let sync = Sync::new(
            pool.clone(),
            directory.clone(),
            clock.clone(),
            data.path().to_owned(),
        );
        sync.load_or_snapshot().await.expect("filled");
        let mut config = Config::defaults().expect("defaults");
        // Tests ask quickly, and wrongly on purpose.
        let limits = &mut config.limits;
        (limits.device_per_s, limits.key_per_s, limits.wrong_per_s) = (0, 0, 0);
        change(&mut config);
        let access = {
            let limits = Limits::new(config.limits);
            Access::over(sync.clone(), clock.clone(), Some(ADMIN_KEY), limits)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let dispatch = Dispatch::new(
            pool,
            sync,
            access.clone(),
            clock.clone(),
            Chance::seeded(4),
            url.as_str().into(),
            Settings::of(&config),
        );
        let dispatch = dispatch.expect("made");
        let site = Site {
            uploads: OpenApiRouter::new(),
            api: dispatch.routes(),
            access: access.clone(),
            demo: dispatch.demo_flag(),
        };
        let router = assemble(site, &config, &url);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(Listen::of(&config.http).serve(listener, router, stop.clone()));
        // Whoever is first installs it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("a client");
        Self {
            database,
            directory,
            clock,
            url,
            http,
            access,
            stop,
            serving,
            _data: data,
        }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        drop(self.http);
        self.serving.await.expect("no panic").expect("stops");
        self.database.drop_database().await;
    }

    /// A request with a key or a token.
    pub(super) fn request(&self, method: Method, path: &str, bearer: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if bearer.is_empty() {
            request
        } else {
            request.bearer_auth(bearer)
        }
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("answered");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer {
            status,
            headers,
            body,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, ADMIN_KEY)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path, ADMIN_KEY).json(&body))
            .await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path, ADMIN_KEY).json(&body))
            .await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path, ADMIN_KEY))
            .await
    }

    /// A courier with a phone; answers the phone's token.
    pub(super) async fn courier(&self, id: &str) -> String {
        self.post(
            "/v1/couriers",
            json!({"id": id, "name": format!("Courier {id}")}),
        )
        .await
        .expect(201);
        let device = self
            .post(&format!("/v1/couriers/{id}/devices"), json!({}))
            .await
            .expect(201);
        device.text("token").to_owned()
    }

    /// A delivery with these fields beside its stops.
    pub(super) async fn delivery(&self, id: &str, more: Value) -> Answer {
        let mut body = json!({
            "id": id,
            "pickup": {"lat": 35.8989, "lon": 14.5146, "label": "Bakery"},
            "dropoff": {"lat": 35.9122, "lon": 14.5040, "label": "Tower Road 12"},
        });
        for (field, value) in more.as_object().expect("an object") {
            body[field] = value.clone();
        }
        self.post("/v1/deliveries", body).await
    }

    pub(super) async fn key(&self, role: &str) -> String {
        let key = self
            .post("/v1/api-keys", json!({"role": role, "name": role}))
            .await
            .expect(201);
        key.text("key").to_owned()
    }
}
