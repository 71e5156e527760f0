//! What a customer may see: the one place that decides it.
//!
//! Pure: a delivery, its courier's run, where the courier is, and the time go in; what may be shown
//! comes out. Every channel (socket, events, polling) asks here, and sends nothing else. The rules:
//! - nothing before the goods were picked up: neither a position nor a fix from before it;
//! - nothing within [`Rules::private_radius_m`] of an open stop of another delivery of the same run,
//!   unless mine is the next stop;
//! - nothing from the completion on, and nothing that is older than [`Rules::withhold_after_ms`];
//! - where the settings say so, no more than the [`Coarse`] cell that the courier is in, until it is
//!   near the drop-off;
//! - the way (`path`, `route`) only while mine is the next stop, and from [`CLEAR_OF_PREVIOUS_M`]
//!   after the previous stop on: it would draw other customers' doors;
//! - after the completion the timeline stays for [`Rules::grace_ms`], then everything is gone.

use h3o::{LatLng, Resolution};
use serde::Serialize;

use super::state::{Corner, Live};
use crate::config::LiveMapConfig;
use crate::directory::Run;
use crate::domain::geo::distance_m;
use crate::domain::{Delivery, DeliveryStatus, Fix, Position, UnixMs};

/// The way is shown only this far from the previous stop, metres.
pub(crate) const CLEAR_OF_PREVIOUS_M: f64 = 300.0;

/// The settings of the rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) private_radius_m: f64,
    pub(crate) withhold_after_ms: i64,
    pub(crate) grace_ms: i64,
    /// Only roughly, until the courier is near.
    pub(crate) coarse: Option<Coarse>,
}

/// How roughly customers see a courier that is not near yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coarse {
    /// From the drop-off on it is seen exactly within this, metres.
    pub(crate) exact_within_m: f64,
    /// Of the H3 cells whose middles are shown.
    pub(crate) resolution: Resolution,
}

impl Coarse {
    fn is_near(&self, position: Position, delivery: &Delivery) -> bool {
        distance_m(position, delivery.dropoff.position) <= self.exact_within_m
    }

    /// The middle of the cell that `position` is in.
    pub(crate) fn middle_of(&self, position: Position) -> Position {
        let Ok(exact) = LatLng::new(position.lat(), position.lon()) else {
            // A position is always finite.
            return position;
        };
        let middle = LatLng::from(exact.to_cell(self.resolution));
        Position::from_any_degrees(middle.lat(), middle.lng())
    }

    /// What of a fix is seen from afar: the middle of its cell, and nothing that tells more.
    fn of(&self, live: &Live) -> Live {
        let fix = Fix {
            accuracy_m: Some(self.resolution.edge_length_m() as f32),
            ..Fix::new(live.fix.fix_time, self.middle_of(live.fix.position))
        };
        Live { fix, ..*live }
    }
}

impl Rules {
    pub(crate) fn new(config: &LiveMapConfig) -> Self {
        Self {
            private_radius_m: f64::from(config.private_radius_m),
            withhold_after_ms: i64::from(config.withhold_after_s) * 1000,
            grace_ms: i64::from(config.grace_s) * 1000,
            // A resolution that does not exist is refused with the settings.
            coarse: Resolution::try_from(config.coarse_resolution)
                .ok()
                .filter(|_| config.exact_within_m > 0)
                .map(|resolution| Coarse {
                    exact_within_m: f64::from(config.exact_within_m),
                    resolution,
                }),
        }
    }

    /// Whether a courier at `position` may be seen where it is, and not only roughly.
    fn is_exact(&self, position: Position, delivery: &Delivery) -> bool {
        self.coarse
            .is_none_or(|coarse| coarse.is_near(position, delivery))
    }
}

/// Why there is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhyHidden {
    /// The goods are not picked up yet, or no fix has come since.
    NotStarted,
    /// The courier is at somebody else's stop.
    OtherStop,
    /// The newest fix is too old.
    Stale,
    /// The delivery is completed.
    Finished,
}

/// What a customer may see of a delivery at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// The courier's newest fix, or why not.
    pub(crate) position: Result<Live, WhyHidden>,
    /// Open stops before this one.
    pub(crate) stops_before: u32,
    /// The way from this instant on may be shown, as far as [`path`] lets it through.
    pub(crate) way_from: Option<UnixMs>,
    /// When what is shown would change by time alone.
    pub(crate) until: Option<UnixMs>,
}

/// Whether the timeline's grace is over too: nothing may be asked any more.
pub(crate) fn is_gone(delivery: &Delivery, rules: &Rules, now: UnixMs) -> bool {
    gone_at(delivery, rules).is_some_and(|at| at <= now)
}

fn gone_at(delivery: &Delivery, rules: &Rules) -> Option<UnixMs> {
    if delivery.status.is_open() {
        return None;
    }
    // Completed at a time that nobody noted: long ago.
    let at = delivery.completed_at().unwrap_or(UnixMs(i64::MIN));
    Some(at.plus_ms(rules.grace_ms))
}

/// What may be seen of `delivery` now. `run` is its courier's, `live` where the courier is.
pub(crate) fn look(
    delivery: &Delivery,
    run: &Run,
    live: Option<&Live>,
    rules: &Rules,
    now: UnixMs,
) -> Sight {
    let place = run.open.iter().position(|open| open.id == delivery.id);
    let position = shown(delivery, run, place, live, rules, now);
    let until = match &position {
        Ok(seen) => Some(seen.live.live_time().plus_ms(rules.withhold_after_ms + 1)),
        Err(_) => gone_at(delivery, rules),
    };
    let way_from = match (&position, place, delivery_began(delivery)) {
        (Ok(seen), Some(0), Some(began))
            if seen.is_exact && is_clear_of_previous(seen.live.fix.position, run) =>
        {
            let since = run
                .previous
                .map_or(began, |stop| stop.completed_at.max(began));
            Some(since)
        }
        _ => None,
    };
    Sight {
        position: position.map(|seen| seen.live),
        stops_before: place.and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        way_from,
        until,
    }
}

/// A courier that may be seen.
struct Seen {
    /// As it may be seen.
    live: Live,
    /// Whether that is where it is.
    is_exact: bool,
}

fn shown(
    delivery: &Delivery,
    run: &Run,
    place: Option<usize>,
    live: Option<&Live>,
    rules: &Rules,
    now: UnixMs,
) -> Result<Seen, WhyHidden> {
    if !delivery.status.is_open() {
        return Err(WhyHidden::Finished);
    }
    let (true, Some(began), Some(place)) = (
        delivery.status.is_under_way(),
        delivery_began(delivery),
        place,
    ) else {
        return Err(WhyHidden::NotStarted);
    };
    let Some(live) = live.filter(|live| live.live_time() >= began) else {
        return Err(WhyHidden::NotStarted);
    };
    if now.since(live.live_time()) > rules.withhold_after_ms {
        return Err(WhyHidden::Stale);
    }
    let is_exact = rules.is_exact(live.fix.position, delivery);
    let seen = match &rules.coarse {
        Some(coarse) if !is_exact => coarse.of(live),
        _ => *live,
    };
    // The middle of a cell may lie at a door that the courier is not at: that is nobody's business
    // either.
    let at_other_stop = |fix: &Fix| is_at_other_stop(fix.position, delivery, run, rules);
    if place > 0 && (at_other_stop(&live.fix) || at_other_stop(&seen.fix)) {
        return Err(WhyHidden::OtherStop);
    }
    Ok(Seen {
        live: seen,
        is_exact,
    })
}

/// When the goods were picked up.
fn delivery_began(delivery: &Delivery) -> Option<UnixMs> {
    let picked_up = |e: &&crate::domain::TimelineEntry| e.status == DeliveryStatus::PickedUp;
    delivery.timeline.iter().rev().find(picked_up).map(|e| e.at)
}

/// Whether `position` is too near an open stop of another delivery of the run: its drop-off, and
/// its pick-up while the goods still lie there.
fn is_at_other_stop(position: Position, mine: &Delivery, run: &Run, rules: &Rules) -> bool {
    let near = |stop: Position| distance_m(position, stop) <= rules.private_radius_m;
    run.open
        .iter()
        .filter(|other| other.id != mine.id)
        .any(|other| {
            near(other.dropoff.position)
                || (!other.status.is_under_way() && near(other.pickup.position))
        })
}

fn is_clear_of_previous(position: Position, run: &Run) -> bool {
    run.previous
        .is_none_or(|stop| distance_m(position, stop.position) >= CLEAR_OF_PREVIOUS_M)
}

/// The corners of the courier's trail that may be drawn for `delivery`, given what [`look`] said.
pub(crate) fn path(
    sight: &Sight,
    trail: &[Corner],
    delivery: &Delivery,
    run: &Run,
    rules: &Rules,
) -> Option<Vec<Position>> {
    let (Some(from), Ok(live)) = (sight.way_from, &sight.position) else {
        return None;
    };
    // A corner knows its second only: the second in which the way began may lie before it.
    let first_s = super::state::seconds(from.plus_ms(999));
    let last_s = super::state::seconds(live.fix.fix_time);
    let way = trail
        .iter()
        .filter(|c| (first_s..=last_s).contains(&c.at_s));
    let clear = way.map(|c| c.position).filter(|at| {
        is_clear_of_previous(*at, run)
            && !is_at_other_stop(*at, delivery, run, rules)
            && rules.is_exact(*at, delivery)
    });
    let mut path: Vec<Position> = clear.collect();
    if path.last() != Some(&live.fix.position) {
        path.push(live.fix.position);
    }
    Some(path)
}
