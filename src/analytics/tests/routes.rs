//! What analysts ask over HTTP.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::{Extension, Router};
use http_body_util::BodyExt;
use rand::rngs::StdRng;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::access::{Access, SecretKind, issue};
use crate::analytics::Analytics;
use crate::directory::{ApiKey, Role};

pub(super) struct Caller {
    router: Router,
    key: String,
}

impl Caller {
    pub(super) fn of(house: &House, role: Role) -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let secret = issue(SecretKind::ApiKey, &mut rng);
        house.directory.put_api_key(ApiKey {
            id: uuid::Uuid::now_v7(),
            name: None,
            role,
            key_hash: secret.hash,
        });
        let analytics = Analytics::new(
            &house.config,
            house.log.clone(),
            house.directory.clone(),
            house.clock.clone(),
            house.pool(),
            StdRng::seed_from_u64(11),
        );
        let (router, _) = analytics.routes().split_for_parts();
        let access = Access::new(house.directory.clone(), house.clock.clone());
        Self {
            router: router.layer(Extension(access)),
            key: secret.secret,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, bytes::Bytes) {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, body) = self
            .call(Method::POST, path, Body::from(body.to_string()))
            .await;
        (
            status.as_u16(),
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    }

    pub(super) async fn delete(&self, path: &str) -> u16 {
        self.call(Method::DELETE, path, Body::empty())
            .await
            .0
            .as_u16()
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> (StatusCode, HeaderMap, bytes::Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, head.headers, body)
    }

    pub(super) async fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
        serde_json::from_slice(&body).expect("JSON")
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.0.as_u16()
    }
}

async fn filled(minutes: i64) -> (House, Caller) {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, minutes) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    let caller = Caller::of(&house, Role::Analyst);
    (house, caller)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_hold_every_fix_of_the_range_once_and_in_order() {
    let (house, caller) = filled(300).await;
    let of_courier: Vec<&Fix> = house
        .expected
        .iter()
        .filter(|(key, _)| key.0 == courier(0))
        .map(|(_, fix)| fix)
        .collect();
    let all = caller.json("/v1/couriers/c-0/fixes").await;
    let times: Vec<&str> = all["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|i| i["fix_time"].as_str())
        .collect();
    let expected: Vec<String> = of_courier
        .iter()
        .map(|fix| fix.fix_time.to_rfc3339())
        .collect();
    assert_eq!(times, expected);

    let (from, to) = (
        of_courier[10].fix_time,
        of_courier[of_courier.len() / 2].fix_time,
    );
    let range = format!("from={from}&to={to}");
    let inside = of_courier
        .iter()
        .filter(|f| from <= f.fix_time && f.fix_time < to)
        .count();
    let csv = format!("/v1/couriers/c-0/fixes?{range}&format=csv");
    let (status, headers, body) = caller.get(&csv).await;
    assert_eq!(status, StatusCode::OK);
    let file = headers[header::CONTENT_DISPOSITION].to_str().expect("text");
    assert!(file.starts_with("attachment; filename=\"c-0-fixes-2026") && file.ends_with(".csv\""));
    let mut reader = csv::Reader::from_reader(&*body);
    let lats: Vec<f64> = reader
        .records()
        .map(|r| r.expect("a row")[2].parse().expect("a latitude"))
        .collect();
    assert_eq!(lats.len(), inside);
    assert_eq!(lats[0], of_courier[10].position.lat());

    let geojson = caller
        .json(&format!("/v1/couriers/c-0/fixes?{range}&format=geojson"))
        .await;
    assert_eq!(geojson["features"].as_array().map(Vec::len), Some(inside));
    let (_, _, gpx) = caller
        .get(&format!("/v1/couriers/c-0/fixes?{range}&format=gpx"))
        .await;
    let gpx = std::str::from_utf8(&gpx).expect("UTF-8");
    assert_eq!(gpx.matches("<trkpt").count(), inside);

    let day = crate::analytics::columns::Day::of(NOW);
    let (status, headers, body) = caller.get(&format!("/v1/fixes?day={day}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/vnd.apache.parquet"
    );
    let end = day.plus(1).start();
    let of_day = house
        .expected
        .keys()
        .filter(|key| day.start() <= key.1 && key.1 < end)
        .count();
    let reader = parquet::file::reader::SerializedFileReader::new(body).expect("Parquet");
    use parquet::file::reader::FileReader;
    assert_eq!(reader.metadata().file_metadata().num_rows(), of_day as i64);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trips_are_listed_page_by_page_and_read_with_stops_and_track() {
    let (house, caller) = filled(900).await;
    let all = caller.json("/v1/trips?limit=1000").await;
    let all = all["items"].as_array().expect("items");
    assert_eq!(
        all.len() as i64,
        house_count(&house, "select count(*) from trip").await
    );
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = caller
            .json(&format!("/v1/trips?limit=2&cursor={cursor}"))
            .await;
        paged.extend(page["items"].as_array().expect("items").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(&paged, all);
    let starts: Vec<&str> = all
        .iter()
        .filter_map(|t| t["start_time"].as_str())
        .collect();
    assert!(starts.is_sorted_by(|a, b| a >= b));

    for trip in all {
        let id = trip["id"].as_str().expect("an id");
        let read = caller.json(&format!("/v1/trips/{id}")).await;
        let stops = read["stops"].as_array().expect("stops");
        assert_eq!(
            stops.len() as i64,
            read["stop_count"].as_i64().expect("a count")
        );
        let track = caller.json(&format!("/v1/trips/{id}/track")).await;
        let track = track["items"].as_array().expect("items");
        let (first, last) = (track.first().expect("fixes"), track.last().expect("fixes"));
        assert_eq!(first["fix_time"], read["start_time"]);
        assert_eq!(last["fix_time"], read["last_time"]);
    }
    let only = caller.json("/v1/trips?courier=c-1&limit=1000").await;
    let only = only["items"].as_array().expect("items");
    assert!(only.iter().all(|t| t["courier_id"] == "c-1"));
    assert_eq!(
        only.len(),
        all.iter().filter(|t| t["courier_id"] == "c-1").count()
    );
    house.tear_down().await;
}

async fn house_count(house: &House, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(&house.pool())
        .await
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heatmap_counts_fixes_once_in_every_resolution() {
    let (house, caller) = filled(300).await;
    for res in 3..=9 {
        let path = format!("/v1/heatmap?res={res}&from=2026-11-22&to=2026-12-22");
        let map = caller.json(&path).await;
        let features = map["features"].as_array().expect("features");
        let fixes: i64 = features
            .iter()
            .filter_map(|f| f["properties"]["fixes"].as_i64())
            .sum();
        assert_eq!(fixes, house.expected.len() as i64, "resolution {res}");
        assert!(
            features
                .iter()
                .all(|f| f["properties"]["couriers"].as_i64() <= Some(2))
        );
    }
    let elsewhere = "/v1/heatmap?from=2026-11-22&to=2026-12-22&bbox=170,-20,-170,20";
    let none = caller.json(elsewhere).await;
    assert_eq!(none["features"].as_array().map(Vec::len), Some(0));
    let mut by_hour = 0;
    for hour in 0..24 {
        let path = format!("/v1/heatmap?from=2026-11-22&to=2026-12-22&hour={hour}");
        let map = caller.json(&path).await;
        let features = map["features"].as_array().expect("features");
        by_hour += features
            .iter()
            .filter_map(|f| f["properties"]["fixes"].as_i64())
            .sum::<i64>();
    }
    assert_eq!(by_hour, house.expected.len() as i64);
    // Hours and days of the week of another clock; 2026-11-22 is a Sunday.
    let noon_in_auckland = |at: &UnixMs| {
        let local = at.plus_ms(13 * 3_600_000).to_datetime();
        local.hour() == 12 && local.weekday() == time::Weekday::Monday
    };
    let then = house.expected.keys().filter(|key| noon_in_auckland(&key.1));
    let asked = "from=2026-11-22&to=2026-11-25&hour=12&weekday=1&tz=Pacific/Auckland";
    let map = caller.json(&format!("/v1/heatmap?{asked}")).await;
    let features = map["features"].as_array().expect("features");
    let counted = features
        .iter()
        .filter_map(|f| f["properties"]["fixes"].as_i64());
    assert_eq!(counted.sum::<i64>(), then.count() as i64);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_questions_get_clear_answers() {
    let (house, caller) = filled(5).await;
    for (path, status) in [
        ("/v1/couriers/nobody/fixes", 404),
        ("/v1/couriers/c-0/fixes?from=2026-11-23&to=2026-11-22", 422),
        ("/v1/couriers/c-0/fixes?from=then", 422),
        ("/v1/couriers/c-0/fixes?format=xlsx", 422),
        // A century, an empty range, and open ends are fine.
        ("/v1/couriers/c-0/fixes?from=1950-01-01&to=2050-01-01", 200),
        ("/v1/couriers/c-0/fixes?from=2026-11-22&to=2026-11-22", 404),
        ("/v1/couriers/c-0/fixes?to=2030-01-01", 200),
        ("/v1/fixes", 422),
        ("/v1/fixes?day=22.11.2026", 422),
        ("/v1/fixes?day=1999-01-01", 200),
        ("/v1/trips?from=b", 422),
        ("/v1/trips?from=2026-11-23&to=2026-11-22", 422),
        ("/v1/trips?from=1950-01-01&to=2050-01-01", 200),
        ("/v1/trips?limit=many", 422),
        ("/v1/trips?kind=any", 422),
        ("/v1/trips?cursor=b", 422),
        ("/v1/trips?courier=nobody", 200),
        ("/v1/trips/999999999", 404),
        ("/v1/trips/x/track", 404),
        ("/v1/heatmap", 422),
        ("/v1/heatmap?from=2026-01-01&to=2026-12-31", 422),
        ("/v1/heatmap?from=2026-11-22&to=2026-11-23&res=12", 422),
        ("/v1/heatmap?from=2026-11-22&to=2026-11-23&hour=24", 422),
        ("/v1/heatmap?from=2026-11-22&to=2026-11-23&weekday=0", 422),
        (
            "/v1/heatmap?from=2026-11-22&to=2026-11-23&hour=3&tz=Mars/Olympus",
            422,
        ),
        ("/v1/heatmap?from=2026-11-23&to=2026-11-22", 422),
        ("/v1/heatmap?from=2026-11-22&to=2026-11-23&bbox=1,2", 422),
        (
            "/v1/heatmap?from=2026-11-22&to=2026-11-23&bbox=177,-19,-178,-16",
            200,
        ),
    ] {
        assert_eq!(caller.status(path).await, status, "{path}");
    }
    let stranger = Caller {
        router: caller.router.clone(),
        key: "wlk_nobody".into(),
    };
    assert_eq!(stranger.status("/v1/trips").await, 401);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_with_other_rules_equals_having_had_them_from_the_start() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, 600) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    super::trips::check_derived(&house).await;
    house.config.stop_radius_m = 80;
    house.config.stop_after_s = 60;
    house.config.trip_gap_s = 1_200;
    let admin = Caller::of(&house, Role::Admin);
    let all = serde_json::json!({"from": "2026-11-20", "to": "2026-12-20"});
    let (status, begun) = admin.post("/v1/trips/rebuild", &all).await;
    assert_eq!(status, 202);
    assert!(begun["left"].as_i64() > Some(0));
    house.derive_all().await;
    assert_eq!(admin.json("/v1/trips/rebuild").await["left"], 0);
    super::trips::check_derived(&house).await;
    let reversed = serde_json::json!({"from": "2026-11-23", "to": "2026-11-22"});
    assert_eq!(admin.post("/v1/trips/rebuild", &reversed).await.0, 422);
    let analyst = Caller::of(&house, Role::Analyst);
    assert_eq!(analyst.post("/v1/trips/rebuild", &all).await.0, 403);
    house.tear_down().await;
}
