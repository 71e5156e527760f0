//! Signing in and out of the pages: by a key, by name and password, or by a code that works once.

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use super::onboarding::{CODE_VALID_MS, Nothing, too_often};
use super::write::Created;
use crate::access::{AccessError, LetInBy, PasswordError, SecretKind, csrf_token, hash_secret};
use crate::directory::{Role, Table, TokenHash};
use crate::domain::UnixMs;
use crate::http::{
    ApiJson, AsAdmin, AsAnalyst, ClientAddr, Creating, Problem, SESSION_COOKIE, session_cookie,
};

/// How long a browser stays signed in, milliseconds: a week.
const SESSION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// One of: a key, a user name with a password, a code that works once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInBody {
    key: Option<String>,
    username: Option<String>,
    password: Option<String>,
    code: Option<String>,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    name: String,
    role: Role,
    /// To be sent back with every change in the header X-CSRF-Token. Null for an API key.
    csrf_token: Option<String>,
}

/// Whom a sign-in lets in.
struct SignedIn {
    name: String,
    role: Role,
    account: Option<Uuid>,
    api_key: Option<Uuid>,
    admin_mark: Option<TokenHash>,
}

/// Sign in. The session comes as a cookie.
#[utoipa::path(post, path = "/v1/session", tag = "access", request_body = SignInBody,
    responses((status = 201, body = SessionView), (status = 401, body = Problem),
        (status = 429, body = Problem)))]
pub(super) async fn sign_in(
    State(dispatch): State<Dispatch>,
    ClientAddr(address): ClientAddr,
    ApiJson(body): ApiJson<SignInBody>,
) -> Result<Response, Problem> {
    let name = body.username.as_deref().unwrap_or_default();
    dispatch
        .inner
        .sign_in
        .check(address, name)
        .map_err(too_often)?;
    let signed_in = match body {
        SignInBody {
            key: Some(key),
            username: None,
            password: None,
            code: None,
        } => by_key(&dispatch, &key)?,
        SignInBody {
            username: Some(name),
            password: Some(password),
            key: None,
            code: None,
        } => by_password(&dispatch, name, password).await?,
        SignInBody {
            code: Some(code),
            key: None,
            username: None,
            password: None,
        } => by_code(&dispatch, &code).await?,
        _ => {
            let detail = "give either key, or username and password, or code";
            return Err(Problem::invalid(detail));
        }
    };
    begin(&dispatch, signed_in).await
}

fn by_key(dispatch: &Dispatch, key: &str) -> Result<SignedIn, Problem> {
    let access = &dispatch.inner.access;
    let staff = access.staff(key)?;
    let (api_key, admin_mark) = match staff.by {
        LetInBy::ApiKey(id) => (Some(id), None),
        _ => (None, access.admin_mark()),
    };
    let name = staff.name.to_string();
    Ok(SignedIn {
        name,
        role: staff.role,
        account: None,
        api_key,
        admin_mark,
    })
}

async fn by_password(
    dispatch: &Dispatch,
    username: String,
    password: String,
) -> Result<SignedIn, Problem> {
    const FIND: &str = "select id, name, role, password_hash from dispatch.account \
                        where username = $1 and not disabled";
    type Found = (Uuid, Option<String>, String, String);
    let found: Option<Found> = sqlx::query_as(FIND)
        .bind(&username)
        .fetch_optional(dispatch.pool())
        .await?;
    let stored = found.as_ref().map(|account| account.3.clone());
    let right = dispatch.inner.passwords.verify(password, stored).await;
    let right = right.map_err(|error| match error {
        PasswordError::Busy => Problem::too_many(error.to_string(), 5),
        _ => Problem::invalid(error.to_string()),
    })?;
    let (id, name, role, _) = found.filter(|_| right).ok_or(AccessError::Unauthorized)?;
    let role = Role::parse(&role).ok_or(AccessError::Unauthorized)?;
    let name = name.unwrap_or(username);
    Ok(SignedIn {
        name,
        role,
        account: Some(id),
        api_key: None,
        admin_mark: None,
    })
}

async fn by_code(dispatch: &Dispatch, code: &str) -> Result<SignedIn, Problem> {
    const TAKE: &str = "delete from dispatch.one_time_code \
         where code_hash = $1 and kind = 'sign_in' and expires_at > $2 returning 1";
    let taken: Option<i32> = sqlx::query_scalar(TAKE)
        .bind(&hash_secret(code).0[..])
        .bind(dispatch.now().to_datetime())
        .fetch_optional(dispatch.pool())
        .await?;
    taken.ok_or(AccessError::Unauthorized)?;
    let name = "sign-in code".to_owned();
    let admin_mark = dispatch.inner.access.admin_mark();
    Ok(SignedIn {
        name,
        role: Role::Admin,
        account: None,
        api_key: None,
        admin_mark,
    })
}

async fn begin(dispatch: &Dispatch, who: SignedIn) -> Result<Response, Problem> {
    const INSERT: &str = "insert into dispatch.session \
            (id, token_hash, role, name, account_id, api_key_id, admin_mark, expires_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let mut change = dispatch
        .change_by(who.name.clone(), who.role.as_str())
        .await?;
    let token = dispatch.inner.chance.issue(SecretKind::Session);
    let now = dispatch.now();
    let id = dispatch.inner.chance.number(now.0);
    sqlx::query(INSERT)
        .bind(id)
        .bind(&token.hash.0[..])
        .bind(who.role.as_str())
        .bind(&who.name)
        .bind(who.account)
        .bind(who.api_key)
        .bind(who.admin_mark.as_ref().map(|mark| mark.0.to_vec()))
        .bind(now.plus_ms(SESSION_MS).to_datetime())
        .execute(change.sql())
        .await?;
    change
        .audit("session.begin", &id.to_string(), json!({}))
        .await?;
    change.touch(Table::Session, id);
    let csrf_token = Some(csrf_token(&token.secret));
    let body = SessionView {
        name: who.name,
        role: who.role,
        csrf_token,
    };
    let created = Created {
        location: "/v1/session".to_owned(),
        version: None,
        body,
    };
    let mut response = change.created(created).await?;
    set_cookie(dispatch, &mut response, &token.secret, SESSION_MS / 1000);
    Ok(response)
}

/// Not to be read by scripts, not to be sent by other sites, and by encrypted ways alone if we are
/// reached by one.
fn set_cookie(dispatch: &Dispatch, response: &mut Response, value: &str, max_age_s: i64) {
    let secure = if dispatch.inner.public_url.starts_with("https://") {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}"
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// Sign out: the session ends, here and everywhere.
#[utoipa::path(delete, path = "/v1/session", tag = "access",
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem)),
    security(("session" = [])))]
pub(super) async fn sign_out(
    State(dispatch): State<Dispatch>,
    AsAnalyst(staff): AsAnalyst,
) -> Result<Response, Problem> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let LetInBy::Session(id) = staff.by {
        let mut change = dispatch.change(&staff).await?;
        end(change.sql(), id).await?;
        change
            .audit("session.end", &id.to_string(), json!({}))
            .await?;
        change.touch(Table::Session, id);
        change.commit().await?;
    }
    set_cookie(&dispatch, &mut response, "", 0);
    Ok(response)
}

/// Ends a session; answers whether there was one.
pub(super) async fn end(sql: &mut PgConnection, id: Uuid) -> Result<bool, Problem> {
    let ended = sqlx::query("delete from dispatch.session where id = $1").bind(id);
    Ok(ended.execute(sql).await?.rows_affected() > 0)
}

/// Who am I?
#[utoipa::path(get, path = "/v1/me", tag = "access",
    responses((status = 200, body = SessionView), (status = 401, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn me(AsAnalyst(staff): AsAnalyst, parts: Parts) -> Json<SessionView> {
    let session = matches!(staff.by, LetInBy::Session(_))
        .then(|| session_cookie(&parts))
        .flatten();
    Json(SessionView {
        name: staff.name.to_string(),
        role: staff.role,
        csrf_token: session.map(csrf_token),
    })
}

/// A code to sign in with, as a link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInCode {
    /// The page that signs in.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

/// Make a link that signs a browser in as admin, once, within 15 minutes.
#[utoipa::path(post, path = "/v1/sign-in-codes", tag = "access",
    responses((status = 201, body = SignInCode), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create_sign_in_code(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    Creating { idempotent, .. }: Creating<Nothing>,
) -> Result<Response, Problem> {
    const INSERT: &str = "insert into dispatch.one_time_code (code_hash, kind, expires_at) \
                          values ($1, 'sign_in', $2)";
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let code = dispatch.inner.chance.issue(SecretKind::OneTime);
    let expires_at = dispatch.now().plus_ms(CODE_VALID_MS);
    sqlx::query(INSERT)
        .bind(&code.hash.0[..])
        .bind(expires_at.to_datetime())
        .execute(change.sql())
        .await?;
    change.audit("sign_in_code.create", "", json!({})).await?;
    // Behind the hash, so that it reaches no server's log.
    let url = dispatch.url(&format!("/sign-in#code={}", code.secret));
    let body = SignInCode { url, expires_at };
    let location = "/v1/sign-in-codes".to_owned();
    change
        .created(Created {
            location,
            version: None,
            body,
        })
        .await
}
