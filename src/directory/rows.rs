//! How rows of Postgres become entries, and the one SELECT of each table.

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ApiKey, Device, Link, Role, Session, TokenHash};
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryStatus, Geofence, GeofenceEvent, Place, Position, Shape,
    SpeedUnit, TimelineEntry, UnixMs, Vehicle, Window,
};

/// An entry as its table holds it.
pub(super) struct FromTable<T>(pub(super) T);

/// The SELECT of a table: of everything that a Directory holds when it forgets what ended before the
/// instant $1, and of those rows of it whose ids are in $2.
pub(super) struct Selects {
    pub(super) all: &'static str,
    pub(super) by_id: &'static str,
}

macro_rules! selects {
    ($columns:literal, $from:literal, $id:literal, $cast:literal, $held:literal) => {
        Selects {
            all: concat!("select ", $columns, " from ", $from, " where ", $held),
            by_id: concat!(
                "select ",
                $columns,
                " from ",
                $from,
                " where (",
                $held,
                ") and ",
                $id,
                " = any ($2::text[]",
                $cast,
                ")"
            ),
        }
    };
}

pub(super) const COURIER: Selects = selects!(
    "id, name, vehicle, tags, on_duty",
    "dispatch.courier",
    "id",
    "",
    "$1::timestamptz is not null"
);
pub(super) const DEVICE: Selects = selects!(
    "id, courier_id, speed_unit, token_hash",
    "dispatch.device",
    "id",
    "::uuid[]",
    "revoked_at is null and $1::timestamptz is not null"
);
pub(super) const DELIVERY: Selects = selects!(
    "id, courier_id, status, sequence, pickup_lat, pickup_lon, pickup_label, dropoff_lat, \
     dropoff_lon, dropoff_label, window_from, window_to, timeline, reference, tags, version",
    "dispatch.delivery",
    "id",
    "",
    "completed_at is null or completed_at > $1"
);
pub(super) const LINK: Selects = selects!(
    "id, delivery_id, expires_at, token_hash",
    "dispatch.tracking_link",
    "id",
    "::uuid[]",
    "revoked_at is null and expires_at > $1"
);
pub(super) const GEOFENCE: Selects = selects!(
    "id, name, shape, dwell_s, events, version",
    "dispatch.geofence",
    "id",
    "",
    "$1::timestamptz is not null"
);
pub(super) const API_KEY: Selects = selects!(
    "id, name, role, key_hash",
    "dispatch.api_key",
    "id",
    "::uuid[]",
    "revoked_at is null and $1::timestamptz is not null"
);
pub(super) const SESSION: Selects = selects!(
    "id, role, name, expires_at, token_hash, admin_mark",
    "dispatch.session",
    "id",
    "::uuid[]",
    "expires_at > $1"
);
pub(super) const ERASED: Selects = selects!(
    "courier_id, before_received_at",
    "dispatch.erased",
    "courier_id",
    "",
    "$1::timestamptz is not null"
);

/// A column that holds what no column of its kind should.
fn wrong(column: &'static str, what: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: what.to_string().into(),
    }
}

fn parsed<T>(row: &PgRow, column: &'static str) -> sqlx::Result<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| wrong(column, error))
}

fn word<T>(
    row: &PgRow,
    column: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> sqlx::Result<T> {
    parse(row.try_get(column)?).ok_or_else(|| wrong(column, "an unknown word"))
}

fn boxed(row: &PgRow, column: &str) -> sqlx::Result<Option<Box<str>>> {
    Ok(row.try_get::<Option<&str>, _>(column)?.map(Into::into))
}

fn tags(row: &PgRow) -> sqlx::Result<Box<[Box<str>]>> {
    let tags: Vec<String> = row.try_get("tags")?;
    Ok(tags.into_iter().map(Into::into).collect())
}

fn instant(row: &PgRow, column: &str) -> sqlx::Result<UnixMs> {
    Ok(UnixMs::from_datetime(
        row.try_get::<OffsetDateTime, _>(column)?,
    ))
}

fn hash(row: &PgRow, column: &'static str) -> sqlx::Result<TokenHash> {
    let bytes: &[u8] = row.try_get(column)?;
    Ok(TokenHash(
        bytes.try_into().map_err(|error| wrong(column, error))?,
    ))
}

impl FromRow<'_, PgRow> for FromTable<Courier> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let vehicle: Option<&str> = row.try_get("vehicle")?;
        Ok(Self(Courier {
            id: parsed(row, "id")?,
            name: boxed(row, "name")?,
            vehicle: vehicle.and_then(Vehicle::parse),
            tags: tags(row)?,
            on_duty: row.try_get("on_duty")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<Device> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(Device {
            id: row.try_get("id")?,
            courier_id: parsed(row, "courier_id")?,
            speed_unit: word(row, "speed_unit", SpeedUnit::parse)?,
            token_hash: hash(row, "token_hash")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<Delivery> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let courier: Option<&str> = row.try_get("courier_id")?;
        let Json(timeline): Json<Vec<TimelineEntry>> = row.try_get("timeline")?;
        let window = (row.try_get("window_from")?, row.try_get("window_to")?);
        let place = |lat: &'static str, lon: &str, label: &str| -> sqlx::Result<Place> {
            let position = Position::from_degrees(row.try_get(lat)?, row.try_get(lon)?);
            Ok(Place {
                position: position.map_err(|error| wrong(lat, error))?,
                label: boxed(row, label)?,
            })
        };
        Ok(Self(Delivery {
            id: parsed(row, "id")?,
            courier_id: courier
                .map(CourierId::try_from)
                .transpose()
                .map_err(|error| wrong("courier_id", error))?,
            status: word(row, "status", DeliveryStatus::parse)?,
            sequence: row.try_get("sequence")?,
            pickup: place("pickup_lat", "pickup_lon", "pickup_label")?,
            dropoff: place("dropoff_lat", "dropoff_lon", "dropoff_label")?,
            window: match window {
                (Some(from), Some(to)) => Some(Window {
                    from: UnixMs::from_datetime(from),
                    to: UnixMs::from_datetime(to),
                }),
                _ => None,
            },
            timeline,
            reference: boxed(row, "reference")?,
            tags: tags(row)?,
            version: row.try_get("version")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<Link> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(Link {
            id: row.try_get("id")?,
            delivery_id: parsed(row, "delivery_id")?,
            expires_at: instant(row, "expires_at")?,
            token_hash: hash(row, "token_hash")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<Geofence> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let Json(shape): Json<Shape> = row.try_get("shape")?;
        let events: Vec<String> = row.try_get("events")?;
        let dwell_s: Option<i32> = row.try_get("dwell_s")?;
        Ok(Self(Geofence {
            id: parsed(row, "id")?,
            name: row.try_get::<&str, _>("name")?.into(),
            shape,
            dwell_s: dwell_s.and_then(|s| u32::try_from(s).ok()),
            events: events
                .iter()
                .filter_map(|e| GeofenceEvent::parse(e))
                .collect(),
            version: row.try_get("version")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<ApiKey> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(ApiKey {
            id: row.try_get("id")?,
            name: boxed(row, "name")?,
            role: word(row, "role", Role::parse)?,
            key_hash: hash(row, "key_hash")?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<Session> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let mark: Option<&[u8]> = row.try_get("admin_mark")?;
        Ok(Self(Session {
            id: row.try_get("id")?,
            role: word(row, "role", Role::parse)?,
            name: row.try_get::<&str, _>("name")?.into(),
            expires_at: instant(row, "expires_at")?,
            token_hash: hash(row, "token_hash")?,
            admin_mark: mark
                .map(|mark| mark.try_into().map(TokenHash))
                .transpose()
                .map_err(|error| wrong("admin_mark", error))?,
        }))
    }
}

impl FromRow<'_, PgRow> for FromTable<(CourierId, UnixMs)> {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let courier = parsed(row, "courier_id")?;
        Ok(Self((courier, instant(row, "before_received_at")?)))
    }
}

/// The number of a row whose key was told as text.
pub(super) fn number(key: &str) -> Option<Uuid> {
    Uuid::try_parse(key).ok()
}
