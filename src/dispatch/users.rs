//! People who sign in with a name and a password.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use super::write::{Change, Created};
use crate::access::PasswordError;
use crate::directory::{Role, Table};
use crate::domain::UnixMs;
use crate::http::{
    ApiJson, ApiPath, ApiQuery, AsAdmin, Creating, IfMatch, Page, PageQuery, Problem, Text, etag,
};

/// A user as it is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserBody {
    /// To sign in with: 1 to 64 of A–Z a–z 0–9 . _ @ -
    username: String,
    /// At least 10 characters.
    password: String,
    role: Role,
    /// Shown in the audit log; the user name unless said otherwise.
    name: Option<Text<200>>,
}

/// What to change of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserPatch {
    password: Option<String>,
    role: Option<Role>,
    name: Option<Text<200>>,
    /// A disabled user cannot sign in and is signed out everywhere.
    disabled: Option<bool>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserView {
    id: Uuid,
    username: String,
    name: Option<String>,
    role: String,
    disabled: bool,
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    username: String,
    name: Option<String>,
    role: String,
    disabled: bool,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Row> for UserView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            username: row.username,
            name: row.name,
            role: row.role,
            disabled: row.disabled,
            version: row.version,
            created_at: UnixMs::from_datetime(row.created_at),
            updated_at: UnixMs::from_datetime(row.updated_at),
        }
    }
}

fn refused(error: PasswordError) -> Problem {
    match error {
        PasswordError::Length => Problem::invalid(format!("password: {error}")),
        PasswordError::Busy => Problem::too_many(error.to_string(), 5),
        PasswordError::Failed => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        ),
    }
}

/// List users, oldest first.
#[utoipa::path(get, path = "/v1/users", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<UserView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsAdmin,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<UserView>>, Problem> {
    const LIST: &str =
        "select * from dispatch.account where ($1::uuid is null or id > $1) order by id limit $2";
    let limit = query.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let items = rows.into_iter().map(UserView::from).collect();
    Ok(Json(Page::of(items, limit, |user: &UserView| user.id)))
}

/// Add a user.
#[utoipa::path(post, path = "/v1/users", tag = "access", request_body = UserBody,
    responses((status = 201, body = UserView), (status = 409, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    Creating { body, idempotent }: Creating<UserBody>,
) -> Result<Response, Problem> {
    const INSERT: &str = "insert into dispatch.account (id, username, name, role, password_hash) \
                          values ($1, $2, $3, $4, $5) returning *";
    // Before the transaction: it takes a while.
    let hash = dispatch
        .inner
        .passwords
        .hash(body.password)
        .await
        .map_err(refused)?;
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let row: Row = sqlx::query_as(INSERT)
        .bind(dispatch.inner.chance.number(dispatch.now().0))
        .bind(&body.username)
        .bind(body.name.map(Text::into_string))
        .bind(body.role.as_str())
        .bind(hash)
        .fetch_one(change.sql())
        .await?;
    change
        .audit("user.create", &row.username, json!({"role": body.role}))
        .await?;
    let location = format!("/v1/users/{}", row.id);
    let version = Some(row.version);
    change
        .created(Created {
            location,
            version,
            body: UserView::from(row),
        })
        .await
}

/// Ends all sessions of a user.
async fn sign_out(change: &mut Change, user: Uuid) -> Result<(), Problem> {
    const END: &str = "delete from dispatch.session where account_id = $1 returning id";
    let ended: Vec<Uuid> = sqlx::query_scalar(END)
        .bind(user)
        .fetch_all(change.sql())
        .await?;
    ended
        .into_iter()
        .for_each(|session| change.touch(Table::Session, session));
    Ok(())
}

async fn lock(change: &mut Change, id: Uuid, seen: IfMatch) -> Result<(), Problem> {
    const LOCK: &str = "select version from dispatch.account where id = $1 for update";
    let version: Option<i64> = sqlx::query_scalar(LOCK)
        .bind(id)
        .fetch_optional(change.sql())
        .await?;
    seen.check(version.ok_or_else(|| Problem::not_found("this user"))?)
}

/// Change a user. A new password, another role, or being disabled ends the user's sessions.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "access", params(("id" = Uuid, Path)),
    request_body = UserPatch,
    responses((status = 200, body = UserView), (status = 404, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn patch(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(id): ApiPath<Uuid>,
    seen: IfMatch,
    ApiJson(patch): ApiJson<UserPatch>,
) -> Result<Response, Problem> {
    const PATCH: &str = "update dispatch.account set \
            password_hash = coalesce($2, password_hash), role = coalesce($3, role), \
            name = coalesce($4, name), disabled = coalesce($5, disabled), \
            version = version + 1, updated_at = now() \
          where id = $1 returning *";
    let ends = patch.password.is_some() || patch.role.is_some() || patch.disabled == Some(true);
    let hash = match patch.password {
        Some(password) => Some(
            dispatch
                .inner
                .passwords
                .hash(password)
                .await
                .map_err(refused)?,
        ),
        None => None,
    };
    let mut change = dispatch.change(&staff).await?;
    lock(&mut change, id, seen).await?;
    let row: Row = sqlx::query_as(PATCH)
        .bind(id)
        .bind(&hash)
        .bind(patch.role.map(Role::as_str))
        .bind(patch.name.map(Text::into_string))
        .bind(patch.disabled)
        .fetch_one(change.sql())
        .await?;
    if ends {
        sign_out(&mut change, id).await?;
    }
    let detail =
        json!({"role": patch.role, "disabled": patch.disabled, "password": hash.is_some()});
    change.audit("user.patch", &row.username, detail).await?;
    change.commit().await?;
    Ok((etag(row.version), Json(UserView::from(row))).into_response())
}

/// Remove a user, who is signed out everywhere.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(id): ApiPath<Uuid>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    const DELETE: &str = "delete from dispatch.account where id = $1 returning username";
    let mut change = dispatch.change(&staff).await?;
    lock(&mut change, id, seen).await?;
    sign_out(&mut change, id).await?;
    let username: String = sqlx::query_scalar(DELETE)
        .bind(id)
        .fetch_one(change.sql())
        .await?;
    change.audit("user.delete", &username, json!({})).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
