//! API keys of programs and people.

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
use super::write::Created;
use crate::access::SecretKind;
use crate::directory::{Role, Table};
use crate::domain::UnixMs;
use crate::http::{ApiPath, ApiQuery, AsAdmin, Creating, Page, PageQuery, Problem, Text};

/// A key as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    role: Role,
    /// What people call it.
    name: Option<Text<200>>,
}

/// A new key. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKey {
    id: Uuid,
    key: String,
    role: Role,
    name: Option<String>,
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyView {
    id: Uuid,
    name: Option<String>,
    role: String,
    /// Its first characters.
    prefix: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: Option<String>,
    role: String,
    key_prefix: String,
    created_at: OffsetDateTime,
}

/// List the keys that are not revoked, oldest first.
#[utoipa::path(get, path = "/v1/api-keys", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<KeyView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsAdmin,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<KeyView>>, Problem> {
    // Numbers grow with time.
    const LIST: &str = "select id, name, role, key_prefix, created_at from dispatch.api_key \
         where revoked_at is null and ($1::uuid is null or id > $1) order by id limit $2";
    let limit = query.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let view = |row: Row| KeyView {
        id: row.id,
        name: row.name,
        role: row.role,
        prefix: row.key_prefix,
        created_at: UnixMs::from_datetime(row.created_at),
    };
    let items = rows.into_iter().map(view).collect();
    Ok(Json(Page::of(items, limit, |key: &KeyView| key.id)))
}

/// Make a key. It is shown this once.
#[utoipa::path(post, path = "/v1/api-keys", tag = "access", request_body = KeyBody,
    responses((status = 201, body = NewKey), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    Creating { body, idempotent }: Creating<KeyBody>,
) -> Result<Response, Problem> {
    const INSERT: &str = "insert into dispatch.api_key (id, name, role, key_hash, key_prefix) \
                          values ($1, $2, $3, $4, $5)";
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let key = dispatch.inner.chance.issue(SecretKind::ApiKey);
    let id = dispatch.inner.chance.number(dispatch.now().0);
    let name = body.name.map(Text::into_string);
    sqlx::query(INSERT)
        .bind(id)
        .bind(&name)
        .bind(body.role.as_str())
        .bind(&key.hash.0[..])
        .bind(&key.prefix)
        .execute(change.sql())
        .await?;
    change
        .audit(
            "api_key.create",
            &id.to_string(),
            json!({"role": body.role}),
        )
        .await?;
    change.touch(Table::ApiKey, id);
    let location = format!("/v1/api-keys/{id}");
    let body = NewKey {
        id,
        key: key.secret,
        role: body.role,
        name,
    };
    change
        .created(Created {
            location,
            version: None,
            body,
        })
        .await
}

/// Revoke a key, and every browser session that was begun with it.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<StatusCode, Problem> {
    const REVOKE: &str =
        "update dispatch.api_key set revoked_at = now() where id = $1 and revoked_at is null";
    const END: &str = "delete from dispatch.session where api_key_id = $1 returning id";
    let mut change = dispatch.change(&staff).await?;
    let revoke = sqlx::query(REVOKE).bind(id);
    if revoke.execute(change.sql()).await?.rows_affected() == 0 {
        return Err(Problem::not_found("this key"));
    }
    let ended: Vec<Uuid> = sqlx::query_scalar(END)
        .bind(id)
        .fetch_all(change.sql())
        .await?;
    change
        .audit("api_key.revoke", &id.to_string(), json!({}))
        .await?;
    change.touch(Table::ApiKey, id);
    ended
        .into_iter()
        .for_each(|session| change.touch(Table::Session, session));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
