//! The SQL of deliveries.

use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::body::{Plan, Row};
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};
use crate::http::Problem;

/// The delivery, locked from here on.
pub(in crate::dispatch) async fn lock(
    sql: &mut PgConnection,
    id: &DeliveryId,
) -> Result<Option<Row>, Problem> {
    const LOCK: &str = "select * from dispatch.delivery where id = $1 for update";
    Ok(sqlx::query_as(LOCK)
        .bind(id.as_str())
        .fetch_optional(sql)
        .await?)
}

/// The delivery.
pub(in crate::dispatch) async fn read(
    sql: &mut PgConnection,
    id: &DeliveryId,
) -> Result<Row, Problem> {
    const READ: &str = "select * from dispatch.delivery where id = $1";
    let found: Option<Row> = sqlx::query_as(READ)
        .bind(id.as_str())
        .fetch_optional(sql)
        .await?;
    found.ok_or_else(|| Problem::not_found("this delivery"))
}

/// Adds a delivery that nobody has yet.
pub(in crate::dispatch) async fn insert(
    sql: &mut PgConnection,
    id: &DeliveryId,
    plan: &Plan,
    now: UnixMs,
) -> Result<(), Problem> {
    const INSERT: &str = "insert into dispatch.delivery (id, pickup_lat, pickup_lon, pickup_label, \
            dropoff_lat, dropoff_lon, dropoff_label, window_from, window_to, reference, note, tags, \
            customer_name, customer_phone, customer_email, customer_locale, timeline) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    let timeline = json!([{"status": DeliveryStatus::Created, "at": now}]);
    planned(sqlx::query(INSERT).bind(id.as_str()), plan)
        .bind(timeline)
        .execute(sql)
        .await?;
    Ok(())
}

/// Replaces the plan of a delivery; who has it and where it stands stay.
pub(in crate::dispatch) async fn replace(
    sql: &mut PgConnection,
    id: &DeliveryId,
    plan: &Plan,
    sequence: Option<i32>,
) -> Result<(), Problem> {
    const REPLACE: &str = "update dispatch.delivery set \
            pickup_lat = $2, pickup_lon = $3, pickup_label = $4, dropoff_lat = $5, \
            dropoff_lon = $6, dropoff_label = $7, window_from = $8, window_to = $9, \
            reference = $10, note = $11, tags = $12, customer_name = $13, customer_phone = $14, \
            customer_email = $15, customer_locale = $16, sequence = coalesce($17, sequence), \
            version = version + 1, updated_at = now() \
          where id = $1";
    planned(sqlx::query(REPLACE).bind(id.as_str()), plan)
        .bind(sequence)
        .execute(sql)
        .await?;
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Binds $2 to $16.
fn planned<'q>(query: Query<'q>, plan: &Plan) -> Query<'q> {
    let [name, phone, email, locale] = plan.customer.clone();
    query
        .bind(plan.pickup.position.lat())
        .bind(plan.pickup.position.lon())
        .bind(plan.pickup.label.clone())
        .bind(plan.dropoff.position.lat())
        .bind(plan.dropoff.position.lon())
        .bind(plan.dropoff.label.clone())
        .bind(plan.window.map(|w| w.0))
        .bind(plan.window.map(|w| w.1))
        .bind(plan.reference.clone())
        .bind(plan.note.clone())
        .bind(plan.tags.clone())
        .bind(name)
        .bind(phone)
        .bind(email)
        .bind(locale)
}

/// Gives the delivery to `courier`, at the end of the run unless `sequence` says where. The step to
/// `assigned` is another's.
pub(in crate::dispatch) async fn give(
    sql: &mut PgConnection,
    id: &DeliveryId,
    courier: &CourierId,
    sequence: Option<i32>,
    new_version: bool,
) -> Result<(), Problem> {
    // Two deliveries given to one courier at once must not get one place: the courier is locked.
    const LOCK: &str = "select 1 from dispatch.courier where id = $1 for no key update";
    const GIVE: &str = "update dispatch.delivery set courier_id = $2, \
            sequence = coalesce($3, 1 + coalesce((select max(sequence) from dispatch.delivery \
                where courier_id = $2 and id <> $1 and completed_at is null), 0)), \
            version = version + $4, updated_at = now() \
          where id = $1";
    let found: Option<i32> = sqlx::query_scalar(LOCK)
        .bind(courier.as_str())
        .fetch_optional(&mut *sql)
        .await?;
    if found.is_none() {
        return Err(Problem::invalid(format!(
            "courier_id: there is no courier {courier}"
        )));
    }
    sqlx::query(GIVE)
        .bind(id.as_str())
        .bind(courier.as_str())
        .bind(sequence)
        .bind(i64::from(new_version))
        .execute(sql)
        .await?;
    Ok(())
}

/// Takes a step; answers whether it could be taken.
pub(in crate::dispatch) async fn step(
    sql: &mut PgConnection,
    id: &DeliveryId,
    to: DeliveryStatus,
    at: UnixMs,
    evidence: &Value,
) -> Result<bool, Problem> {
    const STEP: &str = "select dispatch.delivery_step($1, $2, $3, $4, null, null, null, $5)";
    let from: Vec<&str> = to
        .predecessors()
        .into_iter()
        .map(DeliveryStatus::as_str)
        .collect();
    let taken = sqlx::query_scalar(STEP)
        .bind(id.as_str())
        .bind(from)
        .bind(to.as_str())
        .bind(at.to_datetime())
        .bind(evidence)
        .fetch_one(sql)
        .await?;
    Ok(taken)
}

/// Records that another courier has it now.
pub(in crate::dispatch) async fn record_reassigned(
    sql: &mut PgConnection,
    id: &DeliveryId,
    courier: &CourierId,
    at: UnixMs,
    evidence: &Value,
) -> Result<(), Problem> {
    const RECORD: &str = "insert into public.event (type, at, courier_id, delivery_id, evidence) \
                          values ('delivery.assigned', $1, $2, $3, $4)";
    sqlx::query(RECORD)
        .bind(at.to_datetime())
        .bind(courier.as_str())
        .bind(id.as_str())
        .bind(evidence)
        .execute(sql)
        .await?;
    Ok(())
}

/// Which deliveries, as SQL takes it.
pub(in crate::dispatch) struct Filter {
    pub(in crate::dispatch) after: Option<(OffsetDateTime, String)>,
    pub(in crate::dispatch) status: Option<Vec<String>>,
    pub(in crate::dispatch) courier: Option<String>,
    pub(in crate::dispatch) tag: Option<String>,
    pub(in crate::dispatch) reference: Option<String>,
    pub(in crate::dispatch) pattern: Option<String>,
    pub(in crate::dispatch) limit: i64,
}

/// Newest first.
pub(in crate::dispatch) async fn list(
    pool: &sqlx::PgPool,
    filter: Filter,
) -> Result<Vec<Row>, Problem> {
    const LIST: &str = "select * from dispatch.delivery \
         where ($1::timestamptz is null or (created_at, id) < ($1, $2)) \
           and ($3::text[] is null or status = any ($3)) \
           and ($4::text is null or courier_id = $4) \
           and ($5::text is null or $5 = any (tags)) \
           and ($6::text is null or reference = $6) \
           and ($7::text is null or id ilike $7 or reference ilike $7 or dropoff_label ilike $7 \
                or pickup_label ilike $7 or customer_name ilike $7) \
         order by created_at desc, id desc limit $8";
    let (at, id) = filter.after.unzip();
    let rows = sqlx::query_as(LIST)
        .bind(at)
        .bind(id)
        .bind(filter.status)
        .bind(filter.courier)
        .bind(filter.tag)
        .bind(filter.reference)
        .bind(filter.pattern)
        .bind(filter.limit)
        .fetch_all(pool)
        .await?;
    Ok(rows)
}
