//! Codes to join for many couriers at once: what a printed sheet is made of.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Dispatch;
use super::onboarding::{JoinCode, join_code_of, new_join_code};
use super::write::Created;
use crate::domain::CourierId;
use crate::http::{AsDispatcher, Creating, Problem};

/// Most couriers of one sheet.
const MAX_COURIERS: usize = 200;

/// Whose codes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SheetBody {
    /// 1 to 200, each once.
    #[schema(value_type = Vec<String>)]
    couriers: Vec<CourierId>,
}

/// A courier's code.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SheetItem {
    courier_id: String,
    courier_name: Option<String>,
    #[serde(flatten)]
    code: JoinCode,
}

/// Codes in the order in which they were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SheetView {
    items: Vec<SheetItem>,
}

/// Make codes with which phones of many couriers join, one each, within 15 minutes; all or none.
#[utoipa::path(post, path = "/v1/join-codes", tag = "couriers", request_body = SheetBody,
    responses((status = 201, body = SheetView), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    Creating { body, idempotent }: Creating<SheetBody>,
) -> Result<Response, Problem> {
    // So that none of them is deleted meanwhile.
    const NAMES: &str =
        "select id, name from dispatch.courier where id = any ($1) order by id for key share";
    let mut wanted: Vec<&str> = body.couriers.iter().map(CourierId::as_str).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if !(1..=MAX_COURIERS).contains(&body.couriers.len()) || wanted.len() < body.couriers.len() {
        let detail = format!("couriers: between 1 and {MAX_COURIERS}, each once");
        return Err(Problem::invalid(detail));
    }
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let known: Vec<(String, Option<String>)> = sqlx::query_as(NAMES)
        .bind(&wanted)
        .fetch_all(change.sql())
        .await?;
    let mut items = Vec::with_capacity(body.couriers.len());
    for courier in &body.couriers {
        let found = known.iter().find(|(id, _)| id == courier.as_str());
        let (courier_id, courier_name) = found
            .cloned()
            .ok_or_else(|| Problem::invalid(format!("couriers: there is no courier {courier}")))?;
        let code = new_join_code(&dispatch, &mut change, courier).await?;
        items.push(SheetItem {
            courier_id,
            courier_name,
            code: join_code_of(&dispatch, code),
        });
    }
    change
        .audit("join_code.sheet", "", json!({"couriers": wanted}))
        .await?;
    change
        .created(Created {
            location: "/v1/join-codes".to_owned(),
            version: None,
            body: SheetView { items },
        })
        .await
}
