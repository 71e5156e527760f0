//! What a customer is told, kept as files that the pages' tests read.

use std::sync::Arc;

use uuid::Uuid;

use super::messages::Brand;
use super::topic::Told;
use super::{Tracks, World};
use crate::config::Config;
use crate::directory::{Directory, Link, TokenHash};
use crate::domain::DeliveryStatus::{Arrived, Assigned, Delivered, PickedUp};
use crate::domain::geo::destination;
use crate::domain::{Courier, UnixMs, Vehicle, Window};
use crate::live_map::close::Close;
use crate::live_map::socket::{drain_text, heartbeat_text};
use crate::live_map::state::LiveState;
use crate::live_map::test_kit::{
    T0, at, check_fixture, courier_id, delivery, lines_of_json, stepped, upload,
};
use crate::live_map::visibility::Rules;
use crate::roads::Roads;

#[test]
fn fixtures_of_the_customer_channel_are_what_is_said() {
    let (directory, state) = (Directory::new(), Arc::new(LiveState::default()));
    let config = Config::defaults().expect("defaults");
    let world = World {
        directory: directory.clone(),
        state: state.clone(),
        roads: Roads::none(),
        rules: Rules::new(&config.live_map),
        brand: Brand::new(&config.web),
    };
    directory.put_courier(Courier {
        id: courier_id("c-17"),
        name: Some("Maria".into()),
        vehicle: Some(Vehicle::Bike),
        tags: Box::default(),
        on_duty: true,
    });
    let door = at(35.9122, 14.5042);
    let mut mine = delivery("d-1", Some("c-17"), 1, door);
    mine.window = Some(Window {
        from: T0,
        to: T0.plus_ms(1_800_000),
    });
    mine.reference = Some("A-1042".into());
    let mine = stepped(stepped(mine, Assigned, T0.plus_ms(-600_000)), PickedUp, T0);
    let other = delivery("d-0", Some("c-17"), 0, destination(door, 200.0, 2_500.0));
    let other = stepped(stepped(other, Assigned, T0.plus_ms(-600_000)), PickedUp, T0);
    directory.put_delivery(mine.clone());
    directory.put_delivery(other.clone());
    let link = Link {
        id: Uuid::from_u128(1),
        delivery_id: mine.id.clone(),
        expires_at: T0.plus_ms(86_400_000),
        token_hash: TokenHash([1; 32]),
    };
    directory.put_link(link.clone());
    let tracks = Arc::new(Tracks::new(world, 4_021));
    let mut session = tracks.join(Arc::new(link), None, T0).expect("room");
    let mut told = Vec::new();
    let mut look = |now: UnixMs| {
        let heard = session.next(now, |message| {
            if let Told::Frame(text, _) = message {
                told.push(text.as_str().to_owned());
            }
        });
        heard.expect("the delivery is not gone");
    };
    let drive = |s: i64, bearing: f64, away_m: f64| {
        let now = T0.plus_ms(s * 1000);
        let mut batch = upload(now, destination(door, bearing, away_m));
        batch.fixes[0].speed_mps = Some(6.5);
        batch.fixes[0].heading_deg = Some(20.5);
        batch.fixes[0].accuracy_m = Some(4.0);
        state.apply(&courier_id("c-17"), &batch);
        now
    };
    look(T0);
    look(drive(5, 200.0, 4_000.0));
    look(drive(40, 200.0, 3_700.0));
    look(drive(120, 200.0, 2_600.0));
    directory.put_delivery(stepped(other, Delivered, T0.plus_ms(150_000)));
    look(T0.plus_ms(150_000));
    look(drive(180, 200.0, 2_150.0));
    look(drive(200, 200.0, 2_000.0));
    look(drive(220, 200.0, 1_800.0));
    look(drive(400, 200.0, 20.0));
    let mine = stepped(mine, Arrived, T0.plus_ms(401_000));
    directory.put_delivery(mine.clone());
    look(T0.plus_ms(401_000));
    directory.put_delivery(stepped(mine, Delivered, T0.plus_ms(460_000)));
    look(T0.plus_ms(460_000));
    check_fixture("track.json", &lines_of_json(&told));
    let control = [
        heartbeat_text(T0),
        drain_text(4_500),
        Close::Revoked.message(),
    ];
    check_fixture("control.json", &lines_of_json(&control));
}
