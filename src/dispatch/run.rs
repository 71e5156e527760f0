//! A courier's run: the order of the stops.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Dispatch;
use super::devices::must_exist;
use crate::directory::Table;
use crate::domain::{CourierId, DeliveryId};
use crate::http::{ApiJson, ApiPath, AsDispatcher, Problem};

/// All open deliveries of a courier, in the order in which they shall be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunBody {
    #[schema(value_type = Vec<String>)]
    deliveries: Vec<DeliveryId>,
}

/// Put a courier's open deliveries into another order. All of them must be named, each once, so that
/// nobody's stop is forgotten that was added meanwhile.
#[utoipa::path(put, path = "/v1/couriers/{id}/run", tag = "couriers", params(("id" = String, Path)),
    request_body = RunBody,
    responses((status = 200, body = RunBody), (status = 404, body = Problem),
        (status = 409, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn put(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(courier): ApiPath<CourierId>,
    ApiJson(body): ApiJson<RunBody>,
) -> Result<Json<RunBody>, Problem> {
    const OPEN: &str = "select id from dispatch.delivery \
         where courier_id = $1 and completed_at is null order by id for update";
    const ORDER: &str = "update dispatch.delivery d \
            set sequence = place.at::int, version = version + 1, updated_at = now() \
           from unnest($1::text[]) with ordinality as place (id, at) \
          where d.id = place.id and d.sequence <> place.at::int";
    let mut change = dispatch.change(&staff).await?;
    must_exist(change.sql(), &courier).await?;
    let open: Vec<String> = sqlx::query_scalar(OPEN)
        .bind(courier.as_str())
        .fetch_all(change.sql())
        .await?;
    let wanted: Vec<&str> = body.deliveries.iter().map(DeliveryId::as_str).collect();
    let mut sorted = wanted.clone();
    sorted.sort_unstable();
    if sorted != open {
        let detail = format!(
            "name all {} open deliveries of this courier, each once; they have changed, or one is not \
             this courier's",
            open.len()
        );
        return Err(Problem::conflict("run_changed", detail));
    }
    sqlx::query(ORDER)
        .bind(&wanted)
        .execute(change.sql())
        .await?;
    change
        .audit(
            "courier.run",
            courier.as_str(),
            json!({"deliveries": wanted}),
        )
        .await?;
    wanted
        .iter()
        .for_each(|id| change.touch(Table::Delivery, id));
    change.commit().await?;
    Ok(Json(body))
}
