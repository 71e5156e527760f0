//! What a courier's phone may see and do: its own stops, their steps, and duty.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Dispatch;
use super::deliveries::body::{DeliveryView, Row};
use super::deliveries::steps::{self, StatusBody};
use super::deliveries::store;
use crate::directory::Table;
use crate::domain::{DeliveryId, UnixMs};
use crate::http::{ApiJson, ApiPath, AsDevice, Problem};

/// Most stops that a phone is shown.
const MAX_STOPS: i64 = 500;

/// The courier that a phone belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MeView {
    id: String,
    name: Option<String>,
    on_duty: bool,
}

/// A courier's own stops, in the order of the run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunView {
    courier: MeView,
    items: Vec<DeliveryView>,
}

/// List my stops, in the order of the run.
#[utoipa::path(get, path = "/v1/me/deliveries", tag = "courier",
    responses((status = 200, body = RunView), (status = 401, body = Problem)),
    security(("device" = [])))]
pub(super) async fn deliveries(
    State(dispatch): State<Dispatch>,
    AsDevice(device): AsDevice,
) -> Result<Json<RunView>, Problem> {
    const RUN: &str = "select * from dispatch.delivery \
         where courier_id = $1 and completed_at is null order by sequence, id limit $2";
    let rows: Vec<Row> = sqlx::query_as(RUN)
        .bind(device.courier_id.as_str())
        .bind(MAX_STOPS)
        .fetch_all(dispatch.pool())
        .await?;
    let courier = dispatch.directory().courier(&device.courier_id);
    let courier = MeView {
        id: device.courier_id.to_string(),
        name: courier
            .as_ref()
            .and_then(|c| c.name.as_deref().map(str::to_owned)),
        on_duty: courier.is_none_or(|c| c.on_duty),
    };
    Ok(Json(RunView {
        courier,
        items: rows.into_iter().map(DeliveryView::from).collect(),
    }))
}

/// Take a step of one of my deliveries. A step that was taken already, by me before or by the position,
/// is answered as if it were taken now: a phone repeats what it does not know to have arrived.
#[utoipa::path(post, path = "/v1/me/deliveries/{id}/status", tag = "courier",
    params(("id" = String, Path)), request_body = StatusBody,
    responses((status = 200, body = DeliveryView), (status = 404, body = Problem),
        (status = 409, body = Problem)),
    security(("device" = [])))]
pub(super) async fn status(
    State(dispatch): State<Dispatch>,
    AsDevice(device): AsDevice,
    ApiPath(id): ApiPath<DeliveryId>,
    ApiJson(body): ApiJson<StatusBody>,
) -> Result<Response, Problem> {
    let mut change = dispatch
        .change_by(device.courier_id.to_string(), "courier")
        .await?;
    let current = store::lock(change.sql(), &id).await?;
    let mine = current.filter(|row| row.courier_id.as_deref() == Some(device.courier_id.as_str()));
    // Another courier's delivery is nobody's business.
    let mine = mine.ok_or_else(|| Problem::not_found("this delivery"))?;
    let taken = mine
        .timeline
        .0
        .iter()
        .any(|entry| entry.status == body.status);
    if !taken {
        steps::take(&mut change, &mine, &id, &body, dispatch.now()).await?;
    }
    steps::answer(change, &id).await
}

/// On or off duty.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DutyBody {
    on_duty: bool,
    /// When it began, if not now: a phone tells it that was out of reach. Kept in the audit log.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<UnixMs>,
}

/// What is so from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DutyView {
    on_duty: bool,
}

/// Go on or off duty. Off duty, positions are not stored: a phone that was out of reach sends what it
/// recorded on duty first.
#[utoipa::path(post, path = "/v1/me/duty", tag = "courier", request_body = DutyBody,
    responses((status = 200, body = DutyView), (status = 401, body = Problem)),
    security(("device" = [])))]
pub(super) async fn duty(
    State(dispatch): State<Dispatch>,
    AsDevice(device): AsDevice,
    ApiJson(body): ApiJson<DutyBody>,
) -> Result<Json<DutyView>, Problem> {
    const DUTY: &str = "update dispatch.courier \
            set on_duty = $2, version = version + 1, updated_at = now() \
          where id = $1 and on_duty <> $2";
    let courier = device.courier_id.as_str();
    let on_duty = body.on_duty;
    let mut change = dispatch.change_by(courier.to_owned(), "courier").await?;
    let update = sqlx::query(DUTY).bind(courier).bind(on_duty);
    if update.execute(change.sql()).await?.rows_affected() > 0 {
        let now = dispatch.now();
        let detail = json!({"on_duty": on_duty, "at": body.at.unwrap_or(now).min(now)});
        change.audit("courier.duty", courier, detail).await?;
        change.touch(Table::Courier, courier);
        change.commit().await?;
    }
    Ok(Json(DutyView { on_duty }))
}
