//! Couriers with a network, against a far side that checks every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// The far side of the wire: keeps what the public API promises, as far as the simulator needs it.
#[derive(Default)]
struct Peer {
    devices: BTreeMap<String, String>,
    made_devices: usize,
    deliveries: BTreeMap<String, (DeliveryStatus, Option<String>)>,
    /// Newest fix time and number of fixes, by courier.
    fixes: BTreeMap<String, BTreeSet<i64>>,
    duplicates: usize,
    completed: usize,
    late_bursts: usize,
    shown: Vec<String>,
    problems: Vec<String>,
}

type Shared = Arc<Mutex<Peer>>;

fn bearer(headers: &HeaderMap) -> String {
    let value = headers
        .get("authorization")
        .expect("a credential")
        .to_str()
        .expect("text");
    value
        .strip_prefix("Bearer ")
        .expect("a bearer token")
        .to_owned()
}

fn is_key(headers: &HeaderMap) -> bool {
    bearer(headers) == "key"
}

async fn create_courier(headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !is_key(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert!(body["name"].is_string() && body["vehicle"].is_string());
    StatusCode::CONFLICT.into_response()
}

async fn create_device(
    State(peer): State<Shared>,
    UrlPath(courier): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    if !is_key(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut peer = peer.lock();
    peer.made_devices += 1;
    let token = format!("{courier}/{}", peer.made_devices);
    peer.devices.insert(token.clone(), courier);
    (
        StatusCode::CREATED,
        Json(json!({"id": "x", "token": token})),
    )
        .into_response()
}

async fn positions(
    State(peer): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut peer = peer.lock();
    let Some(courier) = peer.devices.get(&bearer(&headers)).cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let fixes = body["fixes"].as_array().expect("fixes");
    let kept = peer.fixes.entry(courier.clone()).or_default();
    let newest = kept.last().copied().unwrap_or(i64::MIN);
    let (mut accepted, mut duplicate, mut backwards) = (0, 0, false);
    for fix in fixes {
        let time = fix["fix_time"].as_i64().expect("milliseconds");
        let is_new = kept.insert(time);
        backwards |= is_new && time < newest;
        if is_new {
            accepted += 1
        } else {
            duplicate += 1
        }
    }
    if backwards {
        peer.problems
            .push(format!("fixes of {courier} came in the wrong order"));
    }
    peer.duplicates += duplicate;
    peer.late_bursts += usize::from(fixes.len() > 5);
    Json(json!({"accepted": accepted, "duplicate": duplicate, "quarantined": []})).into_response()
}

async fn create_delivery(
    State(peer): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if !is_key(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let id = body["id"].as_str().expect("an id").to_owned();
    assert!(body["pickup"]["lat"].is_f64() && body["dropoff"]["label"].is_string());
    assert!(
        body["window"]["to"]
            .as_str()
            .expect("a time")
            .ends_with('Z')
    );
    let courier = body["courier_id"].as_str().map(str::to_owned);
    let status = if courier.is_some() {
        DeliveryStatus::Assigned
    } else {
        DeliveryStatus::Created
    };
    let mut peer = peer.lock();
    if peer.deliveries.contains_key(&id) {
        return StatusCode::CONFLICT.into_response();
    }
    peer.deliveries.insert(id.clone(), (status, courier));
    (
        StatusCode::CREATED,
        Json(json!({"id": id, "tracking_url": format!("http://x/t/{id}")})),
    )
        .into_response()
}

async fn assign(
    State(peer): State<Shared>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if !is_key(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let courier = body["courier_id"].as_str().map(str::to_owned);
    step(&mut peer.lock(), &id, DeliveryStatus::Assigned, courier)
}

fn step(peer: &mut Peer, id: &str, to: DeliveryStatus, courier: Option<String>) -> Response {
    let Some((status, has)) = peer.deliveries.get_mut(id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !status.may_become(to) {
        return StatusCode::CONFLICT.into_response();
    }
    if to == DeliveryStatus::Assigned {
        *has = courier;
    } else if let Some(courier) = courier
        && has.as_ref() != Some(&courier)
    {
        peer.problems.push(format!("{courier} steps on {id}"));
        return StatusCode::NOT_FOUND.into_response();
    }
    *status = to;
    peer.completed += usize::from(!to.is_open());
    Json(json!({})).into_response()
}

fn wanted(body: &Value) -> DeliveryStatus {
    DeliveryStatus::parse(body["status"].as_str().expect("a status")).expect("a known status")
}

async fn own_step(
    State(peer): State<Shared>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut peer = peer.lock();
    let Some(courier) = peer.devices.get(&bearer(&headers)).cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    step(&mut peer, &id, wanted(&body), Some(courier))
}

async fn dispatchers_step(
    State(peer): State<Shared>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if !is_key(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    step(&mut peer.lock(), &id, wanted(&body), None)
}

async fn create_link(UrlPath(id): UrlPath<String>) -> Response {
    (
        StatusCode::CREATED,
        Json(json!({"id": "l", "token": "t", "url": format!("http://x/t/{id}")})),
    )
        .into_response()
}

async fn show(State(peer): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut peer = peer.lock();
    let url = body["tracking_url"].as_str().expect("a URL").to_owned();
    let id = url.rsplit('/').next().expect("an id");
    if peer
        .deliveries
        .get(id)
        .is_none_or(|(status, _)| !status.is_under_way())
    {
        peer.problems
            .push(format!("the demo leads to {id}, which is not under way"));
    }
    peer.shown.push(url);
    Json(json!({})).into_response()
}

async fn shown(State(peer): State<Shared>) -> StatusCode {
    if peer.lock().shown.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    }
}

fn serve(peer: &Shared, listener: TcpListener) -> JoinHandle<()> {
    let routes = Router::new()
        .route("/v1/couriers", post(create_courier))
        .route("/v1/couriers/{id}/devices", post(create_device))
        .route("/v1/positions", post(positions))
        .route("/v1/deliveries", post(create_delivery))
        .route("/v1/deliveries/{id}/assign", post(assign))
        .route("/v1/deliveries/{id}/status", post(dispatchers_step))
        .route("/v1/deliveries/{id}/links", post(create_link))
        .route("/v1/me/deliveries/{id}/status", post(own_step))
        .route("/v1/demo", get(shown).put(show))
        .with_state(peer.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.expect("serve") })
}

/// A clock that is in a hurry, so that hours of couriers pass in seconds.
struct Hurried {
    begun: Instant,
    begun_ms: i64,
    factor: i64,
}

impl Clock for Hurried {
    fn now_ms(&self) -> i64 {
        let passed_ms = i64::try_from(self.begun.elapsed().as_millis()).expect("a short test");
        self.begun_ms + passed_ms * self.factor
    }
}

fn hurried(begun_ms: i64) -> Hurried {
    Hurried {
        begun: Instant::now(),
        begun_ms,
        factor: 600,
    }
}

fn args(url: String, dir: &tempfile::TempDir) -> SimulateArgs {
    SimulateArgs {
        couriers: 12,
        roads: None,
        seed: 4,
        url,
        api_key: "key".into(),
        history: 0.25,
        truth: Some(dir.path().join("truth.jsonl")),
        state: dir.path().join("state"),
    }
}

/// Simulates until the far side has seen enough; the longest that it may take is five minutes, on a
/// machine that does much else.
async fn until(
    args: &SimulateArgs,
    clock: &Hurried,
    peer: &Shared,
    enough: impl Fn(&Peer) -> bool,
) -> Totals {
    let stop = CancellationToken::new();
    let watch = async {
        while !enough(&peer.lock()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(simulate(args, clock, &stop), watch).0 };
    let done = tokio::time::timeout(Duration::from_secs(300), both)
        .await
        .expect("enough in time");
    let totals = done.expect("a simulation");
    let problems = &peer.lock().problems;
    assert!(problems.is_empty(), "{problems:?}");
    totals
}

#[tokio::test]
async fn delivers_through_a_restart_of_the_server_and_goes_on_in_a_second_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let args = args(format!("http://{address}"), &dir);
    let server = serve(&peer, listener);

    // A server that dies while couriers are on their way, and is back a moment later.
    let again = {
        let peer = peer.clone();
        tokio::spawn(async move {
            while peer.lock().completed < 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.abort();
            assert!(server.await.is_err_and(|error| error.is_cancelled()));
            let listener = TcpListener::bind(address).await.expect("the port again");
            serve(&peer, listener);
        })
    };
    let clock = hurried(EPOCH_MS);
    let seen_all = |peer: &Peer| {
        let phones = peer.duplicates > 0 && peer.late_bursts > 0;
        peer.completed >= 40 && phones && !peer.shown.is_empty()
    };
    let totals = until(&args, &clock, &peer, seen_all).await;
    again.await.expect("the server is back");
    assert_eq!(
        totals.accepted + totals.duplicate + totals.quarantined,
        totals.sent,
        "{totals}"
    );
    assert!(totals.first_problem.is_none(), "{totals}");
    {
        let peer = peer.lock();
        assert_eq!(peer.made_devices, 12);
        let kept: usize = peer.fixes.values().map(BTreeSet::len).sum();
        // What was in flight when it stopped was taken without an answer being read.
        assert!(totals.accepted as usize <= kept, "{totals}, {kept} kept");
        let oldest = peer.fixes.values().filter_map(|times| times.first()).min();
        assert!(oldest.is_some_and(|ms| *ms < EPOCH_MS), "history was sent");
    }
    let truth = std::fs::read_to_string(dir.path().join("truth.jsonl")).expect("the truth");
    let line: Value = serde_json::from_str(truth.lines().next().expect("a line")).expect("JSON");
    assert!(line["courier_id"].is_string() && line["t_ms"].is_i64() && line["lat"].is_f64());

    // Two hours later: the same couriers and devices; what was left open is completed.
    let open: Vec<String> = {
        let peer = peer.lock();
        let open = peer
            .deliveries
            .iter()
            .filter(|(_, (status, _))| status.is_open());
        open.map(|(id, _)| id.clone()).collect()
    };
    assert!(!open.is_empty());
    let later = hurried(clock.now_ms() + 2 * HOUR_MS);
    let completed = peer.lock().completed;
    until(&args, &later, &peer, |peer| {
        peer.completed >= completed + open.len() + 10
    })
    .await;
    let peer = peer.lock();
    assert_eq!(peer.made_devices, 12, "no new devices");
    let left: Vec<_> = open
        .iter()
        .filter(|id| peer.deliveries[*id].0.is_open())
        .collect();
    assert!(left.is_empty(), "left open: {left:?}");
}

#[tokio::test]
async fn devices_that_the_server_forgot_are_made_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let args = args(
        format!("http://{}", listener.local_addr().expect("an address")),
        &dir,
    );
    serve(&peer, listener);
    until(&args, &hurried(EPOCH_MS), &peer, |peer| peer.completed > 0).await;
    peer.lock().devices.clear();
    let clock = hurried(EPOCH_MS + HOUR_MS);
    until(&args, &clock, &peer, |peer| {
        peer.made_devices == 24 && peer.completed > 5
    })
    .await;
}

#[tokio::test]
async fn ends_when_the_demo_is_removed_and_does_not_bring_it_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let args = args(
        format!("http://{}", listener.local_addr().expect("an address")),
        &dir,
    );
    serve(&peer, listener);
    let remove = async {
        while peer.lock().shown.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut peer = peer.lock();
        peer.shown.clear();
        peer.devices.clear();
    };
    let (clock, stop) = (hurried(EPOCH_MS), CancellationToken::new());
    let both = async { tokio::join!(simulate(&args, &clock, &stop), remove).0 };
    let done = tokio::time::timeout(Duration::from_secs(300), both)
        .await
        .expect("ends by itself");
    assert!(done.is_ok());
    assert_eq!(peer.lock().made_devices, 12);
}

#[tokio::test]
async fn a_wrong_key_ends_it_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let peer = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    serve(&peer, listener);
    let args = SimulateArgs {
        api_key: "wrong".into(),
        ..args(url, &dir)
    };
    let stop = CancellationToken::new();
    let error = simulate(&args, &hurried(EPOCH_MS), &stop)
        .await
        .expect_err("refused");
    assert!(format!("{error:#}").contains("401"), "{error:#}");
}
