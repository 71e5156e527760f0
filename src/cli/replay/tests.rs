//! Tests of the replay's readers and of its ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::clock::ManualClock;
use crate::domain::UnixMs;

/// The far side of the wire: remembers what came, and refuses as it is told to.
#[derive(Default)]
struct Peer {
    couriers: BTreeSet<String>,
    devices: usize,
    /// Fix times by device token, in the order in which they came.
    fixes: BTreeMap<String, Vec<i64>>,
    largest_upload: usize,
    /// Answers for the next uploads, last one first, before uploads are taken.
    refusals: Vec<StatusCode>,
}

type Shared = Arc<Mutex<Peer>>;

async fn create_courier(State(peer): State<Shared>, Json(body): Json<Value>) -> StatusCode {
    let id = body["id"].as_str().expect("an id").to_owned();
    if peer.lock().couriers.insert(id) {
        StatusCode::CREATED
    } else {
        StatusCode::CONFLICT
    }
}

async fn create_device(
    State(peer): State<Shared>,
    Path(courier): Path<String>,
    headers: HeaderMap,
) -> Response {
    assert!(headers.contains_key("idempotency-key"));
    assert_eq!(headers["authorization"], "Bearer key");
    peer.lock().devices += 1;
    (
        StatusCode::CREATED,
        Json(json!({"id": "x", "token": format!("of-{courier}")})),
    )
        .into_response()
}

async fn positions(
    State(peer): State<Shared>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut peer = peer.lock();
    if let Some(status) = peer.refusals.pop() {
        return (status, [("retry-after", "0")]).into_response();
    }
    let token = headers["authorization"].to_str().expect("text").to_owned();
    let fixes = body["fixes"].as_array().expect("an array");
    peer.largest_upload = peer.largest_upload.max(fixes.len());
    let (mut accepted, mut duplicate, mut quarantined) = (0, 0, vec![]);
    for (index, fix) in fixes.iter().enumerate() {
        let time = fix["fix_time"].as_i64().expect("milliseconds");
        let kept = peer.fixes.entry(token.clone()).or_default();
        if fix["lat"].as_f64().is_none_or(|lat| lat.abs() > 90.0) {
            quarantined.push(json!({"index": index, "reason": "out of range"}));
        } else if kept.contains(&time) {
            duplicate += 1;
        } else {
            accepted += 1;
            kept.push(time);
        }
    }
    Json(json!({"accepted": accepted, "duplicate": duplicate, "quarantined": quarantined}))
        .into_response()
}

fn routes(peer: &Shared) -> Router {
    Router::new()
        .route("/v1/couriers", post(create_courier))
        .route("/v1/couriers/{id}/devices", post(create_device))
        .route("/v1/positions", post(positions))
        .with_state(peer.clone())
}

async fn peer() -> (Shared, String) {
    let peer = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app = routes(&peer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (peer, url)
}

fn args(url: &str, files: &[PathBuf]) -> ReplayArgs {
    ReplayArgs {
        files: files.to_vec(),
        url: url.to_owned(),
        token: None,
        provision: true,
        api_key: Some("key".into()),
        speed: 1.0,
        as_fast_as_possible: true,
        now: false,
        batch: 50,
        patience: 30,
        json: true,
    }
}

async fn go(args: &ReplayArgs) -> anyhow::Result<Summary> {
    replay(args, &*ManualClock::at(1_800_000_000_000)).await
}

/// A recorded track from the folder that lies beside the project.
fn trace(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/traces")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: the recorded tracks belong there",
        path.display()
    );
    path
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[tokio::test]
async fn every_recorded_fix_arrives_in_order_and_a_second_replay_only_finds_duplicates() {
    let (peer, url) = peer().await;
    let files = [
        trace("delivery-agents.csv"),
        trace("buses.csv"),
        trace("bus-one.gpx"),
    ];
    let first = go(&args(&url, &files)).await.expect("a replay");
    assert!(first.adds_up(), "{first}");
    // The bus of the GPX file is one of the CSV file's.
    let points = std::fs::read_to_string(&files[2])
        .expect("gpx")
        .matches("<trkpt")
        .count();
    assert_eq!(first.sent, 10_800 + 1_533 + points as u64);
    assert_eq!(
        (first.couriers, first.quarantined, first.refused),
        (158, 0, 0)
    );
    {
        let peer = peer.lock();
        assert_eq!(peer.couriers.len(), 158);
        assert!(
            peer.fixes.values().all(|times| times.is_sorted()),
            "out of order"
        );
        assert_eq!(
            peer.fixes.values().map(|t| t.len() as u64).sum::<u64>(),
            first.accepted
        );
        assert!(peer.largest_upload <= 50);
    }
    let second = go(&args(&url, &files)).await.expect("a replay");
    assert_eq!(
        (second.sent, second.duplicate, second.accepted),
        (first.sent, first.sent, 0)
    );
    assert!(second.adds_up());
    assert_eq!(
        peer.lock().devices,
        2 * 158,
        "a device of its own for each run"
    );
}

#[tokio::test]
async fn goes_on_after_refusals_for_load_and_broken_connections() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows: String = (0..500)
        .map(|i| format!("c-{},{},35.9,14.5\n", i % 7, 1_000_000 + i))
        .collect();
    let track = file(
        &dir,
        "t.csv",
        &format!("courier_id,fix_time_ms,lat,lon\n{rows}"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shared = Shared::default();
    shared.lock().refusals = vec![
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
    ];
    let server = async {
        // A server that dies: connections are cut, then nobody listens, then it is back.
        for _ in 0..5 {
            drop(listener.accept().await.expect("a connection"));
        }
        drop(listener);
        let listener = TcpListener::bind(address).await.expect("the port again");
        axum::serve(listener, routes(&shared)).await.expect("serve");
    };
    let args = args(&format!("http://{address}"), &[track]);
    let summary = tokio::select! {
        summary = go(&args) => summary.expect("a replay"),
        () = server => unreachable!("the server serves for ever"),
    };
    assert!(summary.adds_up(), "{summary}");
    assert_eq!((summary.sent, summary.accepted), (500, 500));
    assert!(shared.lock().refusals.is_empty());
}

#[tokio::test]
async fn a_server_that_stays_away_ends_in_a_ledger_that_does_not_add_up() {
    let (peer, url) = peer().await;
    peer.lock().refusals = vec![StatusCode::SERVICE_UNAVAILABLE; 10_000_000];
    let dir = tempfile::tempdir().expect("a folder");
    let track = file(&dir, "t.csv", "courier_id,fix_time_ms,lat,lon\na,1,1,1\n");
    let summary = go(&ReplayArgs {
        patience: 0,
        ..args(&url, &[track])
    })
    .await
    .expect("a ledger");
    assert!(!summary.adds_up());
    assert_eq!((summary.sent, summary.unsent), (0, 1));
    assert!(summary.problem.expect("a reason").contains("503"));
}

#[tokio::test]
async fn books_what_is_refused_put_aside_and_unreadable() {
    let (peer, url) = peer().await;
    peer.lock().refusals = vec![StatusCode::UNAUTHORIZED];
    let dir = tempfile::tempdir().expect("a folder");
    let track = file(
        &dir,
        "t.csv",
        "lon,lat,fix_time,courier_id,unknown\n\
         14.5,35.9,2026-11-22T10:00:00Z,a,\n14.5,95,2026-11-22T10:00:01Z,a,\n\
         14.5,35.9,yesterday,a,\n14.5,north,2026-11-22T10:00:02Z,a,\n\
         14.5,NaN,2026-11-22T10:00:03Z,a,\n",
    );
    let token = ReplayArgs {
        token: Some("t".into()),
        provision: false,
        batch: 1,
        ..args(&url, &[track])
    };
    let summary = go(&token).await.expect("a ledger");
    assert_eq!(
        (summary.sent, summary.refused, summary.quarantined),
        (3, 1, 2)
    );
    assert_eq!(summary.unreadable, 2);
    assert!(!summary.adds_up());
    assert!(summary.problem.expect("a reason").contains("401"));
}

#[tokio::test]
async fn a_token_is_one_couriers() {
    let dir = tempfile::tempdir().expect("a folder");
    let track = file(
        &dir,
        "t.csv",
        "courier_id,fix_time_ms,lat,lon\na,1,1,1\nb,1,1,1\n",
    );
    let args = ReplayArgs {
        token: Some("t".into()),
        provision: false,
        ..args("http://[::1]:1", &[track])
    };
    let error = go(&args).await.expect_err("two couriers");
    assert!(error.downcast_ref::<UsageError>().is_some(), "{error}");
}

#[test]
fn reads_gpx_with_names_extensions_and_points_without_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let gpx = file(
        &dir,
        "round.gpx",
        r#"<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1" xmlns:x="urn:x"><trk><name>Müller 1</name><trkseg>
        <trkpt lat="1.5" lon="2"><ele>30</ele><time>2026-01-26T15:55:13+01:00</time><extensions><x:speed>4.5</x:speed></extensions></trkpt>
        <trkpt lat="1" lon="2"><time>2026-01-26T14:55:12Z</time></trkpt>
        <trkpt lat="1" lon="2"/></trkseg></trk><trk><name>M_ller 1</name><trkseg>
        <trkpt lat="1" lon="2"><time>2026-01-26T14:55:12Z</time></trkpt></trkseg></trk><trk><trkseg>
        <trkpt lat="1" lon="2"><time>2026-01-26T14:55:12Z</time></trkpt></trkseg></trk></gpx>"#,
    );
    let mut tracks = tracks::load(&[gpx]).expect("tracks");
    let ids: Vec<&str> = tracks.couriers().iter().map(|c| c.as_str()).collect();
    assert_eq!(ids, ["M_ller_1", "M_ller_1-2", "round"]);
    assert_eq!((tracks.len(), tracks.unreadable()), (4, 1));
    let first = UnixMs::parse_rfc3339("2026-01-26T14:55:12Z")
        .expect("a time")
        .0;
    let times: Vec<i64> = tracks.of(0).iter().map(|f| f.fix_time).collect();
    assert_eq!(times, [first, first + 1000], "sorted by time");
    let fix = tracks.of(0)[1];
    assert_eq!(
        (fix.lat, fix.speed_mps, fix.altitude_m),
        (1.5, Some(4.5), Some(30.0))
    );
    tracks.shift_to(5_000);
    assert_eq!(tracks.of(0)[1].fix_time, 6_000);
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = |name: &str, text: &str| {
        let error = tracks::load(&[file(&dir, name, text)]).expect_err("refused");
        format!("{error:#}")
    };
    assert!(said("a.csv", "courier_id,lat,lon\n").contains("no column fix_time_ms"));
    assert!(said("b.gpx", "<kml/>").contains("<kml>"));
    assert!(said("c.gpx", "<gpx>").contains("parse the XML"));
    assert!(said("d.txt", "").contains(".csv or .gpx"));
    assert!(said("e.csv", "courier_id,fix_time_ms,lat,lon\n").contains("no fix"));
    let missing = tracks::load(&[dir.path().join("none.csv")]).expect_err("no file");
    assert!(format!("{missing:#}").contains("none.csv"));
}

#[test]
fn the_arguments_ask_for_exactly_one_credential() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: ReplayArgs,
    }
    let parse = |args: &str| {
        <Program as clap::Parser>::try_parse_from(args.split(' ')).map(|program| program.args)
    };
    assert!(parse("replay t.csv").is_err());
    assert!(parse("replay t.csv --provision --token t").is_err());
    assert!(parse("replay t.csv --token t --speed 2 --as-fast-as-possible").is_err());
    assert!(parse("replay t.csv --token t --batch 1001").is_err());
    let args = parse("replay t.csv --provision --api-key k").expect("arguments");
    assert_eq!((args.batch, args.speed), (50, 1.0));
}
