//! One trip a delivery: from its pick-up to its end, whatever comes late.

use serde_json::json;
use sqlx::Row;

use super::*;
use crate::analytics::derive::rules;
use crate::domain::Tracker;

/// A delivery as it stands, and what it did.
struct Delivery {
    id: &'static str,
    courier: CourierId,
    picked_up: UnixMs,
    completed: Option<UnixMs>,
}

impl Delivery {
    async fn write(&self, house: &House) {
        sqlx::query(
            "insert into dispatch.courier (id, name) values ($1, $1) on conflict do nothing",
        )
        .bind(self.courier.as_str())
        .execute(&house.pool())
        .await
        .expect("a courier");
        let step = |status: &str, at: UnixMs| json!({"status": status, "at": at.to_rfc3339()});
        let mut timeline = vec![
            step("assigned", self.picked_up.plus_ms(-60_000)),
            step("picked_up", self.picked_up),
        ];
        timeline.extend(self.completed.map(|at| step("delivered", at)));
        let status = self.completed.map_or("picked_up", |_| "delivered");
        sqlx::query(
            "insert into dispatch.delivery (id, courier_id, status, timeline, pickup_lat, pickup_lon, \
                    dropoff_lat, dropoff_lon) values ($1, $2, $3, $4, 35.9, 14.5, 35.9, 14.5) \
             on conflict (id) do update set courier_id = excluded.courier_id, \
                status = excluded.status, timeline = excluded.timeline, updated_at = now()",
        )
        .bind(self.id)
        .bind(self.courier.as_str())
        .bind(status)
        .bind(serde_json::Value::Array(timeline))
        .execute(&house.pool())
        .await
        .expect("a delivery");
    }

    /// Courier, start, end, newest fix, metres, moving and stopped seconds, stops, fastest; `None`
    /// without a fix between pick-up and end.
    fn expected(&self, house: &House) -> Option<String> {
        let rules = rules(&house.config).for_delivery();
        let mut tracker = Tracker::default();
        let until = self.completed.unwrap_or(UnixMs(i64::MAX));
        for ((courier, at), fix) in &house.expected {
            if *courier == self.courier && self.picked_up <= *at && *at <= until {
                tracker.push(&rules, fix);
            }
        }
        let run = tracker.open(&rules)?;
        let trip = run.trip?;
        let stopped: i64 = run.stops.iter().map(|stop| stop.duration_ms()).sum();
        Some(line(
            &self.courier,
            [Some(self.picked_up), self.completed, Some(run.to)],
            [
                trip.distance_mm as f64 / 1e3,
                (run.to.since(run.from) - stopped) as f64 / 1e3,
                stopped as f64 / 1e3,
                run.stops.len() as f64,
                f64::from(trip.max_speed_cmps) / 1e2,
            ],
        ))
    }

    async fn stored(&self, house: &House) -> Option<String> {
        let row = sqlx::query(
            "select courier_id, start_time, end_time, last_time, distance_m, moving_s, stopped_s, \
                    stop_count::float8, max_speed_mps from trip where delivery_id = $1",
        )
        .bind(self.id)
        .fetch_optional(&house.pool())
        .await
        .expect("trips")?;
        let courier = CourierId::try_from(row.get::<&str, _>(0)).expect("an id");
        let time = |i| {
            row.get::<Option<time::OffsetDateTime>, _>(i)
                .map(UnixMs::from_datetime)
        };
        let number = |i| row.get::<f64, _>(i);
        let times = [time(1), time(2), time(3)];
        let numbers = [number(4), number(5), number(6), number(7), number(8)];
        Some(line(&courier, times, numbers))
    }

    async fn check(&self, house: &House) {
        assert_eq!(
            self.stored(house).await,
            self.expected(house),
            "{}",
            self.id
        );
    }
}

fn line(courier: &CourierId, times: [Option<UnixMs>; 3], numbers: [f64; 5]) -> String {
    format!("{courier} {times:?} {numbers:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_delivery_has_its_trip_while_under_way_and_after_late_fixes() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 240);
    let at = |share: f64| fixes[(fixes.len() as f64 * share) as usize].fix_time;
    let of = |id, picked_up, completed| Delivery {
        id,
        courier: courier(0),
        picked_up,
        completed,
    };
    let mut deliveries = vec![
        of("d-whole", at(0.05), Some(at(0.95))),
        of("d-early", at(0.1), Some(at(0.3))),
        // Two of one run overlap.
        of("d-second", at(0.25), Some(at(0.6))),
        of("d-open", at(0.7), None),
        // Nothing was heard of the courier then.
        of(
            "d-silent",
            NOW.plus_ms(-86_400_000),
            Some(NOW.plus_ms(-80_000_000)),
        ),
    ];
    for delivery in &deliveries {
        delivery.write(&house).await;
    }
    let mut uploads = uploads(&mut rng, &fixes);
    // A block from the middle of it all comes a good deal later than the rest.
    let middle = uploads.len() * 2 / 5..uploads.len() / 2;
    let late: Vec<Vec<Fix>> = uploads.drain(middle).collect();
    for part in uploads
        .chunks(uploads.len().div_ceil(4))
        .chain([late.as_slice()])
    {
        for upload in part {
            house.append(&courier(0), upload).await;
        }
        house.drain(1).await;
        house.derive_all().await;
        for delivery in &deliveries {
            delivery.check(&house).await;
        }
    }
    assert!(deliveries[0].stored(&house).await.is_some());
    let caller = super::routes::Caller::of(&house, crate::directory::Role::Analyst);
    let listed = caller.json("/v1/trips?kind=delivery").await;
    for trip in listed["items"].as_array().expect("items") {
        let id = trip["id"].as_str().expect("an id");
        let read = caller.json(&format!("/v1/trips/{id}")).await;
        let stops = read["stops"].as_array().expect("stops");
        assert_eq!(read["stop_count"], stops.len());
        let seconds: f64 = stops.iter().filter_map(|s| s["duration_s"].as_f64()).sum();
        assert!((seconds - read["stopped_s"].as_f64().expect("seconds")).abs() < 1e-6);
        let found = caller.json("/v1/trips?kind=found&limit=1000").await;
        assert!(
            found["items"]
                .as_array()
                .expect("items")
                .iter()
                .all(|t| t["id"] != id)
        );
    }
    assert_eq!(deliveries[4].stored(&house).await, None);

    // It ends; another turns out to have been somebody else's.
    deliveries[3].completed = Some(at(0.9));
    deliveries[1].courier = courier(1);
    for delivery in &deliveries {
        delivery.write(&house).await;
    }
    house.derive_all().await;
    for delivery in &deliveries {
        delivery.check(&house).await;
    }
    super::trips::check_derived(&house).await;
    house.tear_down().await;
}
