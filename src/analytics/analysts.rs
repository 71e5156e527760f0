//! Logins of analysts to Postgres: each is a role of its own that may read what `waylog_analyst` may
//! read, for as long as API.md allows a statement to take, and nothing else.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgPool};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::audit;
use crate::http::{Answer, ApiPath, AsAdmin, Begun, Creating, Problem};

/// What the roles are called, before the analyst's own name.
const PREFIX: &str = "waylog_analyst_";
/// Longest name; Postgres cuts identifiers at 63 bytes.
const MAX_NAME: usize = 32;
/// Random bytes of a password.
const PASSWORD_BYTES: usize = 24;
/// Connections of one analyst at once.
const MAX_CONNECTIONS: u32 = 8;

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
struct Analysts {
    pool: PgPool,
    rng: Arc<Mutex<StdRng>>,
}

pub(super) fn routes(pool: PgPool, rng: Arc<Mutex<StdRng>>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(remove))
        .with_state(Analysts { pool, rng })
}

#[derive(Deserialize, ToSchema)]
struct NewAnalyst {
    /// 1 to 32 of a–z, 0–9 and _, beginning with a letter.
    name: String,
}

#[derive(Serialize, ToSchema)]
struct Analyst {
    name: String,
    /// The role in Postgres.
    role: String,
    /// A connection URL with the password; shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AnalystPage {
    items: Vec<Analyst>,
    next_cursor: Option<String>,
}

/// Analysts' logins to Postgres
#[utoipa::path(get, path = "/v1/analysts", tag = "analytics",
    responses((status = 200, body = AnalystPage)),
    security(("api_key" = []), ("session" = [])))]
async fn list(_: AsAdmin, State(analysts): State<Analysts>) -> Result<Json<AnalystPage>, Problem> {
    let roles: Vec<String> = sqlx::query_scalar(
        "select rolname::text from pg_roles where starts_with(rolname, $1) and rolcanlogin \
         order by rolname",
    )
    .bind(PREFIX)
    .fetch_all(&analysts.pool)
    .await?;
    let items = roles.into_iter().map(|role| Analyst {
        name: role.strip_prefix(PREFIX).unwrap_or_default().to_owned(),
        role,
        url: None,
    });
    Ok(Json(AnalystPage {
        items: items.collect(),
        next_cursor: None,
    }))
}

/// Makes a read-only login to Postgres, and a connection URL for it
#[utoipa::path(post, path = "/v1/analysts", tag = "analytics", request_body = NewAnalyst,
    responses((status = 201, body = Analyst), (status = 409, body = Problem),
        (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn create(
    AsAdmin(staff): AsAdmin,
    State(analysts): State<Analysts>,
    Creating {
        body: new,
        idempotent,
    }: Creating<NewAnalyst>,
) -> Result<Response, Problem> {
    let name = checked(&new.name)?;
    let role = format!("{PREFIX}{name}");
    let mut password = [0_u8; PASSWORD_BYTES];
    analysts.rng.lock().fill_bytes(&mut password);
    let password: String = password.iter().map(|byte| format!("{byte:02x}")).collect();

    let mut connection = analysts.pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    if let Some(idempotent) = &idempotent
        && let Begun::Answered(answer) = idempotent.begin(&mut transaction).await?
    {
        return Ok(answer);
    }
    for statement in statements(&role) {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await
            .map_err(|error| refused(error, name))?;
    }
    let by = staff.actor();
    audit(&mut *transaction, by, "analyst.create", name, json!({})).await?;
    let url = url(&analysts.pool.connect_options(), &role, &password);
    let made = Analyst {
        name: name.to_owned(),
        role: role.clone(),
        url: Some(url),
    };
    let answer = Answer::created(format!("/v1/analysts/{name}"), None, &made)?;
    if let Some(idempotent) = idempotent {
        idempotent.keep(&mut transaction, &answer).await?;
    }
    // By itself and last, so that no statement with the password in it can fail and be logged.
    let password_statement = format!("alter role {role} password '{password}'");
    sqlx::query(sqlx::AssertSqlSafe(password_statement))
        .persistent(false)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;

    Ok(answer.into_response())
}

/// Takes an analyst's login away; connections that are open end
#[utoipa::path(delete, path = "/v1/analysts/{name}", tag = "analytics",
    params(("name" = String, Path, description = "As it was made")),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn remove(
    AsAdmin(staff): AsAdmin,
    State(analysts): State<Analysts>,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("this analyst");
    let name = checked(&name).map_err(|_| missing())?;
    let role = format!("{PREFIX}{name}");
    let known: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
        .bind(&role)
        .fetch_one(&analysts.pool)
        .await?;
    if !known {
        return Err(missing());
    }
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1")
        .bind(&role)
        .execute(&analysts.pool)
        .await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("drop role if exists {role}")))
        .execute(&analysts.pool)
        .await?;
    let by = staff.actor();
    audit(&analysts.pool, by, "analyst.delete", name, json!({})).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name is part of an identifier, so that only what needs no quoting may be one.
fn checked(name: &str) -> Result<&str, Problem> {
    let first = |b: u8| b.is_ascii_lowercase();
    let rest = |b: u8| first(b) || b.is_ascii_digit() || b == b'_';
    let mut bytes = name.bytes();
    let fine = bytes.next().is_some_and(first) && bytes.all(rest) && name.len() <= MAX_NAME;
    fine.then_some(name).ok_or_else(|| {
        Problem::invalid("`name` must be 1 to 32 of a–z, 0–9 and _, beginning with a letter")
    })
}

/// The time-outs keep an analyst from holding up the dropping of old days.
fn statements(role: &str) -> [String; 5] {
    [
        format!(
            "create role {role} login connection limit {MAX_CONNECTIONS} in role waylog_analyst"
        ),
        format!("alter role {role} set statement_timeout = '5min'"),
        format!("alter role {role} set idle_in_transaction_session_timeout = '60s'"),
        format!("alter role {role} set default_transaction_read_only = on"),
        format!("alter role {role} set timezone = 'UTC'"),
    ]
}

fn refused(error: sqlx::Error, name: &str) -> Problem {
    let code = error.as_database_error().and_then(|e| e.code());
    match code.as_deref() {
        Some("42710") => Problem::conflict("exists", format!("an analyst {name} exists already")),
        Some("42501") => Problem::conflict(
            "no_createrole",
            "the database user of Waylog may not make roles: grant it CREATEROLE",
        ),
        _ => error.into(),
    }
}

/// How programs connect. Waylog's own way of connecting, under another name.
fn url(options: &PgConnectOptions, role: &str, password: &str) -> String {
    let database = options.get_database().unwrap_or("postgres");
    let (host, port) = (options.get_host(), options.get_port());
    match options.get_socket() {
        Some(folder) => {
            let folder = folder.display().to_string().replace('/', "%2F");
            format!("postgres://{role}:{password}@localhost/{database}?host={folder}&port={port}")
        }
        None => format!("postgres://{role}:{password}@{host}:{port}/{database}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        for fine in ["ada", "b_2"] {
            assert!(checked(fine).is_ok());
        }
        for wrong in ["", "2b", "Ada", "a b", "a;drop", "ä", &"a".repeat(33)] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_lead_where_waylog_connects_itself() {
        let tcp: PgConnectOptions = "postgres://w:x@db.example:5433/way".parse().expect("a URL");
        assert_eq!(url(&tcp, "r", "p"), "postgres://r:p@db.example:5433/way");
        let socket: PgConnectOptions = "postgres://w:x@localhost/way?host=%2Fvar%2Frun&port=5433"
            .parse()
            .expect("a URL");
        assert_eq!(
            url(&socket, "r", "p"),
            "postgres://r:p@localhost/way?host=%2Fvar%2Frun&port=5433"
        );
    }
}
