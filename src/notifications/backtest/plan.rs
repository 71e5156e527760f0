//! What is to be tried: the rules, the geofences, the time, and where its fixes are.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::geofence::GeofenceJson;
use crate::domain::rules::{Fence, RuleSet};
use crate::domain::{CourierId, Geofence, UnixMs};

/// Longest time that is tried at once, days.
const MAX_DAYS: i64 = 31;
/// Most geofences of a request.
const MAX_GEOFENCES: usize = 1_000;
const DAY_MS: i64 = 86_400_000;

/// Where fixes are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Source {
    /// The log: everything as it came, with heartbeats and alarms; as long as it is kept.
    Log,
    /// The stored tracks: fixes only, in the order of their own time.
    Tracks,
}

/// What is to be tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct BacktestRequest {
    /// First instant, RFC 3339 with its offset, or a date (UTC).
    #[schema(example = "2026-11-22")]
    from: String,
    /// Instant before which it ends.
    #[schema(example = "2026-11-23")]
    to: String,
    /// Numbers that rules judge by; those left out are the server's own.
    #[serde(default)]
    #[schema(value_type = Object)]
    rules: serde_json::Map<String, serde_json::Value>,
    /// Geofences to try beside the stored ones; one of the same id takes the place of the stored one.
    #[serde(default, rename = "geofence")]
    geofences: Vec<GeofenceJson>,
    /// Only this courier.
    #[schema(value_type = Option<String>)]
    courier: Option<CourierId>,
    /// Where fixes are read from; the log where it reaches back far enough, unless said otherwise.
    source: Option<Source>,
}

/// A request that was understood.
#[derive(Debug, Clone)]
pub(in super::super) struct Plan {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
    pub(super) rules: RuleSet,
    pub(super) geofences: Vec<Geofence>,
    pub(super) courier: Option<CourierId>,
    pub(super) source: Option<Source>,
}

/// Why a request was refused; names the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct PlanError(String);

impl Plan {
    /// Understands a request; what it leaves out is as in `usual`.
    pub(in super::super) fn of(
        request: BacktestRequest,
        usual: &RuleSet,
        now: UnixMs,
    ) -> Result<Self, PlanError> {
        let (from, to) = (instant("from", &request.from)?, instant("to", &request.to)?);
        let to = to.min(now);
        if from >= to {
            return Err(PlanError("from must lie before to, and in the past".into()));
        }
        if to.since(from) > MAX_DAYS * DAY_MS {
            return Err(PlanError(format!(
                "at most {MAX_DAYS} days can be tried at once"
            )));
        }
        if request.geofences.len() > MAX_GEOFENCES {
            return Err(PlanError(format!(
                "at most {MAX_GEOFENCES} geofences can be tried"
            )));
        }
        let geofences = request.geofences.into_iter().map(geofence);
        Ok(Self {
            from,
            to,
            rules: rules(request.rules, usual)?,
            geofences: geofences.collect::<Result<_, _>>()?,
            courier: request.courier,
            source: request.source,
        })
    }
}

fn rules(
    changes: serde_json::Map<String, serde_json::Value>,
    usual: &RuleSet,
) -> Result<RuleSet, PlanError> {
    let wrong = |error: &dyn std::fmt::Display| PlanError(format!("rules: {error}"));
    let mut all = serde_json::to_value(usual).map_err(|e| wrong(&e))?;
    if let Some(all) = all.as_object_mut() {
        all.extend(changes);
    }
    let rules: RuleSet = serde_json::from_value(all).map_err(|e| wrong(&e))?;
    rules.check().map_err(|e| wrong(&e))?;
    Ok(rules)
}

fn geofence(json: GeofenceJson) -> Result<Geofence, PlanError> {
    let id = json.id.clone();
    let wrong = |error: &dyn std::fmt::Display| PlanError(format!("geofence {id}: {error}"));
    let geofence = Geofence::try_from(json).map_err(|e| wrong(&e))?;
    Fence::check(&geofence.shape).map_err(|e| wrong(&e))?;
    Ok(geofence)
}

/// An instant as people write it: RFC 3339 with its offset, or a date for its midnight in UTC.
fn instant(key: &str, text: &str) -> Result<UnixMs, PlanError> {
    let midnight = format!("{text}T00:00:00Z");
    let parsed = UnixMs::parse_rfc3339(text).or_else(|_| UnixMs::parse_rfc3339(&midnight));
    parsed.map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        PlanError(format!(
            "{key}: {shown:?} is no time; give a date, or RFC 3339 with its offset as in \
             2026-11-22T10:00:00+01:00 (names of time zones are not known)"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn plan(request: &str) -> Result<Plan, String> {
        let request = serde_json::from_str(request).map_err(|e| e.to_string())?;
        Plan::of(request, &RuleSet::default(), NOW).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let plan = plan(
            r#"{"from": "2026-11-22", "to": "2026-11-23T01:00:00+01:00",
                "rules": {"arrived_m": 30}, "geofence": [
                {"id": "gate", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 40}}]}"#,
        )
        .expect("a plan");
        assert_eq!(plan.to.since(plan.from), DAY_MS);
        let expected = RuleSet {
            arrived_m: 30.0,
            ..RuleSet::default()
        };
        assert_eq!(plan.rules, expected);
        assert_eq!(&*plan.geofences[0].name, "gate");
        assert_eq!(plan.geofences[0].events.len(), 2);
    }

    #[test]
    fn what_cannot_be_tried_is_refused_with_the_reason() {
        let day = |more: &str| format!(r#"{{"from": "2026-11-22", "to": "2026-11-23"{more}}}"#);
        for (request, reason) in [
            (r#"{"from": "2026-11-22"}"#.into(), "to"),
            (
                r#"{"from": "yesterday", "to": "2026-11-23"}"#.into(),
                "from: \"yesterday\"",
            ),
            (
                r#"{"from": "2026-11-22T10:00:00", "to": "2026-11-23"}"#.into(),
                "with its offset",
            ),
            (
                r#"{"from": "2026-11-22T10:00:00 Mars/Olympus", "to": "2026-11-23"}"#.into(),
                "time zones are not known",
            ),
            (
                r#"{"from": "2026-11-23", "to": "2026-11-22"}"#.into(),
                "before",
            ),
            (
                r#"{"from": "2026-01-01", "to": "2026-11-22"}"#.into(),
                "31 days",
            ),
            (
                r#"{"from": "2126-01-01", "to": "2126-11-22"}"#.into(),
                "in the past",
            ),
            (day(r#", "rules": {"arived_m": 30}"#), "arived_m"),
            (day(r#", "rules": {"arrived_m": 0}"#), "arrived_m must be"),
            (day(r#", "rules": {"arrived_m": "far"}"#), "rules"),
            (day(r#", "source": "memory""#), "memory"),
            (day(r#", "courier": "a b""#), "character"),
            (day(r#", "geofence": [{"id": "x"}]"#), "circle or polygon"),
            (
                day(
                    r#", "geofence": [{"id": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 0}}]"#,
                ),
                "geofence x: radius_m",
            ),
            (
                day(r#", "geofence": [{"id": "x", "events": ["dwell"],
                     "circle": {"lat": 0, "lon": 0, "radius_m": 5}}]"#),
                "dwell_s",
            ),
            (
                day(r#", "geofence": [{"id": "x", "polygon": {"type": "Polygon",
                     "coordinates": [[[0,0],[1,1],[1,0],[0,1],[0,0]]]}}]"#),
                "crosses itself",
            ),
        ] {
            let error = plan(&request).expect_err(&request);
            assert!(error.contains(reason), "{request}: {error}");
        }
    }
}
