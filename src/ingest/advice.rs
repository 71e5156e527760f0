//! What a phone is advised in the answer to its upload: how often to send.
//!
//! Fast while somebody watches or a stop is near, slow without work, slower on a low battery.

use std::sync::Arc;

use serde::Serialize;

use crate::config::IngestConfig;
use crate::directory::Directory;
use crate::domain::{CourierId, Delivery, DeliveryStatus, Fix, Position, UnixMs, geo};

/// How often to send the next fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Advice {
    /// Seconds between fixes.
    pub interval_s: u32,
    /// … or metres, whichever comes first.
    pub min_distance_m: u32,
}

/// Advises phones by what the Directory knows.
#[derive(Debug, Clone)]
pub struct Advisor {
    config: IngestConfig,
    directory: Arc<Directory>,
}

impl Advisor {
    /// Advises within the limits of `config`.
    #[must_use]
    pub fn new(config: IngestConfig, directory: Arc<Directory>) -> Self {
        Self { config, directory }
    }

    /// Advice for a courier whose newest fix in this upload is `newest`.
    #[must_use]
    pub fn advise(
        &self,
        courier: &CourierId,
        on_duty: bool,
        newest: Option<&Fix>,
        now: UnixMs,
    ) -> Advice {
        let config = &self.config;
        let run = self.directory.run_of(courier);
        let near = |delivery: &Delivery| {
            newest.is_some_and(|fix| {
                geo::distance_m(fix.position, next_stop(delivery)) <= config.near_stop_m.into()
            })
        };
        let fast = self.directory.is_watched(courier, now)
            || run.first().is_some_and(|delivery| near(delivery));
        let (interval_s, min_distance_m) = if !on_duty {
            (config.interval_idle_s, config.min_distance_idle_m)
        } else if fast {
            (config.interval_fast_s, config.min_distance_m)
        } else if run.is_empty() {
            (config.interval_idle_s, config.min_distance_idle_m)
        } else {
            (config.interval_normal_s, config.min_distance_m)
        };
        let low = newest
            .and_then(|fix| fix.battery_pct)
            .is_some_and(|pct| pct < config.low_battery_pct);
        let factor = if low { 2 } else { 1 };
        Advice {
            interval_s: interval_s.saturating_mul(factor),
            min_distance_m: min_distance_m.saturating_mul(factor),
        }
    }
}

/// Where the courier of this delivery goes next: the goods first, then the customer.
fn next_stop(delivery: &Delivery) -> Position {
    match delivery.status {
        DeliveryStatus::Created | DeliveryStatus::Assigned => delivery.pickup.position,
        _ => delivery.dropoff.position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::{DeliveryId, Place};

    const NOW: UnixMs = UnixMs(1_795_000_000_000);

    fn at(lat: f64) -> Position {
        Position::from_degrees(lat, 14.5).expect("a place")
    }

    fn place(lat: f64) -> Place {
        Place {
            position: at(lat),
            label: None,
        }
    }

    fn delivery(courier: &CourierId, status: DeliveryStatus) -> Delivery {
        Delivery {
            id: DeliveryId::try_from("d-1").expect("an id"),
            courier_id: Some(courier.clone()),
            status,
            sequence: 1,
            pickup: place(35.0),
            dropoff: place(36.0),
            window: None,
            timeline: Vec::new(),
            reference: None,
            tags: Box::default(),
            version: 1,
        }
    }

    #[test]
    fn follows_work_watchers_nearness_and_battery() {
        let config = Config::defaults().expect("defaults").ingest;
        let (fast, normal, idle) = (
            config.interval_fast_s,
            config.interval_normal_s,
            config.interval_idle_s,
        );
        let directory = Directory::new();
        let advisor = Advisor::new(config, directory.clone());
        let courier = CourierId::try_from("c-1").expect("an id");
        let fix = |lat| Fix::new(NOW, at(lat));
        let interval = |fix: Fix| advisor.advise(&courier, true, Some(&fix), NOW).interval_s;

        assert_eq!(interval(fix(35.5)), idle, "no work");
        directory.put_delivery(delivery(&courier, DeliveryStatus::Assigned));
        assert_eq!(interval(fix(35.5)), normal, "work, far from any stop");
        assert_eq!(interval(fix(35.001)), fast, "near the pick-up");
        assert_eq!(interval(fix(36.001)), normal, "the drop-off is not next");
        directory.put_delivery(delivery(&courier, DeliveryStatus::PickedUp));
        assert_eq!(interval(fix(36.001)), fast, "near the drop-off");
        let low = Fix {
            battery_pct: Some(10),
            ..fix(36.001)
        };
        assert_eq!(interval(low), 2 * fast, "low battery");
        directory.watch(courier.clone(), NOW.plus_ms(10_000), NOW);
        assert_eq!(interval(fix(35.5)), fast, "watched");
        let off_duty = advisor.advise(&courier, false, Some(&fix(36.0)), NOW);
        assert_eq!(off_duty.interval_s, idle);
        assert_eq!(advisor.advise(&courier, true, None, NOW).interval_s, fast);
    }
}
