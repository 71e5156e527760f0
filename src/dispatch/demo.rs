//! The demo: one delivery that `/demo` always leads to, and the way to be rid of all of it.
//!
//! What belongs to the demo bears the tag `demo`; nothing else is removed with it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use crate::directory::Table;
use crate::http::{ApiJson, AsAdmin, AsDispatcher, Problem};

/// Longest link, bytes.
const MAX_URL: usize = 500;

/// Where `/demo` leads.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DemoBody {
    /// A tracking link of this installation.
    tracking_url: String,
}

const READ: &str = "select tracking_url from dispatch.demo";

impl Dispatch {
    /// The link as it reads today: `http.public_url` may have changed since it was made.
    async fn demo_url(&self) -> sqlx::Result<Option<String>> {
        let made: Option<String> = sqlx::query_scalar(READ).fetch_optional(self.pool()).await?;
        Ok(made.map(|url| {
            let path = url.find("/t/").map_or("", |at| &url[at..]);
            self.url(path)
        }))
    }

    /// Says to the pages whether there is a demo.
    pub(super) async fn look_for_demo(&self) -> sqlx::Result<()> {
        let there_is = self.demo_url().await?.is_some();
        self.inner.demo.set(there_is);
        Ok(())
    }
}

/// Open the page of the delivery that the demo shows.
#[utoipa::path(get, path = "/demo", tag = "demo",
    responses((status = 302), (status = 404, body = Problem)))]
pub(super) async fn go(State(dispatch): State<Dispatch>) -> Result<Response, Problem> {
    let url = dispatch.demo_url().await?;
    let url = url.ok_or_else(|| Problem::not_found("a demo"))?;
    let go = [
        (axum::http::header::LOCATION, url),
        (axum::http::header::CACHE_CONTROL, "no-store".into()),
    ];
    Ok((StatusCode::FOUND, go).into_response())
}

/// Which delivery the demo shows.
#[utoipa::path(get, path = "/v1/demo", tag = "demo",
    responses((status = 200, body = DemoBody), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
) -> Result<Json<DemoBody>, Problem> {
    let tracking_url = dispatch
        .demo_url()
        .await?
        .ok_or_else(|| Problem::not_found("a demo"))?;
    Ok(Json(DemoBody { tracking_url }))
}

/// Say which delivery the demo shows.
#[utoipa::path(put, path = "/v1/demo", tag = "demo", request_body = DemoBody,
    responses((status = 200, body = DemoBody), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn put(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiJson(body): ApiJson<DemoBody>,
) -> Result<Json<DemoBody>, Problem> {
    const PUT: &str = "insert into dispatch.demo (tracking_url) values ($1) \
         on conflict (one) do update set tracking_url = excluded.tracking_url, updated_at = now()";
    // Nobody is to be led elsewhere by a link that looks like ours.
    let ours = body.tracking_url.starts_with(&dispatch.url("/t/"));
    if !ours || body.tracking_url.len() > MAX_URL {
        return Err(Problem::invalid(format!(
            "tracking_url must begin with {}, as it was answered when the link was made",
            dispatch.url("/t/")
        )));
    }
    let mut change = dispatch.change(&staff).await?;
    sqlx::query(PUT)
        .bind(&body.tracking_url)
        .execute(change.sql())
        .await?;
    change.audit("demo.set", "", json!({})).await?;
    change.commit().await?;
    dispatch.inner.demo.set(true);
    Ok(Json(body))
}

/// Remove the demo: its deliveries and its couriers, which are those with the tag `demo`.
#[utoipa::path(delete, path = "/v1/demo", tag = "demo",
    responses((status = 204), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
) -> Result<StatusCode, Problem> {
    const DELIVERIES: &str = "delete from dispatch.delivery where 'demo' = any (tags) \
         or courier_id in (select id from dispatch.courier where 'demo' = any (tags)) returning id";
    const LINKS: &str = "select l.id from dispatch.tracking_link l \
         join dispatch.delivery d on d.id = l.delivery_id \
         where 'demo' = any (d.tags) \
            or d.courier_id in (select id from dispatch.courier where 'demo' = any (tags))";
    const DEVICES: &str = "select v.id from dispatch.device v \
         join dispatch.courier c on c.id = v.courier_id where 'demo' = any (c.tags)";
    const COURIERS: &str = "delete from dispatch.courier where 'demo' = any (tags) returning id";
    const ERASE: &str = "insert into dispatch.erased (courier_id, before_received_at) \
         select id, $2 from unnest($1::text[]) id \
         on conflict (courier_id) do update \
            set before_received_at = excluded.before_received_at, erased_at = now()";
    let mut change = dispatch.change(&staff).await?;
    let links: Vec<Uuid> = sqlx::query_scalar(LINKS).fetch_all(change.sql()).await?;
    let devices: Vec<Uuid> = sqlx::query_scalar(DEVICES).fetch_all(change.sql()).await?;
    let deliveries: Vec<String> = sqlx::query_scalar(DELIVERIES)
        .fetch_all(change.sql())
        .await?;
    let couriers: Vec<String> = sqlx::query_scalar(COURIERS).fetch_all(change.sql()).await?;
    sqlx::query("delete from dispatch.demo")
        .execute(change.sql())
        .await?;
    let now = dispatch.now().to_datetime();
    sqlx::query(ERASE)
        .bind(&couriers)
        .bind(now)
        .execute(change.sql())
        .await?;
    let counts = json!({"couriers": couriers.len(), "deliveries": deliveries.len()});
    change.audit("demo.remove", "", counts).await?;
    links
        .into_iter()
        .for_each(|id| change.touch(Table::Link, id));
    devices
        .into_iter()
        .for_each(|id| change.touch(Table::Device, id));
    deliveries
        .into_iter()
        .for_each(|id| change.touch(Table::Delivery, id));
    for courier in couriers {
        change.touch(Table::Erased, &courier);
        change.touch(Table::Courier, courier);
    }
    change.commit().await?;
    dispatch.inner.demo.set(false);
    Ok(StatusCode::NO_CONTENT)
}
