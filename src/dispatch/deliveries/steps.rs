//! The steps of a delivery: assigned by a dispatcher, and onward by whoever sees it happen.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::super::Dispatch;
use super::super::write::Change;
use super::body::{DeliveryView, Row};
use super::store;
use crate::directory::Table;
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};
use crate::http::{ApiJson, ApiPath, AsDispatcher, IfMatch, Problem, Text, etag};

/// To whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct AssignBody {
    #[schema(value_type = String)]
    courier_id: CourierId,
    /// Its place in the run; at the end unless said otherwise.
    sequence: Option<i32>,
}

/// Which step.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct StatusBody {
    pub(in crate::dispatch) status: DeliveryStatus,
    /// When it happened, if not now: a phone tells it that was out of reach.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(in crate::dispatch) at: Option<UnixMs>,
    /// Why, above all where it failed.
    pub(in crate::dispatch) reason: Option<Text<500>>,
}

/// Where a delivery stands.
pub(in crate::dispatch) fn status_of(row: &Row) -> Result<DeliveryStatus, Problem> {
    DeliveryStatus::parse(&row.status).ok_or_else(|| {
        let detail = "the delivery has a status that this version does not know";
        Problem::conflict("unknown_status", detail)
    })
}

/// 409: nothing more can be changed.
pub(in crate::dispatch) fn completed(status: DeliveryStatus) -> Problem {
    let detail = format!("the delivery is completed: it is {}", status.as_str());
    Problem::conflict("completed", detail)
}

/// 409 that says which steps there are.
fn wrong_step(from: DeliveryStatus, to: DeliveryStatus) -> Problem {
    let next: Vec<&str> = DeliveryStatus::ALL
        .into_iter()
        .filter(|next| from.may_become(*next))
        .map(DeliveryStatus::as_str)
        .collect();
    let next = match next.is_empty() {
        true => "nothing more".to_owned(),
        false => next.join(", "),
    };
    let (from, to) = (from.as_str(), to.as_str());
    let detail = format!("a delivery that is {from} cannot become {to}, but {next}");
    Problem::conflict("wrong_step", detail)
}

impl Change {
    /// Who took a step, as the event tells it.
    pub(in crate::dispatch) fn evidence(&self) -> serde_json::Value {
        json!({"by": self.by()})
    }
}

/// Give a delivery to a courier. One that another courier has already is only taken from them by a
/// caller who names, by If-Match, the version that says so.
#[utoipa::path(post, path = "/v1/deliveries/{id}/assign", tag = "deliveries",
    params(("id" = String, Path)), request_body = AssignBody,
    responses((status = 200, body = DeliveryView), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn assign(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<DeliveryId>,
    seen: IfMatch,
    ApiJson(body): ApiJson<AssignBody>,
) -> Result<Response, Problem> {
    let mut change = dispatch.change(&staff).await?;
    let current = store::lock(change.sql(), &id).await?;
    let current = current.ok_or_else(|| Problem::not_found("this delivery"))?;
    seen.check(current.version)?;
    let (courier, sequence, now) = (&body.courier_id, body.sequence, dispatch.now());
    give(&mut change, &current, &id, courier, sequence, seen, now).await?;
    let detail = json!({"courier": courier});
    change.audit("delivery.assign", id.as_str(), detail).await?;
    answer(change, &id).await
}

/// Gives a delivery to a courier within a change.
pub(in crate::dispatch) async fn give(
    change: &mut Change,
    current: &Row,
    id: &DeliveryId,
    courier: &CourierId,
    sequence: Option<i32>,
    seen: IfMatch,
    now: UnixMs,
) -> Result<(), Problem> {
    let status = status_of(current)?;
    let evidence = change.evidence();
    match (status, current.courier_id.as_deref()) {
        (DeliveryStatus::Created, _) => {
            store::give(change.sql(), id, courier, sequence, false).await?;
            store::step(change.sql(), id, DeliveryStatus::Assigned, now, &evidence).await?;
        }
        (status, Some(has)) if status.is_open() && has == courier.as_str() => {
            if let Some(sequence) = sequence.filter(|sequence| *sequence != current.sequence) {
                store::give(change.sql(), id, courier, Some(sequence), true).await?;
            }
        }
        (DeliveryStatus::Assigned, Some(has)) => {
            if seen.0.is_none() {
                return Err(Problem::conflict(
                    "already_assigned",
                    format!(
                        "courier {has} has this delivery; to take it from them, send its ETag as \
                         If-Match"
                    ),
                ));
            }
            let evidence = json!({"by": change.by(), "taken_from": has});
            store::give(change.sql(), id, courier, sequence, true).await?;
            store::record_reassigned(change.sql(), id, courier, now, &evidence).await?;
        }
        (status, _) => return Err(wrong_step(status, DeliveryStatus::Assigned)),
    }
    Ok(())
}

/// Take a step: `picked_up`, `arrived`, `delivered`, `failed` or `cancelled`.
#[utoipa::path(post, path = "/v1/deliveries/{id}/status", tag = "deliveries",
    params(("id" = String, Path)), request_body = StatusBody,
    responses((status = 200, body = DeliveryView), (status = 409, body = Problem),
        (status = 412, body = Problem), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn status(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<DeliveryId>,
    seen: IfMatch,
    ApiJson(body): ApiJson<StatusBody>,
) -> Result<Response, Problem> {
    let mut change = dispatch.change(&staff).await?;
    let current = store::lock(change.sql(), &id).await?;
    let current = current.ok_or_else(|| Problem::not_found("this delivery"))?;
    seen.check(current.version)?;
    take(&mut change, &current, &id, &body, dispatch.now()).await?;
    answer(change, &id).await
}

/// Takes a step within a change.
pub(in crate::dispatch) async fn take(
    change: &mut Change,
    current: &Row,
    id: &DeliveryId,
    body: &StatusBody,
    now: UnixMs,
) -> Result<(), Problem> {
    let (from, to) = (status_of(current)?, body.status);
    // A delivery is assigned together with a courier.
    if to == DeliveryStatus::Assigned || !from.may_become(to) {
        return Err(wrong_step(from, to));
    }
    // A clock may be wrong: a step is neither before the one before it nor in the future.
    let last = current.timeline.0.last().map_or(now, |entry| entry.at);
    let at = body.at.unwrap_or(now).max(last).min(now.max(last));
    let mut evidence = json!({"by": change.by()});
    if let Some(reason) = &body.reason {
        evidence["reason"] = reason.as_str().into();
    }
    if !store::step(change.sql(), id, to, at, &evidence).await? {
        return Err(wrong_step(from, to));
    }
    change
        .audit("delivery.status", id.as_str(), json!({"status": to}))
        .await
}

/// The delivery as it is after the change.
pub(in crate::dispatch) async fn answer(
    mut change: Change,
    id: &DeliveryId,
) -> Result<Response, Problem> {
    change.touch(Table::Delivery, id);
    let row = store::read(change.sql(), id).await?;
    change.commit().await?;
    Ok((etag(row.version), Json(DeliveryView::from(row))).into_response())
}
