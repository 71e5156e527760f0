//! A delivery as callers give it and as they see it.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::super::couriers::{Tag, tags_of};
use crate::domain::{CourierId, DeliveryId, Position, TimelineEntry, UnixMs};
use crate::http::{Problem, Text};

/// Longest time between the ends of a window, milliseconds.
const MAX_WINDOW_MS: i64 = 366 * 24 * 60 * 60 * 1000;

/// A stop as it is given.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::dispatch) struct PlaceBody {
    /// Degrees, -90 to 90. Both may be missing where there is a `geocoder.url` and a label.
    pub(in crate::dispatch) lat: Option<f64>,
    /// Degrees, -180 to 180.
    pub(in crate::dispatch) lon: Option<f64>,
    /// Address or name.
    pub(in crate::dispatch) label: Option<Text<200>>,
}

/// When it is promised.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub(in crate::dispatch) struct WindowBody {
    #[schema(value_type = String, format = DateTime)]
    from: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    to: UnixMs,
}

/// Who gets it. Seen by dispatchers and by the courier alone.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(in crate::dispatch) struct CustomerBody {
    name: Option<Text<200>>,
    phone: Option<Text<40>>,
    email: Option<Text<254>>,
    /// As in `de` or `en-GB`.
    locale: Option<Text<35>>,
}

/// A delivery as it is given.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(in crate::dispatch) struct DeliveryBody {
    /// The caller's own id: 1 to 64 of A–Z a–z 0–9 . _ : -
    #[schema(value_type = Option<String>)]
    pub(in crate::dispatch) id: Option<DeliveryId>,
    pub(in crate::dispatch) pickup: PlaceBody,
    pub(in crate::dispatch) dropoff: PlaceBody,
    /// Who has it; the delivery is assigned at once.
    #[schema(value_type = Option<String>)]
    pub(in crate::dispatch) courier_id: Option<CourierId>,
    /// Its place in the courier's run; at the end unless said otherwise.
    pub(in crate::dispatch) sequence: Option<i32>,
    /// The caller's own order number.
    reference: Option<Text<200>>,
    /// For the courier.
    note: Option<Text<2000>>,
    tags: Option<Vec<Tag>>,
    window: Option<WindowBody>,
    customer: Option<CustomerBody>,
    /// Also make a tracking link; the answer then has `tracking_url`.
    #[serde(default)]
    pub(in crate::dispatch) link: bool,
}

/// A stop with coordinates.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Stop {
    pub(in crate::dispatch) position: Position,
    pub(in crate::dispatch) label: Option<String>,
}

/// A delivery's plan, checked: what a caller may replace.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Plan {
    pub(in crate::dispatch) pickup: Stop,
    pub(in crate::dispatch) dropoff: Stop,
    pub(in crate::dispatch) reference: Option<String>,
    pub(in crate::dispatch) note: Option<String>,
    pub(in crate::dispatch) tags: Vec<String>,
    pub(in crate::dispatch) window: Option<(OffsetDateTime, OffsetDateTime)>,
    pub(in crate::dispatch) customer: [Option<String>; 4],
}

impl DeliveryBody {
    /// Checks what types alone do not.
    pub(in crate::dispatch) fn plan(&self) -> Result<Plan, Problem> {
        let window = self.window.map(window_of).transpose()?;
        let customer = self.customer.clone().unwrap_or_default();
        let text = |text: Option<Text<200>>| text.map(Text::into_string);
        Ok(Plan {
            pickup: stop("pickup", &self.pickup)?,
            dropoff: stop("dropoff", &self.dropoff)?,
            reference: text(self.reference.clone()),
            note: self.note.clone().map(Text::into_string),
            tags: tags_of(self.tags.clone())?,
            window,
            customer: [
                text(customer.name),
                customer.phone.map(Text::into_string),
                customer.email.map(Text::into_string),
                customer.locale.map(Text::into_string),
            ],
        })
    }
}

fn stop(what: &str, place: &PlaceBody) -> Result<Stop, Problem> {
    let (Some(lat), Some(lon)) = (place.lat, place.lon) else {
        return Err(Problem::invalid(format!(
            "{what} has no lat and lon: give both, or configure geocoder.url, which finds them from \
             the label"
        )));
    };
    let position = Position::from_degrees(lat, lon);
    let position = position.map_err(|error| Problem::invalid(format!("{what}: {error}")))?;
    Ok(Stop {
        position,
        label: place.label.clone().map(Text::into_string),
    })
}

fn window_of(window: WindowBody) -> Result<(OffsetDateTime, OffsetDateTime), Problem> {
    let span = window.to.since(window.from);
    if !(0..=MAX_WINDOW_MS).contains(&span) {
        let detail = "window.to must not be before window.from, nor more than a year after it";
        return Err(Problem::invalid(detail));
    }
    Ok((window.from.to_datetime(), window.to.to_datetime()))
}

/// A stop.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct PlaceView {
    lat: f64,
    lon: f64,
    label: Option<String>,
}

/// When it is promised.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct WindowView {
    #[schema(value_type = String, format = DateTime)]
    from: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    to: UnixMs,
}

/// Who gets it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct CustomerView {
    name: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    locale: Option<String>,
}

/// A step that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct StepView {
    status: String,
    #[schema(value_type = String, format = DateTime)]
    at: UnixMs,
}

/// A delivery.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct DeliveryView {
    pub(in crate::dispatch) id: String,
    pub(in crate::dispatch) status: String,
    pub(in crate::dispatch) courier_id: Option<String>,
    sequence: i32,
    pickup: PlaceView,
    dropoff: PlaceView,
    window: Option<WindowView>,
    reference: Option<String>,
    note: Option<String>,
    tags: Vec<String>,
    customer: Option<CustomerView>,
    /// Steps so far, oldest first.
    timeline: Vec<StepView>,
    /// What a customer opens; only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::dispatch) tracking_url: Option<String>,
    pub(in crate::dispatch) version: i64,
    #[schema(value_type = String, format = DateTime)]
    pub(in crate::dispatch) created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMs,
}

/// A row of `dispatch.delivery`.
#[derive(FromRow)]
pub(in crate::dispatch) struct Row {
    pub(in crate::dispatch) id: String,
    pub(in crate::dispatch) courier_id: Option<String>,
    pub(in crate::dispatch) status: String,
    pub(in crate::dispatch) sequence: i32,
    pickup_lat: f64,
    pickup_lon: f64,
    pickup_label: Option<String>,
    dropoff_lat: f64,
    dropoff_lon: f64,
    dropoff_label: Option<String>,
    pub(in crate::dispatch) window_from: Option<OffsetDateTime>,
    pub(in crate::dispatch) window_to: Option<OffsetDateTime>,
    reference: Option<String>,
    note: Option<String>,
    tags: Vec<String>,
    customer_name: Option<String>,
    customer_phone: Option<String>,
    customer_email: Option<String>,
    customer_locale: Option<String>,
    pub(in crate::dispatch) timeline: Json<Vec<TimelineEntry>>,
    pub(in crate::dispatch) version: i64,
    pub(in crate::dispatch) created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Row> for DeliveryView {
    fn from(row: Row) -> Self {
        let window = row
            .window_from
            .zip(row.window_to)
            .map(|(from, to)| WindowView {
                from: UnixMs::from_datetime(from),
                to: UnixMs::from_datetime(to),
            });
        let customer = CustomerView {
            name: row.customer_name,
            phone: row.customer_phone,
            email: row.customer_email,
            locale: row.customer_locale,
        };
        let known = [
            &customer.name,
            &customer.phone,
            &customer.email,
            &customer.locale,
        ];
        let known = known.into_iter().any(Option::is_some);
        let step = |e: TimelineEntry| StepView {
            status: e.status.as_str().to_owned(),
            at: e.at,
        };
        Self {
            id: row.id,
            status: row.status,
            courier_id: row.courier_id,
            sequence: row.sequence,
            pickup: PlaceView {
                lat: row.pickup_lat,
                lon: row.pickup_lon,
                label: row.pickup_label,
            },
            dropoff: PlaceView {
                lat: row.dropoff_lat,
                lon: row.dropoff_lon,
                label: row.dropoff_label,
            },
            window,
            reference: row.reference,
            note: row.note,
            tags: row.tags,
            customer: known.then_some(customer),
            timeline: row.timeline.0.into_iter().map(step).collect(),
            tracking_url: None,
            version: row.version,
            created_at: UnixMs::from_datetime(row.created_at),
            updated_at: UnixMs::from_datetime(row.updated_at),
        }
    }
}
