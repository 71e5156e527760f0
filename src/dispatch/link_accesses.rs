//! Who looked through a tracking link, as far as that may be known: when, how, from which network.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use crate::domain::{DeliveryId, UnixMs};
use crate::http::{ApiPath, ApiQuery, AsDispatcher, Page, PageQuery, Problem};

/// Which link of which delivery.
#[derive(Debug, Deserialize)]
pub(super) struct LinkPath {
    id: DeliveryId,
    link: Uuid,
}

/// Looks of one hour.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccessView {
    /// The hour that they are counted in.
    #[schema(value_type = String, format = DateTime)]
    hour: UnixMs,
    /// `websocket` and `events` count connections, `poll` requests.
    channel: String,
    /// The /24 or /48 that the looks came from.
    network: String,
    /// How many.
    looks: i64,
    #[schema(value_type = String, format = DateTime)]
    first_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    last_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    hour: OffsetDateTime,
    channel: String,
    network: String,
    looks: i64,
    first_at: OffsetDateTime,
    last_at: OffsetDateTime,
}

/// List when a tracking link was looked at, by hour and network, newest first.
#[utoipa::path(get, path = "/v1/deliveries/{id}/links/{link}/accesses", tag = "deliveries",
    params(("id" = String, Path), ("link" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<AccessView>), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
    ApiPath(LinkPath { id, link }): ApiPath<LinkPath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<AccessView>>, Problem> {
    const EXISTS: &str = "select exists (select from dispatch.tracking_link \
                                          where id = $1 and delivery_id = $2)";
    const LIST: &str = "select hour, channel, network::text as network, looks, first_at, last_at \
         from dispatch.link_access where link_id = $1 \
          and ($2::timestamptz is null or (-extract(epoch from hour), channel, network::text) \
               > (-extract(epoch from $2), $3, $4)) \
         order by hour desc, channel, network::text limit $5";
    let limit = query.limit()?;
    let after = query.after::<(UnixMs, String, String)>()?;
    let exists: bool = sqlx::query_scalar(EXISTS)
        .bind(link)
        .bind(id.as_str())
        .fetch_one(dispatch.pool())
        .await?;
    if !exists {
        return Err(Problem::not_found("this link"));
    }
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(link)
        .bind(after.as_ref().map(|(hour, ..)| hour.to_datetime()))
        .bind(after.as_ref().map(|(_, channel, _)| channel))
        .bind(after.as_ref().map(|(.., network)| network))
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let view = |row: Row| AccessView {
        hour: UnixMs::from_datetime(row.hour),
        channel: row.channel,
        network: row.network,
        looks: row.looks,
        first_at: UnixMs::from_datetime(row.first_at),
        last_at: UnixMs::from_datetime(row.last_at),
    };
    let items = rows.into_iter().map(view).collect();
    let key = |row: &AccessView| (row.hour, row.channel.clone(), row.network.clone());
    Ok(Json(Page::of(items, limit, key)))
}
