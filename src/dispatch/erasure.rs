//! The right to be forgotten: a courier's recorded data, and a customer's part of a delivery.
//!
//! A courier's erasure is one row in `dispatch.erased`: every reader of the log drops what was
//! received before it, now and in any rebuild; live state forgets the courier as soon as the row is
//! in its Directory; triggers remove stored tracks, with all that was found in them, and where events
//! happened in the same transaction. The bytes in the log go with its retention; the answer says
//! when.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::deliveries::{steps, store};
use super::{Dispatch, links};
use crate::directory::Table;
use crate::domain::{CourierId, DeliveryId, UnixMs};
use crate::http::{ApiPath, AsAdmin, Problem};

/// What was on its way into the database when it was erased is removed within this, milliseconds.
const STORED_GONE_WITHIN_MS: i64 = 60_000;
/// Beyond its retention a record may stay until its segment ends and housekeeping comes by,
/// milliseconds.
const LOG_SLACK_MS: i64 = 2 * 3_600_000;

/// What becomes of erased data, and when the last byte of it is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Erasure {
    /// Data received before this instant is erased; what comes later is stored again.
    #[schema(value_type = String, format = DateTime)]
    erased_before: UnixMs,
    /// Live map, caches, names, phone numbers, places of events: gone with this answer.
    #[schema(value_type = String, format = DateTime)]
    shown_until: UnixMs,
    /// Stored tracks, trips, stops and their part of heatmaps are gone with this answer; what was on
    /// its way into the database meanwhile is gone by then.
    #[schema(value_type = String, format = DateTime)]
    stored_until: UnixMs,
    /// The log's retention has removed the bytes by then; until then no reader is given them. Null:
    /// the log holds nothing of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    log_until: Option<UnixMs>,
    /// What this cannot reach.
    remains: &'static str,
}

/// Erase what is stored of a courier: positions, trips, stops, places of events, name, phone number.
///
/// The courier's id, its devices and its deliveries stay; `DELETE /v1/couriers/{id}` removes those. A
/// courier who was deleted before can be erased as well.
#[utoipa::path(delete, path = "/v1/couriers/{id}/data", tag = "couriers",
    params(("id" = String, Path)),
    responses((status = 200, body = Erasure), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn courier(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(courier): ApiPath<CourierId>,
) -> Result<Json<Erasure>, Problem> {
    const ERASE: &str = "insert into dispatch.erased as e (courier_id, before_received_at) \
         values ($1, $2) on conflict (courier_id) do update \
            set before_received_at = greatest(e.before_received_at, excluded.before_received_at), \
                erased_at = now()";
    const FORGET: &str = "update dispatch.courier \
         set name = null, phone = null, version = version + 1, updated_at = now() where id = $1";
    const CODES: &str = "delete from dispatch.one_time_code where courier_id = $1";
    let mut change = dispatch.change(&staff).await?;
    must_be_known(change.sql(), &courier).await?;
    let now = dispatch.now();
    sqlx::query(ERASE)
        .bind(courier.as_str())
        .bind(now.to_datetime())
        .execute(change.sql())
        .await?;
    for statement in [FORGET, CODES] {
        sqlx::query(statement)
            .bind(courier.as_str())
            .execute(change.sql())
            .await?;
    }
    change
        .audit("courier.erase", courier.as_str(), json!({}))
        .await?;
    change.touch(Table::Erased, &courier);
    change.touch(Table::Courier, &courier);
    change.commit().await?;
    Ok(Json(Erasure {
        erased_before: now,
        shown_until: now,
        stored_until: now.plus_ms(STORED_GONE_WITHIN_MS),
        log_until: Some(now.plus_ms(dispatch.inner.settings.log_kept_ms + LOG_SLACK_MS)),
        remains: "backups that you made, and what webhooks told their receivers",
    }))
}

/// 404 unless there is this courier, or something that one of this id has left behind.
pub(super) async fn must_be_known(
    sql: &mut PgConnection,
    courier: &CourierId,
) -> Result<(), Problem> {
    const KNOWN: &str = "select exists (select from dispatch.courier where id = $1) \
         or exists (select from public.event where courier_id = $1) \
         or exists (select from public.track_segment where courier_id = $1)";
    let known: bool = sqlx::query_scalar(KNOWN)
        .bind(courier.as_str())
        .fetch_one(sql)
        .await?;
    match known {
        true => Ok(()),
        false => Err(Problem::not_found("this courier")),
    }
}

/// What of a delivery says something about its customer is emptied; the door becomes a neighbourhood
/// (two decimals of a degree, about a kilometre).
const FORGET_CUSTOMER: &str = "update dispatch.delivery set \
       customer_name = null, customer_phone = null, customer_email = null, customer_locale = null, \
       pickup_label = null, dropoff_label = null, note = null, reference = null, \
       dropoff_lat = round(dropoff_lat::numeric, 2)::float8, \
       dropoff_lon = round(dropoff_lon::numeric, 2)::float8, \
       version = version + 1, updated_at = now() where id = $1";

/// Erase what is stored of a delivery's customer: name, address, phone number, mail address, note,
/// order number, links with their log, places of events. The delivery must be completed.
#[utoipa::path(delete, path = "/v1/deliveries/{id}/data", tag = "deliveries",
    params(("id" = String, Path)),
    responses((status = 200, body = Erasure), (status = 404, body = Problem),
        (status = 409, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delivery(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(id): ApiPath<DeliveryId>,
) -> Result<Json<Erasure>, Problem> {
    let mut change = dispatch.change(&staff).await?;
    let current = store::lock(change.sql(), &id).await?;
    let current = current.ok_or_else(|| Problem::not_found("this delivery"))?;
    if steps::status_of(&current)?.is_open() {
        let detail =
            "the delivery is open: complete it, or cancel it, before its customer is erased";
        return Err(Problem::conflict("open", detail));
    }
    links::touch_all(&mut change, &id).await?;
    forget_customer(change.sql(), id.as_str()).await?;
    change
        .audit("delivery.erase", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Delivery, &id);
    change.commit().await?;
    let now = dispatch.now();
    Ok(Json(Erasure {
        erased_before: now,
        shown_until: now,
        stored_until: now,
        log_until: None,
        remains: "the courier's track past the door, until it is erased for the courier or dropped \
                  by age; backups that you made, and what webhooks told their receivers",
    }))
}

async fn forget_customer(sql: &mut PgConnection, delivery: &str) -> sqlx::Result<()> {
    for statement in [
        FORGET_CUSTOMER,
        "delete from dispatch.tracking_link where delivery_id = $1",
        "update public.event set lat = null, lon = null, evidence = '{}' where delivery_id = $1",
    ] {
        sqlx::query(statement)
            .bind(delivery)
            .execute(&mut *sql)
            .await?;
    }
    Ok(())
}

/// Does the same for up to `most` deliveries that were completed before `before`; answers how many.
pub(super) async fn forget_customers(
    sql: &mut PgConnection,
    before: time::OffsetDateTime,
    most: i64,
) -> sqlx::Result<u64> {
    const DUE: &str = "select id from dispatch.delivery where completed_at < $1 \
         and (customer_name is not null or customer_phone is not null or customer_email is not null \
              or dropoff_label is not null or note is not null) \
         order by completed_at limit $2 for update skip locked";
    let due: Vec<String> = sqlx::query_scalar(DUE)
        .bind(before)
        .bind(most)
        .fetch_all(&mut *sql)
        .await?;
    for delivery in &due {
        forget_customer(&mut *sql, delivery).await?;
    }
    Ok(due.len() as u64)
}
