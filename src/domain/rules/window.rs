//! Late against the promised window, or going to be.

use super::{Evidence, Recent, RuleSet, Stop, Told};
use crate::domain::event::EventType;
use crate::domain::{Delivery, DeliveryId, DeliveryStatus, UnixMs};

/// A delivery that was told to be late for this window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delayed {
    /// Which.
    pub delivery: DeliveryId,
    /// The end of the window that was missed: a new window is a new promise.
    pub window_to: UnixMs,
}

/// Whether a delivery can be late: it is on its way to somebody and was promised.
fn promised(delivery: &Delivery) -> Option<UnixMs> {
    Stop::ahead(delivery.status)?;
    Some(delivery.window?.to)
}

/// Tells once that the window has passed at `now`.
pub(super) fn missed(
    known: &mut Vec<Delayed>,
    delivery: &Delivery,
    now: UnixMs,
    rules: &RuleSet,
    recent: &Recent,
    told: &mut Vec<Told>,
) {
    let Some(to) = promised(delivery).filter(|to| now > *to) else {
        return;
    };
    let event = Evidence {
        late_by_s: Some(now.since(to) / 1000),
        late: now.since(to) > rules.stale_after_s.saturating_mul(1000),
        ..Evidence::new("delayed", recent, |_| None)
    };
    tell(known, delivery, (to, to), event, recent, told);
}

/// Tells once that the courier will probably be there after the window: even the early quarter of
/// the estimate, `early`, lies behind it. Only once the goods are on their way.
pub(super) fn foreseen(
    known: &mut Vec<Delayed>,
    delivery: &Delivery,
    (at, early, median): (UnixMs, UnixMs, UnixMs),
    recent: &Recent,
    told: &mut Vec<Told>,
) {
    let on_its_way = delivery.status == DeliveryStatus::PickedUp;
    let Some(to) = promised(delivery).filter(|to| on_its_way && early > *to) else {
        return;
    };
    let event = Evidence {
        late_by_s: Some(median.since(to) / 1000),
        ahead_s: Some((median.since(at) / 1000) as f64),
        ..Evidence::new("delayed_soon", recent, |_| None)
    };
    tell(known, delivery, (to, at), event, recent, told);
}

fn tell(
    known: &mut Vec<Delayed>,
    delivery: &Delivery,
    (window_to, at): (UnixMs, UnixMs),
    evidence: Evidence,
    recent: &Recent,
    told: &mut Vec<Told>,
) {
    if known
        .iter()
        .any(|k| k.delivery == delivery.id && k.window_to == window_to)
    {
        return;
    }
    known.retain(|k| k.delivery != delivery.id);
    known.push(Delayed {
        delivery: delivery.id.clone(),
        window_to,
    });
    let kind = EventType::DeliveryDelayed;
    told.push(Told {
        kind,
        at,
        delivery: Some(delivery.id.clone()),
        geofence: None,
        position: recent.newest().map(|s| s.position),
        evidence,
        key: format!("{kind}/{}/{}", delivery.id, window_to.0),
    });
}
