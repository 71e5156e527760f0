//! `/v1/webhooks` and `/v1/events` as a dispatcher uses them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::{Extension, Router};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::fixture::{count, eventually, insert_event, system_clock};
use super::receiver::{Behaviour, Receiver};
use crate::access::{Access, SecretKind, issue};
use crate::directory::{ApiKey, Directory, Role};
use crate::domain::rules::RuleSet;
use crate::notifications::backtest::Backtests;
use crate::notifications::outbox::Sender;
use crate::notifications::routes::Api;
use crate::test_support::TestDatabase;

struct Caller {
    router: Router,
    key: String,
}

impl Caller {
    fn new(database: &TestDatabase, role: Role, allow_private: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(5);
        let directory = Directory::new();
        let secret = issue(SecretKind::ApiKey, &mut rng);
        let key = ApiKey {
            id: Uuid::now_v7(),
            name: None,
            role,
            key_hash: secret.hash,
        };
        directory.put_api_key(key);
        let clock = system_clock();
        let api = Api {
            pool: database.pool.clone(),
            sender: Sender::new(clock.clone(), Duration::from_secs(20), allow_private),
            clock: clock.clone(),
            rng: Arc::new(Mutex::new(rng)),
            allow_private,
            rules: RuleSet::default(),
            backtests: Backtests::default(),
        };
        let (router, _) = api.routes().split_for_parts();
        let access = Access::new(directory, clock);
        Self {
            router: router.layer(Extension(access)),
            key: secret.secret,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", path)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }
}

#[tokio::test]
async fn a_webhook_is_made_read_changed_and_deleted() {
    let database = TestDatabase::create().await;
    let caller = Caller::new(&database, Role::Dispatcher, false);
    let new = json!({"url": "https://example.org/hook", "events": ["delivery.*"]});
    let (status, made) = caller.call(Method::POST, "/v1/webhooks", new.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert!(
        made["secret"]
            .as_str()
            .is_some_and(|s| s.starts_with("whsec_"))
    );
    // The same request again is the same webhook.
    let (status, again) = caller.call(Method::POST, "/v1/webhooks", new).await;
    assert_eq!((status, &again), (StatusCode::CREATED, &made));
    let other = json!({"url": "https://example.org/other"});
    let (status, _) = caller.call(Method::POST, "/v1/webhooks", other).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    let path = format!("/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    let read = caller.get(&path).await;
    assert_eq!(
        (&read["url"], &read["health"]),
        (&made["url"], &json!("unknown"))
    );
    assert!(read.get("secret").is_none(), "shown once");
    let change = json!({"enabled": false, "events": ["*"]});
    let (_, changed) = caller.call(Method::PATCH, &path, change).await;
    assert_eq!(
        (&changed["events"], &changed["health"]),
        (&json!(["*"]), &json!("disabled"))
    );
    let (_, rotated) = caller
        .call(Method::POST, &format!("{path}/rotate"), json!({}))
        .await;
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(
        caller.get("/v1/webhooks").await["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let (status, _) = caller.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/attempts")),
        (Method::POST, format!("{path}/test")),
        (Method::GET, "/v1/webhooks/no-uuid".into()),
    ] {
        let (status, problem) = caller.call(method, &path, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
    }
    database.drop_database().await;
}

#[tokio::test]
async fn bad_webhooks_are_refused_with_the_reason() {
    let database = TestDatabase::create().await;
    let caller = Caller::new(&database, Role::Admin, false);
    for (new, reason) in [
        (json!({"url": "example.org/hook"}), "url"),
        (json!({"url": "ftp://example.org/hook"}), "https://"),
        (
            json!({"url": "https://user:secret@example.org/"}),
            "password",
        ),
        (
            json!({"url": "http://127.0.0.1/hook"}),
            "allow_private_endpoints",
        ),
        (
            json!({"url": "http://[::1]/hook"}),
            "allow_private_endpoints",
        ),
        (
            json!({"url": format!("https://example.org/{}", "x".repeat(3_000))}),
            "2048",
        ),
        (
            json!({"url": "https://example.org/", "events": []}),
            "patterns",
        ),
        (
            json!({"url": "https://example.org/", "events": ["delivery"]}),
            "delivery.*",
        ),
        (json!({"url": "https://example.org/", "evnts": []}), "evnts"),
    ] {
        let (status, problem) = caller.call(Method::POST, "/v1/webhooks", new.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{new}");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(reason), "{new}: {detail}");
    }
    let analyst = Caller::new(&database, Role::Analyst, false);
    for path in ["/v1/webhooks", "/v1/events"] {
        let (status, _) = analyst.call(Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn a_test_call_says_what_it_came_to() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(Behaviour::Status(500)).await;
    let caller = Caller::new(&database, Role::Dispatcher, true);
    let new = json!({"url": receiver.url()});
    let (_, made) = caller.call(Method::POST, "/v1/webhooks", new).await;
    let path = format!("/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    let (_, tested) = caller
        .call(Method::POST, &format!("{path}/test"), json!({}))
        .await;
    assert_eq!(
        (&tested["delivered"], &tested["status"]),
        (&json!(false), &json!(500))
    );
    assert_eq!(caller.get(&path).await["health"], "failing");
    receiver.behave(Behaviour::Status(204));
    let (_, tested) = caller
        .call(Method::POST, &format!("{path}/test"), json!({}))
        .await;
    assert_eq!(
        (&tested["delivered"], &tested["error"]),
        (&json!(true), &Value::Null)
    );
    let shown = caller.get(&path).await;
    assert_eq!(
        (&shown["recent_attempts"], &shown["recent_delivered"]),
        (&json!(2), &json!(1))
    );
    let attempts = caller.get(&format!("{path}/attempts")).await;
    let outcomes: Vec<_> = attempts["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|a| &a["outcome"])
        .collect();
    assert_eq!(outcomes, ["delivered", "failed"]);
    assert_eq!(receiver.calls()[0].json()["type"], "webhook.test");
    database.drop_database().await;
}

#[tokio::test]
async fn events_are_sent_again_one_by_one_or_by_span() {
    let database = TestDatabase::create().await;
    let caller = Caller::new(&database, Role::Dispatcher, true);
    let mut ids = Vec::new();
    for kind in ["geofence.enter", "delivery.arrived", "geofence.exit"] {
        ids.push(insert_event(&database.pool, 1, kind).await);
    }
    let new = json!({"url": "http://127.0.0.1:1/", "events": ["geofence.*"]});
    let (_, made) = caller.call(Method::POST, "/v1/webhooks", new).await;
    let path = format!(
        "/v1/webhooks/{}/redeliver",
        made["id"].as_str().expect("an id")
    );
    let span = json!({"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
    for (body, queued) in [
        (json!({"event_id": format!("evt_{}", ids[1])}), 1),
        (span.clone(), 2),
        (span, 0),
        (
            json!({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}),
            0,
        ),
    ] {
        let (status, answer) = caller.call(Method::POST, &path, body).await;
        assert_eq!(
            (status, &answer["queued"]),
            (StatusCode::ACCEPTED, &json!(queued))
        );
    }
    assert_eq!(
        count(&database.pool, "select count(*) from notifications.outbox").await,
        3
    );
    let event = caller.get(&format!("/v1/events/evt_{}", ids[1])).await;
    assert_eq!(event["type"], "delivery.arrived");
    let sent = &event["sent"][0];
    assert_eq!(
        (&sent["webhook_id"], &sent["waiting"]),
        (&made["id"], &json!(true))
    );
    assert_eq!(
        (&sent["attempts"], &sent["outcome"]),
        (&json!(0), &Value::Null)
    );
    for missing in ["evt_999999", "evt_x", "1"] {
        let path = format!("/v1/events/{missing}");
        let (status, _) = caller.call(Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{missing}");
    }
    for (body, status) in [
        (json!({}), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"event_id": "evt_999999"}), StatusCode::NOT_FOUND),
        (json!({"event_id": "nonsense"}), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(caller.call(Method::POST, &path, body).await.0, status);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn events_are_listed_in_the_order_of_their_transactions_and_none_is_missed() {
    let database = TestDatabase::create().await;
    let caller = Caller::new(&database, Role::Dispatcher, false);
    insert_event(&database.pool, 1, "geofence.enter").await;
    // A transaction that began early and ends late.
    let mut slow = database.pool.begin().await.expect("a transaction");
    sqlx::query(
        "insert into public.event (type, at, courier_id) values ('courier.sos', now(), 'c-2')",
    )
    .execute(&mut *slow)
    .await
    .expect("an event");
    for _ in 0..3 {
        insert_event(&database.pool, 1, "geofence.exit").await;
    }
    let kinds = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .map(|e| e["type"].as_str().expect("a type").to_owned())
            .collect()
    };
    // Other databases of this server have transactions too, which hold everything up for a moment.
    let listed = async |path: &str, count: usize| {
        eventually("events to be listed", || async {
            let page = caller.get(path).await;
            (kinds(&page).len() >= count).then_some(page)
        })
        .await
    };
    let first = listed("/v1/events", 1).await;
    assert_eq!(
        kinds(&first),
        ["geofence.enter"],
        "what comes later must wait for the slow one"
    );
    slow.commit().await.expect("committed");
    let after = first["next_cursor"].as_str().expect("a cursor");
    let rest = listed(&format!("/v1/events?after={after}"), 4).await;
    assert_eq!(
        kinds(&rest),
        [
            "courier.sos",
            "geofence.exit",
            "geofence.exit",
            "geofence.exit"
        ]
    );
    let by_id = first["items"][0]["id"].as_str().expect("an id");
    assert_eq!(
        caller.get(&format!("/v1/events?after={by_id}")).await["items"],
        rest["items"]
    );
    let page = caller.get("/v1/events?courier=c-1&limit=2").await;
    assert_eq!(kinds(&page), ["geofence.enter", "geofence.exit"]);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = caller
        .get(&format!("/v1/events?courier=c-1&after={cursor}"))
        .await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
    let end = page["next_cursor"].as_str().expect("a cursor");
    let none = caller
        .get(&format!("/v1/events?courier=c-1&after={end}"))
        .await;
    assert_eq!(
        (&none["items"], &none["next_cursor"]),
        (&json!([]), &json!(end))
    );
    for bad in ["after=evt_x", "after=1", "limit=0", "limit=x", "sort=up"] {
        let (status, _) = caller
            .call(Method::GET, &format!("/v1/events?{bad}"), Value::Null)
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    database.drop_database().await;
}
