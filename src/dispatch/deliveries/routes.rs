//! Create, read, replace, delete, list.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use utoipa::IntoParams;

use super::super::Dispatch;
use super::super::couriers::pattern_of;
use super::super::links;
use super::super::write::{Change, Created};
use super::body::{DeliveryBody, DeliveryView, Row};
use super::{steps, store};
use crate::directory::Table;
use crate::domain::{DeliveryId, DeliveryStatus};
use crate::http::{
    ApiJson, ApiPath, ApiQuery, AsDispatcher, Creating, IfMatch, Page, PageQuery, Problem, etag,
};

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::dispatch) struct DeliveryQuery {
    /// One status or several, separated by commas; `open` is all that are not completed.
    status: Option<String>,
    /// Of this courier.
    courier: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// With this order number.
    reference: Option<String>,
    /// Part of the id, the order number, an address or the customer's name.
    q: Option<String>,
    /// Most items, 1 to 500; 50 unless said otherwise.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn statuses(query: Option<&str>) -> Result<Option<Vec<String>>, Problem> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(None);
    };
    let mut statuses = Vec::new();
    for word in query.split(',').map(str::trim) {
        if word == "open" {
            let open = DeliveryStatus::ALL
                .into_iter()
                .filter(|status| status.is_open());
            statuses.extend(open.map(|status| status.as_str().to_owned()));
        } else if let Some(status) = DeliveryStatus::parse(word) {
            statuses.push(status.as_str().to_owned());
        } else {
            return Err(Problem::invalid(format!(
                "status: created, assigned, picked_up, arrived, delivered, failed, cancelled or open, \
                 not {word}"
            )));
        }
    }
    Ok(Some(statuses))
}

/// List deliveries, newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "deliveries", params(DeliveryQuery),
    responses((status = 200, body = Page<DeliveryView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
    ApiQuery(query): ApiQuery<DeliveryQuery>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = page.limit()?;
    // Microseconds, as Postgres counts them: a row must not be skipped or shown twice.
    let after = page.after::<(i64, String)>()?;
    let instant = |us: i64| OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000);
    let after = match after {
        Some((us, id)) => match instant(us) {
            Ok(at) => Some((at, id)),
            Err(_) => return Err(Problem::invalid("cursor must be the next_cursor of a page")),
        },
        None => None,
    };
    let filter = store::Filter {
        after,
        status: statuses(query.status.as_deref())?,
        courier: query.courier,
        tag: query.tag,
        reference: query.reference,
        pattern: pattern_of(query.q.as_deref()),
        limit: i64::from(limit) + 1,
    };
    let rows = store::list(dispatch.pool(), filter).await?;
    let page = Page::of(rows, limit, |row: &Row| {
        let us = row.created_at.unix_timestamp_nanos() / 1000;
        (i64::try_from(us).unwrap_or_default(), row.id.clone())
    });
    let items = page.items.into_iter().map(DeliveryView::from).collect();
    Ok(Json(Page {
        items,
        next_cursor: page.next_cursor,
    }))
}

/// Create a delivery; with `courier_id` it is assigned at once, with `link` it has a tracking link.
#[utoipa::path(post, path = "/v1/deliveries", tag = "deliveries", request_body = DeliveryBody,
    responses((status = 201, body = DeliveryView), (status = 409, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    Creating {
        mut body,
        idempotent,
    }: Creating<DeliveryBody>,
) -> Result<Response, Problem> {
    dispatch
        .geocoder()
        .locate(std::slice::from_mut(&mut body))
        .await?;
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let id = body
        .id
        .clone()
        .ok_or_else(|| Problem::invalid("id is missing"))?;
    let delivery = add(&dispatch, &mut change, &id, &body).await?;
    let location = format!("/v1/deliveries/{id}");
    change
        .created(Created {
            location,
            version: Some(delivery.version),
            body: delivery,
        })
        .await
}

/// Adds a delivery within a change.
pub(in crate::dispatch) async fn add(
    dispatch: &Dispatch,
    change: &mut Change,
    id: &DeliveryId,
    body: &DeliveryBody,
) -> Result<DeliveryView, Problem> {
    let plan = body.plan()?;
    let now = dispatch.now();
    store::insert(change.sql(), id, &plan, now).await?;
    if let Some(courier) = &body.courier_id {
        store::give(change.sql(), id, courier, body.sequence, false).await?;
        let evidence = change.evidence();
        store::step(change.sql(), id, DeliveryStatus::Assigned, now, &evidence).await?;
    }
    change
        .audit("delivery.create", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Delivery, id);
    let tracking_url = match body.link {
        true => {
            let expires_at = links::default_expiry(plan.window.map(|w| w.1), now);
            Some(links::insert(dispatch, change, id, expires_at).await?.url)
        }
        false => None,
    };
    let row = store::read(change.sql(), id).await?;
    let mut view = DeliveryView::from(row);
    view.tracking_url = tracking_url;
    Ok(view)
}

/// Read a delivery.
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "deliveries", params(("id" = String, Path)),
    responses((status = 200, body = DeliveryView), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn read(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
    ApiPath(id): ApiPath<DeliveryId>,
) -> Result<Response, Problem> {
    let row = store::read(&mut *dispatch.pool().acquire().await?, &id).await?;
    Ok((etag(row.version), Json(DeliveryView::from(row))).into_response())
}

/// Create a delivery under this id, or replace its plan. Where it stands stays; `courier_id` gives it
/// to a courier as `assign` does, and without it whoever has it keeps it.
#[utoipa::path(put, path = "/v1/deliveries/{id}", tag = "deliveries", params(("id" = String, Path)),
    request_body = DeliveryBody,
    responses((status = 200, body = DeliveryView), (status = 201, body = DeliveryView),
        (status = 409, body = Problem), (status = 412, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn put(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<DeliveryId>,
    seen: IfMatch,
    ApiJson(mut body): ApiJson<DeliveryBody>,
) -> Result<Response, Problem> {
    if body.id.as_ref().is_some_and(|other| *other != id) {
        return Err(Problem::invalid("id: another than the one in the path"));
    }
    dispatch
        .geocoder()
        .locate(std::slice::from_mut(&mut body))
        .await?;
    let mut change = dispatch.change(&staff).await?;
    let Some(current) = store::lock(change.sql(), &id).await? else {
        seen.check(0)?;
        let delivery = add(&dispatch, &mut change, &id, &body).await?;
        let location = format!("/v1/deliveries/{id}");
        let created = Created {
            location,
            version: Some(delivery.version),
            body: delivery,
        };
        return change.created(created).await;
    };
    seen.check(current.version)?;
    let plan = body.plan()?;
    let old_end = current.window_to;
    let status = steps::status_of(&current)?;
    if !status.is_open() {
        return Err(steps::completed(status));
    }
    store::replace(change.sql(), &id, &plan, body.sequence).await?;
    links::follow_window(&mut change, &id, old_end, plan.window.map(|w| w.1)).await?;
    if let Some(courier) = &body.courier_id {
        let now = dispatch.now();
        steps::give(
            &mut change,
            &current,
            &id,
            courier,
            body.sequence,
            seen,
            now,
        )
        .await?;
    }
    change.audit("delivery.put", id.as_str(), json!({})).await?;
    change.touch(Table::Delivery, &id);
    let tracking_url = match body.link {
        true => {
            let expires_at = links::default_expiry(plan.window.map(|w| w.1), dispatch.now());
            Some(
                links::insert(&dispatch, &mut change, &id, expires_at)
                    .await?
                    .url,
            )
        }
        false => None,
    };
    let row = store::read(change.sql(), &id).await?;
    change.commit().await?;
    let mut view = DeliveryView::from(row);
    view.tracking_url = tracking_url;
    Ok((etag(view.version), Json(view)).into_response())
}

/// Delete a delivery with its links. To call off one that is open, take the step `cancelled`.
#[utoipa::path(delete, path = "/v1/deliveries/{id}", tag = "deliveries",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn delete(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<DeliveryId>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    const DELETE: &str = "delete from dispatch.delivery where id = $1";
    let mut change = dispatch.change(&staff).await?;
    let current = store::lock(change.sql(), &id).await?;
    let current = current.ok_or_else(|| Problem::not_found("this delivery"))?;
    seen.check(current.version)?;
    if steps::status_of(&current)?.is_under_way() {
        let detail = "the delivery is under way: complete it, or cancel it, before it is deleted";
        return Err(Problem::conflict("under_way", detail));
    }
    links::touch_all(&mut change, &id).await?;
    sqlx::query(DELETE)
        .bind(id.as_str())
        .execute(change.sql())
        .await?;
    change
        .audit("delivery.delete", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Delivery, &id);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
