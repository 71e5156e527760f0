//! What a dispatcher's screen is told, kept as files that the pages' tests read.

use std::sync::Arc;

use axum::extract::ws::Message;
use tokio::sync::Notify;

use super::Hub;
use super::session::{hello_message, topics_message};
use super::topic::Cursor;
use super::view::{Bbox, topics_of};
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::directory::Directory;
use crate::domain::geo::destination;
use crate::domain::{Courier, UnixMs, Vehicle};
use crate::live_map::state::{LiveState, Patience, Work};
use crate::live_map::test_kit::{T0, at, check_fixture, courier_id, lines_of_json, upload};

#[test]
fn fixtures_of_the_fleet_channel_are_what_is_said() {
    let (directory, state) = (Directory::new(), Arc::new(LiveState::default()));
    let clock = ManualClock::at(T0.0);
    let patience = Patience::new(&Config::defaults().expect("defaults").ingest);
    let hub = Hub::new(
        state.clone(),
        directory.clone(),
        clock.clone(),
        patience,
        500,
        77,
    );
    let city = at(35.8989, 14.5146);
    let drive = |n: u32, away_m: f64| {
        let to = destination(city, f64::from(n) * 70.0, away_m);
        let mut batch = upload(UnixMs(clock.now_ms()), to);
        batch.fixes[0].heading_deg = Some(f32::from(n as u16) * 70.0);
        batch.fixes[0].speed_mps = Some(f32::from(n as u16) * 2.5);
        state.apply(&courier_id(&format!("c-{n}")), &batch);
    };
    for n in 0..5 {
        directory.put_courier(Courier {
            id: courier_id(&format!("c-{n}")),
            name: (n % 2 == 0).then(|| format!("Courier {n}").into()),
            vehicle: [Some(Vehicle::Bike), Some(Vehicle::Van), None][n as usize % 3],
            tags: Box::default(),
            on_duty: n != 3,
        });
        drive(n, 300.0);
        let work = if n == 1 { Work::Delivering } else { Work::None };
        state.set_work(&courier_id(&format!("c-{n}")), work, n != 3);
    }
    let mut json = Vec::new();
    let mut frames = Vec::new();
    let mut hear = |messages: Vec<Message>| {
        for message in messages {
            match message {
                Message::Text(text) => json.push(text.as_str().to_owned()),
                Message::Binary(frame) => frames.push(frame),
                other => panic!("{other:?}"),
            }
        }
    };
    hear(vec![hello_message(&hub, T0)]);
    let wake = Arc::new(Notify::new());
    for (bbox, zoom) in [
        ("14.514,35.898,14.515,35.899", 16.0),
        ("14.4,35.8,14.6,36", 9.0),
    ] {
        let bbox: Bbox = bbox.parse().expect("a bbox");
        let mut ids = topics_of(&bbox, zoom);
        ids.sort_unstable();
        hear(vec![topics_message(&ids, &[])]);
        let topics = hub.join(1, &wake, &ids);
        let mut cursors = vec![Cursor::New; topics.len()];
        let mut look = || {
            let mut out = Vec::new();
            for (topic, cursor) in topics.iter().zip(&mut cursors) {
                hub.tell(topic, cursor, usize::MAX, &mut out);
            }
            hear(out);
        };
        look();
        clock.advance(1_500);
        drive(1, 350.0);
        drive(5, 100.0);
        drive(2, 30_000.0);
        hub.tick(&topics);
        look();
        clock.advance(1_500);
        drive(2, 320.0);
        topics.iter().for_each(|topic| hub.leave(1, topic));
        hear(vec![topics_message(&[], &ids)]);
    }
    check_fixture("fleet.json", &lines_of_json(&json));
    let of_kind = |kind: u8| {
        frames
            .iter()
            .filter(move |f| f[0] == kind)
            .max_by_key(|f| f.len())
    };
    check_fixture("fleet-snapshot.bin", of_kind(1).expect("a snapshot"));
    check_fixture("fleet-delta.bin", of_kind(2).expect("a delta"));
}
