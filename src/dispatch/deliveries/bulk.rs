//! Many deliveries in one call: all of them or none.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Dispatch;
use super::super::write::Created;
use super::body::{DeliveryBody, DeliveryView};
use super::routes::add;
use crate::http::{AsDispatcher, Creating, Problem};

/// Most deliveries of one call.
const MAX_DELIVERIES: usize = 1_000;
/// Largest body of one call, bytes.
pub(in crate::dispatch) const MAX_BODY: usize = 8 << 20;

/// Deliveries as they are given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct BulkBody {
    /// 1 to 1,000.
    deliveries: Vec<DeliveryBody>,
}

/// The deliveries that were created, in the same order.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dispatch) struct BulkView {
    items: Vec<DeliveryView>,
}

/// Create up to 1,000 deliveries, all of them or none. A refusal names the first that is wrong.
#[utoipa::path(post, path = "/v1/deliveries/bulk", tag = "deliveries", request_body = BulkBody,
    responses((status = 201, body = BulkView), (status = 409, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(in crate::dispatch) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    Creating {
        mut body,
        idempotent,
    }: Creating<BulkBody>,
) -> Result<Response, Problem> {
    if !(1..=MAX_DELIVERIES).contains(&body.deliveries.len()) {
        let detail = format!("deliveries: between 1 and {MAX_DELIVERIES} in one call");
        return Err(Problem::invalid(detail));
    }
    dispatch.geocoder().locate(&mut body.deliveries).await?;
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let mut items = Vec::with_capacity(body.deliveries.len());
    for (index, delivery) in body.deliveries.iter().enumerate() {
        let named = |problem: Problem| problem.about(&format!("deliveries[{index}]"));
        let id = delivery
            .id
            .as_ref()
            .ok_or_else(|| named(Problem::invalid("id is missing")))?;
        items.push(
            add(&dispatch, &mut change, id, delivery)
                .await
                .map_err(named)?,
        );
    }
    let location = "/v1/deliveries".to_owned();
    change
        .created(Created {
            location,
            version: None,
            body: BulkView { items },
        })
        .await
}
