//! What was true then: each courier's deliveries with the steps that people took, and when the
//! courier was on duty.
//!
//! Steps that a rule took are left out: the rules that are tried take their own. Windows, places and
//! the order of a run are those of today; only steps, couriers and duty have a history.

use rustc_hash::FxHashMap;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, Row};
use time::OffsetDateTime;

use crate::domain::{
    CourierId, Delivery, DeliveryId, DeliveryStatus, Place, Position, TimelineEntry, UnixMs, Window,
};

/// Most deliveries that are held at once.
const MAX_DELIVERIES: usize = 200_000;
/// Most changes of duty.
const MAX_DUTIES: i64 = 1_000_000;

/// A delivery while one courier had it.
#[derive(Debug, Clone)]
pub(super) struct DeliveryThen {
    /// As it was given to the courier, without a step.
    pub(super) delivery: Delivery,
    /// When the courier got it, and lost it to another one.
    pub(super) from: UnixMs,
    pub(super) until: UnixMs,
    /// Steps that people took, oldest first.
    pub(super) steps: Vec<TimelineEntry>,
}

/// What was true of one courier.
#[derive(Debug, Clone, Default)]
pub(super) struct CourierThen {
    pub(super) deliveries: Vec<DeliveryThen>,
    /// When the courier went on duty (true) or off, oldest first.
    pub(super) duty: Vec<(UnixMs, bool)>,
}

/// What was true of all couriers.
pub(super) type Past = FxHashMap<CourierId, CourierThen>;

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum PastError {
    /// Postgres failed.
    #[error("the database is out of reach or failed: {0}")]
    Database(#[from] sqlx::Error),
    /// More than fits into memory.
    #[error("more than {MAX_DELIVERIES} deliveries fall into this time: choose a shorter one")]
    TooMany,
}

/// Reads what was true between `from` and `to`.
pub(super) async fn load(
    pool: &PgPool,
    from: UnixMs,
    to: UnixMs,
    courier: Option<&CourierId>,
) -> Result<Past, PastError> {
    let mut past = Past::default();
    let rows: Vec<DeliveryRow> = sqlx::query_as(
        "select d.id, d.courier_id, d.sequence, d.pickup_lat, d.pickup_lon, d.dropoff_lat,
                d.dropoff_lon, d.window_from, d.window_to, d.timeline, d.created_at,
                exists (select from public.event e where e.delivery_id = d.id
                           and e.type = 'delivery.arrived' and e.evidence ? 'rule') as by_rule,
                array(select e.courier_id from public.event e where e.delivery_id = d.id
                         and e.type = 'delivery.assigned' and e.courier_id is not null
                       order by e.id) as holders,
                array(select e.at from public.event e where e.delivery_id = d.id
                         and e.type = 'delivery.assigned' and e.courier_id is not null
                       order by e.id) as held_from
           from dispatch.delivery d
          where d.created_at < $2 and (d.completed_at is null or d.completed_at >= $1)
            and d.courier_id is not null
          limit $3",
    )
    .bind(from.to_datetime())
    .bind(to.to_datetime())
    .bind(MAX_DELIVERIES as i64 + 1)
    .fetch_all(pool)
    .await?;
    if rows.len() > MAX_DELIVERIES {
        return Err(PastError::TooMany);
    }
    let wanted = |id: &CourierId| courier.is_none_or(|only| only == id);
    for row in rows {
        for (holder, then) in row.shares() {
            if wanted(&holder) {
                past.entry(holder).or_default().deliveries.push(then);
            }
        }
    }
    let duties: Vec<(String, OffsetDateTime, bool)> = sqlx::query_as(
        // A phone without a network tells later when it was.
        "select subject, coalesce((detail ->> 'at')::timestamptz, at) as since,
                (detail ->> 'on_duty')::boolean
           from dispatch.audit
          where action = 'courier.duty' and at >= $1 and at < $2 and detail ->> 'on_duty' is not null
          order by since, id limit $3",
    )
    .bind(from.to_datetime())
    .bind(to.to_datetime())
    .bind(MAX_DUTIES)
    .fetch_all(pool)
    .await?;
    for (subject, at, on_duty) in duties {
        if let Ok(id) = CourierId::try_from(subject)
            && wanted(&id)
        {
            let duty = &mut past.entry(id).or_default().duty;
            duty.push((UnixMs::from_datetime(at), on_duty));
        }
    }
    Ok(past)
}

struct DeliveryRow {
    delivery: Delivery,
    created_at: UnixMs,
    /// The step to `arrived` was a rule's.
    by_rule: bool,
    /// Who had it, and since when.
    holders: Vec<(CourierId, UnixMs)>,
}

impl DeliveryRow {
    /// The delivery once for each courier who had it.
    fn shares(self) -> Vec<(CourierId, DeliveryThen)> {
        let mut holders = self.holders;
        if holders.is_empty() {
            // Events are kept for a time only.
            holders.extend(
                self.delivery
                    .courier_id
                    .clone()
                    .map(|id| (id, self.created_at)),
            );
        }
        let taken =
            |step: &&TimelineEntry| !(self.by_rule && step.status == DeliveryStatus::Arrived);
        let steps: Vec<_> = self
            .delivery
            .timeline
            .iter()
            .filter(taken)
            .copied()
            .collect();
        let blank = Delivery {
            timeline: Vec::new(),
            status: DeliveryStatus::Created,
            ..self.delivery
        };
        let next = holders.iter().map(|(_, from)| *from).skip(1);
        let ends: Vec<UnixMs> = next.chain([UnixMs(i64::MAX)]).collect();
        let shares = holders.into_iter().zip(ends);
        shares
            .map(|((courier, from), until)| {
                let delivery = Delivery {
                    courier_id: Some(courier.clone()),
                    ..blank.clone()
                };
                let steps = steps.clone();
                (
                    courier,
                    DeliveryThen {
                        delivery,
                        from,
                        until,
                        steps,
                    },
                )
            })
            .collect()
    }
}

impl FromRow<'_, PgRow> for DeliveryRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| sqlx::Error::Decode(error.to_string().into());
        let place = |lat: &str, lon: &str| {
            let position = Position::from_degrees(row.try_get(lat)?, row.try_get(lon)?);
            Ok::<_, sqlx::Error>(Place {
                position: position.map_err(|e| wrong(&e))?,
                label: None,
            })
        };
        let instant = |column: &str| {
            let at: Option<OffsetDateTime> = row.try_get(column)?;
            Ok::<_, sqlx::Error>(at.map(UnixMs::from_datetime))
        };
        let window = match (instant("window_from")?, instant("window_to")?) {
            (Some(from), Some(to)) => Some(Window { from, to }),
            _ => None,
        };
        let courier: Option<&str> = row.try_get("courier_id")?;
        let id = DeliveryId::try_from(row.try_get::<&str, _>("id")?).map_err(|e| wrong(&e))?;
        let Json(timeline): Json<Vec<TimelineEntry>> = row.try_get("timeline")?;
        let names: Vec<String> = row.try_get("holders")?;
        let since: Vec<OffsetDateTime> = row.try_get("held_from")?;
        let holders = names
            .into_iter()
            .zip(since)
            .filter_map(|(id, at)| Some((CourierId::try_from(id).ok()?, UnixMs::from_datetime(at))))
            .collect();
        Ok(Self {
            delivery: Delivery {
                id,
                courier_id: courier.and_then(|id| CourierId::try_from(id).ok()),
                status: DeliveryStatus::Created,
                sequence: row.try_get("sequence")?,
                pickup: place("pickup_lat", "pickup_lon")?,
                dropoff: place("dropoff_lat", "dropoff_lon")?,
                window,
                timeline,
                reference: None,
                tags: Box::default(),
                version: 0,
            },
            created_at: instant("created_at")?.unwrap_or_default(),
            by_rule: row.try_get("by_rule")?,
            holders,
        })
    }
}
