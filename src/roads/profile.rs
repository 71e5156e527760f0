//! The courier profile: which ways may be used, in which direction, and how fast.
//!
//! One profile for all: a car, a van or a scooter that also rolls slowly through pedestrian streets
//! and cycle paths, because that is where doors are. Steps and plain footways are left out. What a
//! bicycle or a walker needs is derived from the length of the way (see
//! [`duration_s`](super::duration_s)). Turn restrictions are not read; one-way streets, access and
//! speed limits are.

use std::num::NonZeroU32;

/// What the profile reads of a way.
#[derive(Debug, Default, Clone, Copy)]
struct Tags<'a> {
    highway: &'a str,
    oneway: &'a str,
    junction: &'a str,
    area: &'a str,
    access: &'a str,
    vehicle: &'a str,
    motor_vehicle: &'a str,
    bicycle: &'a str,
    maxspeed: &'a str,
}

/// How a way may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Use {
    speed_mps: f64,
    /// In the direction in which it is drawn.
    pub(super) forward: bool,
    /// Against it.
    pub(super) backward: bool,
}

impl Use {
    /// Milliseconds for `length_m` metres; never nothing, as the hierarchy needs positive weights.
    pub(super) fn ms(&self, length_m: f64) -> NonZeroU32 {
        let ms = (length_m / self.speed_mps * 1000.0).round();
        // `as` saturates; no way is 49 days long.
        NonZeroU32::new(ms as u32).unwrap_or(NonZeroU32::MIN)
    }
}

/// Typical speed in traffic, km/h, junctions and parked cars included; `None`: not for couriers.
fn typical_kmh(tags: &Tags<'_>) -> Option<f64> {
    let cycling = matches!(tags.bicycle, "yes" | "designated" | "permissive");
    let (class, link) = match tags.highway.strip_suffix("_link") {
        Some(class) => (class, true),
        None => (tags.highway, false),
    };
    let kmh = match class {
        "motorway" => 90.0,
        "trunk" => 65.0,
        "primary" => 50.0,
        "secondary" => 45.0,
        "tertiary" => 40.0,
        "unclassified" | "road" => 35.0,
        "residential" => 28.0,
        "service" => 15.0,
        "living_street" | "track" | "cycleway" => 12.0,
        "pedestrian" => 6.0,
        "path" | "footway" if cycling => 8.0,
        _ => return None,
    };
    Some(if link { kmh * 0.8 } else { kmh })
}

fn forbidden(value: &str) -> bool {
    matches!(
        value,
        "no" | "private" | "agricultural" | "forestry" | "military" | "emergency"
    )
}

/// Kilometres an hour of a `maxspeed`; words such as `walk` and `none` say nothing.
fn limit_kmh(value: &str) -> Option<f64> {
    let (number, unit) = match value.strip_suffix("mph") {
        Some(number) => (number, 1.609_344),
        None => (value.strip_suffix("km/h").unwrap_or(value), 1.0),
    };
    let kmh = number.trim().parse::<f64>().ok()? * unit;
    (5.0..=300.0).contains(&kmh).then_some(kmh)
}

/// Reads the tags of a way; `None` if couriers cannot use it.
pub(super) fn read<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Use> {
    let mut tags = Tags::default();
    for (key, value) in all {
        match key {
            "highway" => tags.highway = value,
            "oneway" => tags.oneway = value,
            "junction" => tags.junction = value,
            "area" => tags.area = value,
            "access" => tags.access = value,
            "vehicle" => tags.vehicle = value,
            "motor_vehicle" => tags.motor_vehicle = value,
            "bicycle" => tags.bicycle = value,
            "maxspeed" => tags.maxspeed = value,
            _ => {}
        }
    }
    let typical = typical_kmh(&tags)?;
    // The most specific word decides, and whoever may cycle there may deliver there.
    let motor = [tags.motor_vehicle, tags.vehicle, tags.access];
    let word = motor
        .into_iter()
        .find(|w| !w.is_empty())
        .unwrap_or_default();
    let cycling = matches!(tags.bicycle, "yes" | "designated" | "permissive");
    if tags.area == "yes" || (forbidden(word) && !cycling) {
        return None;
    }
    let kmh = limit_kmh(tags.maxspeed).map_or(typical, |limit| typical.min(limit));
    let round = matches!(tags.junction, "roundabout" | "circular");
    let (forward, backward) = match tags.oneway {
        "yes" | "true" | "1" => (true, false),
        "-1" | "reverse" => (false, true),
        "no" | "false" | "0" => (true, true),
        _ if round || tags.highway.starts_with("motorway") => (true, false),
        _ => (true, true),
    };
    Some(Use {
        speed_mps: kmh / 3.6,
        forward,
        backward,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(tags: &str) -> Option<Use> {
        read(
            tags.split_whitespace()
                .filter_map(|tag| tag.split_once('=')),
        )
    }

    fn directions(tags: &str) -> (bool, bool) {
        let way = way(tags).expect("a way for couriers");
        (way.forward, way.backward)
    }

    #[test]
    fn one_way_streets_go_one_way() {
        assert_eq!(directions("highway=residential"), (true, true));
        assert_eq!(directions("highway=residential oneway=yes"), (true, false));
        assert_eq!(directions("highway=residential oneway=-1"), (false, true));
        assert_eq!(
            directions("highway=tertiary junction=roundabout"),
            (true, false)
        );
        assert_eq!(directions("highway=motorway_link"), (true, false));
        assert_eq!(directions("highway=motorway oneway=no"), (true, true));
    }

    #[test]
    fn leaves_out_what_a_courier_may_not_use() {
        for tags in [
            "highway=steps",
            "highway=footway",
            "highway=construction",
            "highway=service access=private",
            "highway=track motor_vehicle=no",
            "highway=pedestrian area=yes",
            "building=yes",
        ] {
            assert!(way(tags).is_none(), "{tags}");
        }
        assert!(way("highway=service access=private motor_vehicle=yes").is_some());
        assert!(way("highway=footway bicycle=yes").is_some());
    }

    #[test]
    fn a_limit_slows_but_never_hastens() {
        let second = |tags: &str| way(tags).expect("a way").ms(1000.0).get();
        assert_eq!(
            second("highway=primary"),
            second("highway=primary maxspeed=80")
        );
        assert_eq!(second("highway=primary maxspeed=36"), 100_000);
        assert_eq!(
            second("highway=primary maxspeed=none"),
            second("highway=primary")
        );
        assert!(second("highway=primary maxspeed=20mph") > second("highway=primary"));
    }
}
