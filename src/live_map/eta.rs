//! When the courier will be there, in the words of a customer's page: a range of whole minutes.
//!
//! The estimate itself is that of `roads` and `domain::eta`: the way by road, a dwell at every stop
//! before, corrected by the courier's own pace. Whole minutes say neither more than is known nor how
//! far away a hidden courier is.

use crate::domain::eta::Pace;
use crate::domain::{Delivery, Position, UnixMs, Vehicle};
use crate::live_map::state::Live;
use crate::roads::Roads;

const MINUTE_MS: i64 = 60_000;

/// Between when and when the courier is expected, whole minutes: nine times of ten it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct EtaRange {
    /// Hardly earlier.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: UnixMs,
    /// Hardly later.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: UnixMs,
}

/// When `live` reaches the last of `stops`, which are in the order of the run; `None` without any.
pub(crate) fn expect(
    roads: &Roads,
    live: &Live,
    stops: &[Position],
    vehicle: Option<Vehicle>,
    pace: &mut Pace,
    now: UnixMs,
) -> Option<EtaRange> {
    let eta = roads.eta(live.live_time(), live.fix.position, stops, vehicle, pace)?;
    let (from, to) = eta.nine_tenths;
    let whole = |at: i64| UnixMs(at.div_euclid(MINUTE_MS) * MINUTE_MS);
    Some(EtaRange {
        from: whole(from.0.max(now.0)),
        // It is still to come, however long nothing has been heard.
        to: whole(to.0.max(now.0) + MINUTE_MS),
    })
}

/// The stops of `run` up to and with the drop-off of `mine`: where goods are still to be fetched,
/// and where they go.
pub(crate) fn stops_until<'a>(
    run: impl IntoIterator<Item = &'a Delivery>,
    mine: &'a Delivery,
) -> Vec<Position> {
    let before = run.into_iter().take_while(|open| open.id != mine.id);
    let mut stops = Vec::new();
    for delivery in before.chain([mine]) {
        if !delivery.status.is_under_way() {
            stops.push(delivery.pickup.position);
        }
        stops.push(delivery.dropoff.position);
    }
    stops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeliveryStatus::{Assigned, PickedUp};
    use crate::domain::geo::destination;
    use crate::live_map::state::LiveState;
    use crate::live_map::test_kit::{T0, at, courier_id, delivery, stepped, upload};

    fn live_at(position: Position) -> Live {
        let state = LiveState::default();
        state.apply(&courier_id("c-1"), &upload(T0, position));
        state.get(&courier_id("c-1")).expect("is there")
    }

    fn expected(stops: &[Position], now: UnixMs) -> EtaRange {
        let live = live_at(at(35.9, 14.5));
        let pace = &mut Pace::default();
        expect(&Roads::none(), &live, stops, None, pace, now).expect("a range")
    }

    #[test]
    fn a_range_of_whole_minutes_that_lies_ahead() {
        let far = destination(at(35.9, 14.5), 90.0, 5_000.0);
        let eta = expected(&[far], T0);
        assert!(T0 < eta.from && eta.from < eta.to);
        assert_eq!((eta.from.0 % MINUTE_MS, eta.to.0 % MINUTE_MS), (0, 0));
        // An hour without a fix: nobody knows, but it has not been yet.
        let late = T0.plus_ms(3_600_000);
        let eta = expected(&[far], late);
        assert!(eta.from <= late && late < eta.to);
        let near = destination(at(35.9, 14.5), 90.0, 2_500.0);
        assert!(expected(&[near, far], T0).to > expected(&[far], T0).to);
    }

    #[test]
    fn goods_that_must_be_fetched_first_are_a_stop_on_the_way() {
        let first = stepped(delivery("d-1", None, 0, at(35.91, 14.5)), Assigned, T0);
        let mine = stepped(delivery("d-2", None, 1, at(35.92, 14.5)), PickedUp, T0);
        let last = stepped(delivery("d-3", None, 2, at(35.93, 14.5)), PickedUp, T0);
        let stops = stops_until([&first, &mine, &last], &mine);
        let expected = [first.pickup, first.dropoff, mine.dropoff.clone()];
        assert_eq!(stops, expected.map(|place| place.position));
        assert_eq!(stops_until([], &mine), [mine.dropoff.position]);
    }
}
