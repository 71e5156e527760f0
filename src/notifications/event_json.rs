//! An event as the API lists it and as a webhook carries it: the same JSON in both.

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::domain::UnixMs;

/// Columns of `public.event e` that [`Event`] is read from.
pub(super) const EVENT_COLUMNS: &str =
    "e.id, e.type, e.at, e.courier_id, e.delivery_id, e.geofence_id, e.lat, e.lon, e.evidence";

/// Something that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Event {
    /// `evt_` and a number; the `webhook-id` of every call about it.
    #[schema(example = "evt_42")]
    pub(super) id: String,
    /// As in `delivery.arrived`.
    #[serde(rename = "type")]
    #[schema(example = "delivery.arrived")]
    pub(super) kind: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub(super) at: UnixMs,
    /// The courier it is about.
    pub(super) courier_id: Option<String>,
    /// The delivery it is about.
    pub(super) delivery_id: Option<String>,
    /// The geofence it is about.
    pub(super) geofence_id: Option<String>,
    /// Where the courier was.
    pub(super) position: Option<EventPosition>,
    /// Why: rule, version, fixes and distances; empty for what a person did.
    pub(super) evidence: serde_json::Value,
}

/// Where.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct EventPosition {
    /// Latitude, degrees.
    pub(super) lat: f64,
    /// Longitude, degrees.
    pub(super) lon: f64,
}

/// The `webhook-id` of event number `id`.
pub(super) fn event_name(id: i64) -> String {
    format!("evt_{id}")
}

/// The number in an event's id.
pub(super) fn event_number(name: &str) -> Option<i64> {
    name.strip_prefix("evt_")?.parse().ok().filter(|id| *id > 0)
}

impl FromRow<'_, PgRow> for Event {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let position = match (row.try_get("lat")?, row.try_get("lon")?) {
            (Some(lat), Some(lon)) => Some(EventPosition { lat, lon }),
            _ => None,
        };
        Ok(Self {
            id: event_name(row.try_get("id")?),
            kind: row.try_get("type")?,
            at: UnixMs::from_datetime(row.try_get::<OffsetDateTime, _>("at")?),
            courier_id: row.try_get("courier_id")?,
            delivery_id: row.try_get("delivery_id")?,
            geofence_id: row.try_get("geofence_id")?,
            position,
            evidence: row.try_get("evidence")?,
        })
    }
}

/// The body of a webhook's call.
#[derive(Debug, Serialize)]
pub(super) struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: UnixMs,
    data: &'a Event,
}

impl<'a> Payload<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        Self {
            kind: &event.kind,
            timestamp: event.at,
            data: event,
        }
    }
}
