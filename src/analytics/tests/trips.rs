//! Trips, stops and heat equal what a plain reading of the sorted fixes gives.

use h3o::{LatLng, Resolution};

use super::*;
use crate::analytics::columns::speed_cmps;
use crate::analytics::derive::rules;
use crate::domain::{Run, Tracker};

/// Every run of every courier, from all fixes that are expected, in one go.
fn reference(house: &House) -> Vec<(CourierId, Run)> {
    let rules = rules(&house.config);
    let mut runs = Vec::new();
    let mut of_courier: BTreeMap<CourierId, Vec<Fix>> = BTreeMap::new();
    for ((courier, _), fix) in &house.expected {
        of_courier.entry(courier.clone()).or_default().push(*fix);
    }
    for (courier, fixes) in of_courier {
        let mut tracker = Tracker::default();
        let mut found: Vec<Run> = fixes
            .iter()
            .filter_map(|f| tracker.push(&rules, f))
            .collect();
        found.extend(tracker.open(&rules));
        runs.extend(found.into_iter().map(|run| (courier.clone(), run)));
    }
    runs
}

/// A trip as one line, to be compared.
fn line(courier: &str, run: UnixMs, start: UnixMs, end: Option<UnixMs>, numbers: &[f64]) -> String {
    format!("{courier} {run} {start} {end:?} {numbers:?}")
}

pub(super) async fn check_derived(house: &House) {
    let mut trips = Vec::new();
    let mut stops = Vec::new();
    for (courier, run) in reference(house) {
        if let Some(trip) = run.trip {
            let end = (!trip.open).then_some(trip.ended_at);
            let numbers = [
                trip.distance_mm as f64 / 1000.0,
                trip.moving_ms() as f64 / 1000.0,
                f64::from(trip.stops),
                trip.from.lat(),
                trip.to.lon(),
                f64::from(trip.max_speed_cmps) / 100.0,
            ];
            trips.push(line(
                courier.as_str(),
                run.from,
                trip.started_at,
                end,
                &numbers,
            ));
        }
        for stop in run.stops {
            let end = stop.ended.then_some(stop.last_at);
            let numbers = [f64::from(stop.lat_e7) / 1e7, f64::from(stop.lon_e7) / 1e7];
            stops.push(line(
                courier.as_str(),
                run.from,
                stop.arrived_at,
                end,
                &numbers,
            ));
        }
    }
    let ms = UnixMs::from_datetime;
    type TripRow = (
        String,
        time::OffsetDateTime,
        time::OffsetDateTime,
        Option<time::OffsetDateTime>,
        f64,
        f64,
        i32,
        f64,
        f64,
        f64,
    );
    let rows: Vec<TripRow> = sqlx::query_as(
        "select courier_id, run_from, start_time, end_time, distance_m, moving_s, stop_count, \
         start_lat, last_lon, max_speed_mps from trip \
         where delivery_id is null order by courier_id, run_from",
    )
    .fetch_all(&house.pool())
    .await
    .expect("trips");
    let stored: Vec<String> = rows
        .into_iter()
        .map(|r| {
            let numbers = [r.4, r.5, f64::from(r.6), r.7, r.8, r.9];
            line(&r.0, ms(r.1), ms(r.2), r.3.map(ms), &numbers)
        })
        .collect();
    assert_eq!(stored, trips);

    type StopRow = (
        String,
        time::OffsetDateTime,
        time::OffsetDateTime,
        Option<time::OffsetDateTime>,
        f64,
        f64,
    );
    let rows: Vec<StopRow> = sqlx::query_as(
        "select courier_id, run_from, start_time, end_time, lat, lon from stop \
         order by courier_id, start_time",
    )
    .fetch_all(&house.pool())
    .await
    .expect("stops");
    let stored: Vec<String> = rows
        .into_iter()
        .map(|r| line(&r.0, ms(r.1), ms(r.2), r.3.map(ms), &[r.4, r.5]))
        .collect();
    assert_eq!(stored, stops);
    check_heat(house).await;
}

async fn check_heat(house: &House) {
    type Cell = (std::collections::BTreeSet<CourierId>, i64, i64, i64);
    let mut heat: BTreeMap<(UnixMs, i64), Cell> = BTreeMap::new();
    for ((courier, at), fix) in &house.expected {
        let place = LatLng::new(fix.position.lat(), fix.position.lon()).expect("a place");
        let cell = u64::from(place.to_cell(Resolution::Nine)).cast_signed();
        let hour = UnixMs(at.0 - at.0.rem_euclid(3_600_000));
        let entry = heat.entry((hour, cell)).or_default();
        entry.0.insert(courier.clone());
        entry.1 += 1;
        entry.2 += i64::from(fix.speed_mps.is_some());
        entry.3 += i64::from(speed_cmps(fix).unwrap_or(0));
    }
    let expected: Vec<_> = heat
        .into_iter()
        .map(|((hour, cell), n)| (hour, cell, n.0.len() as i64, n.1, n.2, n.3))
        .collect();
    let rows: Vec<(time::OffsetDateTime, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "select hour, cell, couriers, fixes, speed_fixes, speed_sum_cmps from heat_hour \
         order by hour, cell",
    )
    .fetch_all(&house.pool())
    .await
    .expect("heat");
    let stored: Vec<_> = rows
        .into_iter()
        .map(|r| (UnixMs::from_datetime(r.0), r.1, r.2, r.3, r.4, r.5))
        .collect();
    assert_eq!(stored, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trips_follow_shuffled_late_and_repeated_uploads_exactly() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let traffic = traffic(&mut rng, 4, 300);
    for part in traffic.chunks(traffic.len().div_ceil(6)) {
        for (courier, fixes) in part {
            house.append(courier, fixes).await;
        }
        house.drain(1).await;
        house.derive_all().await;
        // At every step, not only in the end: open trips are visible while under way.
        check_derived(&house).await;
    }
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_a_day_before_repairs_the_trips_it_falls_into_and_no_other() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let mut fixes = way(&mut rng, 600);
    let late = fixes.split_off(fixes.len() / 3);
    let (late, newest) = late.split_at(late.len() / 2);
    for upload in fixes.chunks(100).chain(newest.chunks(100)) {
        house.append(&courier(0), upload).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    check_derived(&house).await;
    let before = trip_versions(&house).await;
    for upload in late.chunks(100) {
        house.append(&courier(0), upload).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    check_derived(&house).await;
    // A trip that ended an hour before the late block is the same row, untouched.
    let first_late = late[0].fix_time;
    let after = trip_versions(&house).await;
    for (run, version) in before {
        let run_ended = reference(&house)
            .iter()
            .any(|(_, r)| r.from == run.0 && r.to < first_late);
        if run_ended {
            assert!(after.contains(&(run, version)));
        }
    }
    house.tear_down().await;
}

/// Run and computing transaction of every trip.
async fn trip_versions(house: &House) -> Vec<((UnixMs,), String)> {
    let rows: Vec<(time::OffsetDateTime, String)> =
        sqlx::query_as("select run_from, xmin::text from trip order by run_from")
            .fetch_all(&house.pool())
            .await
            .expect("trips");
    rows.into_iter()
        .map(|r| ((UnixMs::from_datetime(r.0),), r.1))
        .collect()
}
