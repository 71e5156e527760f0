//! Tracking links: what a customer holds. A token each, shown once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use super::write::{Change, Created};
use crate::access::SecretKind;
use crate::directory::Table;
use crate::domain::{DeliveryId, UnixMs};
use crate::http::{ApiPath, ApiQuery, AsDispatcher, Creating, Page, PageQuery, Problem};

/// A link ends at the latest this long after the delivery's window, milliseconds.
const AFTER_WINDOW_MS: i64 = 24 * 60 * 60 * 1000;
/// A link of a delivery without a window ends after this, milliseconds.
const WITHOUT_WINDOW_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Most links of one delivery that are not revoked.
const MAX_LINKS: i64 = 20;

/// Until when.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkBody {
    /// At the latest 24 hours after the delivery's window, which is what it is unless said otherwise;
    /// 7 days where there is no window.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<UnixMs>,
}

/// A new link. Its token is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewLink {
    pub(super) id: Uuid,
    token: String,
    /// What the customer opens.
    pub(super) url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

/// A link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LinkView {
    id: Uuid,
    /// First characters of its token.
    prefix: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
    /// How many look through it now.
    viewers: u32,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    token_prefix: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

/// When a link ends unless somebody says otherwise.
pub(super) fn default_expiry(window_to: Option<OffsetDateTime>, now: UnixMs) -> UnixMs {
    match window_to {
        Some(to) => UnixMs::from_datetime(to).max(now).plus_ms(AFTER_WINDOW_MS),
        None => now.plus_ms(WITHOUT_WINDOW_MS),
    }
}

/// Adds a link to a delivery within a change.
pub(super) async fn insert(
    dispatch: &Dispatch,
    change: &mut Change,
    delivery: &DeliveryId,
    expires_at: UnixMs,
) -> Result<NewLink, Problem> {
    const COUNT: &str =
        "select count(*) from dispatch.tracking_link where delivery_id = $1 and revoked_at is null";
    const INSERT: &str = "insert into dispatch.tracking_link \
         (id, delivery_id, token_hash, token_prefix, expires_at) values ($1, $2, $3, $4, $5)";
    let count: i64 = sqlx::query_scalar(COUNT)
        .bind(delivery.as_str())
        .fetch_one(change.sql())
        .await?;
    if count >= MAX_LINKS {
        let detail = format!("a delivery has at most {MAX_LINKS} links: revoke one first");
        return Err(Problem::conflict("too_many_links", detail));
    }
    let token = dispatch.inner.chance.issue(SecretKind::Link);
    let id = dispatch.inner.chance.number(dispatch.now().0);
    sqlx::query(INSERT)
        .bind(id)
        .bind(delivery.as_str())
        .bind(&token.hash.0[..])
        .bind(&token.prefix)
        .bind(expires_at.to_datetime())
        .execute(change.sql())
        .await?;
    change.touch(Table::Link, id);
    change
        .audit("link.create", delivery.as_str(), json!({"link": id}))
        .await?;
    let url = dispatch.url(&format!("/t/{}", token.secret));
    Ok(NewLink {
        id,
        token: token.secret,
        url,
        expires_at,
    })
}

/// Moves the ends of a delivery's links with its window: those that end with it follow, and none ends
/// later than it may.
pub(super) async fn follow_window(
    change: &mut Change,
    delivery: &DeliveryId,
    old: Option<OffsetDateTime>,
    new: Option<OffsetDateTime>,
) -> Result<(), Problem> {
    const FOLLOW: &str = "update dispatch.tracking_link set expires_at = \
            case when expires_at = $2 then $3 else least(expires_at, $3) end \
          where delivery_id = $1 and revoked_at is null and expires_at <> $3 returning id";
    let Some(new) = new.filter(|_| old != new) else {
        return Ok(());
    };
    let end = |to: OffsetDateTime| {
        UnixMs::from_datetime(to)
            .plus_ms(AFTER_WINDOW_MS)
            .to_datetime()
    };
    let moved: Vec<Uuid> = sqlx::query_scalar(FOLLOW)
        .bind(delivery.as_str())
        .bind(old.map(end))
        .bind(end(new))
        .fetch_all(change.sql())
        .await?;
    moved
        .into_iter()
        .for_each(|link| change.touch(Table::Link, link));
    Ok(())
}

/// Remembers all links of a delivery that is about to go.
pub(super) async fn touch_all(change: &mut Change, delivery: &DeliveryId) -> Result<(), Problem> {
    const LINKS: &str = "select id from dispatch.tracking_link where delivery_id = $1";
    let links: Vec<Uuid> = sqlx::query_scalar(LINKS)
        .bind(delivery.as_str())
        .fetch_all(change.sql())
        .await?;
    links
        .into_iter()
        .for_each(|link| change.touch(Table::Link, link));
    Ok(())
}

/// List a delivery's links that are not revoked, oldest first.
#[utoipa::path(get, path = "/v1/deliveries/{id}/links", tag = "deliveries",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<LinkView>), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
    ApiPath(delivery): ApiPath<DeliveryId>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<LinkView>>, Problem> {
    const EXISTS: &str = "select exists (select from dispatch.delivery where id = $1)";
    const LIST: &str = "select id, token_prefix, created_at, expires_at from dispatch.tracking_link \
                        where delivery_id = $1 and revoked_at is null \
                          and ($2::uuid is null or id > $2) order by id limit $3";
    let limit = query.limit()?;
    let id = delivery.as_str();
    let exists: bool = sqlx::query_scalar(EXISTS)
        .bind(id)
        .fetch_one(dispatch.pool())
        .await?;
    if !exists {
        return Err(Problem::not_found("this delivery"));
    }
    // Numbers grow with time.
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(id)
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let view = |row: Row| LinkView {
        viewers: dispatch.directory().viewers(&row.id),
        id: row.id,
        prefix: row.token_prefix,
        created_at: UnixMs::from_datetime(row.created_at),
        expires_at: UnixMs::from_datetime(row.expires_at),
    };
    let items = rows.into_iter().map(view).collect();
    Ok(Json(Page::of(items, limit, |link: &LinkView| link.id)))
}

/// Make a tracking link. Its token is shown this once.
#[utoipa::path(post, path = "/v1/deliveries/{id}/links", tag = "deliveries",
    params(("id" = String, Path)), request_body = LinkBody,
    responses((status = 201, body = NewLink), (status = 404, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(delivery): ApiPath<DeliveryId>,
    Creating { body, idempotent }: Creating<LinkBody>,
) -> Result<Response, Problem> {
    const WINDOW: &str = "select window_to from dispatch.delivery where id = $1 for no key update";
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let found: Option<Option<OffsetDateTime>> = sqlx::query_scalar(WINDOW)
        .bind(delivery.as_str())
        .fetch_optional(change.sql())
        .await?;
    let window_to = found.ok_or_else(|| Problem::not_found("this delivery"))?;
    let now = dispatch.now();
    let latest = default_expiry(window_to, now);
    let expires_at = body.expires_at.unwrap_or(latest);
    if expires_at <= now || expires_at > latest {
        let detail = format!("expires_at must be in the future, and not after {latest}");
        return Err(Problem::invalid(detail));
    }
    let link = insert(&dispatch, &mut change, &delivery, expires_at).await?;
    let location = format!("/v1/deliveries/{delivery}/links/{}", link.id);
    change
        .created(Created {
            location,
            version: None,
            body: link,
        })
        .await
}

/// Revoke a link: whoever looks through it sees nothing from now on.
#[utoipa::path(delete, path = "/v1/deliveries/{id}/links/{link}", tag = "deliveries",
    params(("id" = String, Path), ("link" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath((delivery, link)): ApiPath<(DeliveryId, Uuid)>,
) -> Result<StatusCode, Problem> {
    const REVOKE: &str = "update dispatch.tracking_link set revoked_at = now() \
                          where id = $1 and delivery_id = $2 and revoked_at is null";
    let mut change = dispatch.change(&staff).await?;
    let revoke = sqlx::query(REVOKE).bind(link).bind(delivery.as_str());
    if revoke.execute(change.sql()).await?.rows_affected() == 0 {
        return Err(Problem::not_found("this link"));
    }
    change
        .audit("link.revoke", delivery.as_str(), json!({"link": link}))
        .await?;
    change.touch(Table::Link, link);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
