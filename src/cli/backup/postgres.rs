//! The Postgres part: `pg_dump` and `pg_restore` as their own programs, and what a dump does not
//! bring back by itself.
//!
//! Passwords go through the environment, never into a program's arguments, where everybody on the
//! machine can read them.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, anyhow, bail};
use reqwest::Url;
use sqlx::{Connection, PgConnection, Row};
use tokio::process::Command;

use super::DUMP;
use super::manifest::{GroupOffset, PostgresPart};
use crate::app::tools;
use crate::cli::disk::{human_bytes, space};
use crate::stream::TOPIC_DELIVERY_LOCATION;
use crate::stream::embedded::CopiedLog;

/// A lock that somebody holds for longer is told rather than waited for.
const LOCK_WAIT: &str = "60s";
/// What is shown of a program that failed, bytes.
const SHOWN_WORDS: usize = 2_000;
/// A dump is compressed; this share of the database is asked for as free space.
const DUMP_SHARE: u64 = 2;
/// Events and attempts are counted on so much higher after a restore: what was told between the
/// backup and the loss had numbers too, and receivers know events by their number.
const NUMBERS_SKIPPED: i64 = 1 << 20;
/// Parameters of URLs that only our own client knows.
const OURS_ALONE: &str = "statement-cache-capacity";

/// Dumps the database at `url` into `dir`. `log_bytes` more will be written there.
pub(super) async fn dump(url: &str, dir: &Path, log_bytes: u64) -> anyhow::Result<PostgresPart> {
    let mut connection = connect(url).await?;
    let mut part = describe(&mut connection).await?;
    let (free, _) = space(dir)?;
    let needed = part.database_bytes / DUMP_SHARE + log_bytes;
    if free < needed {
        bail!(
            "{} has {} free, and about {} are needed: give a folder on a larger disk",
            dir.display(),
            human_bytes(free),
            human_bytes(needed)
        );
    }
    let program = tools::postgres_program("pg_dump", part.server_major)?;
    part.dump_major = major_of(&program).await?;
    // One moment for the dump and for the offsets that the manifest tells.
    sqlx::query("begin isolation level repeatable read read only")
        .execute(&mut connection)
        .await?;
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut connection)
        .await?;
    let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()")
        .fetch_one(&mut connection)
        .await?;
    part.offsets = offsets(&mut connection).await?;
    let file = dir.join(DUMP);
    let mut command = client(&program, url)?;
    command
        .args(["--format=custom", "--compress=1", "--no-password"])
        .arg(format!("--lock-wait-timeout={LOCK_WAIT}"))
        .arg(format!("--snapshot={snapshot}"))
        .arg("--file")
        .arg(&file);
    run(command, "pg_dump").await?;
    sqlx::query("commit").execute(&mut connection).await?;
    connection.close().await?;
    Ok(part)
}

/// Restores the dump of `dir`, all of it or nothing, into the empty database at `url`.
pub(super) async fn restore(url: &str, dir: &Path, part: &PostgresPart) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    let major = server_major(&mut connection).await?;
    if major < part.server_major {
        bail!(
            "the backup is from Postgres {}, and this server is {major}: restore into {} or newer",
            part.server_major,
            part.server_major
        );
    }
    let program = tools::postgres_program("pg_restore", major.max(part.dump_major))?;
    let mut command = client(&program, url)?;
    command.args([
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-password",
    ]);
    if !ensure_analysts(&mut connection).await {
        eprintln!(
            "waylog: the role waylog_analyst cannot be made: analysts may read nothing until an \
             administrator makes it and grants what migrations/0002_analytics.sql says"
        );
        command.arg("--no-privileges");
    }
    command.arg(dir.join(DUMP));
    run(command, "pg_restore").await?;
    skip_numbers(&mut connection).await?;
    sqlx::query("analyze").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Whether `pg_restore` can read the dump's list of contents.
pub(super) async fn read_through(dump: &Path) -> anyhow::Result<()> {
    let program = tools::postgres_program("pg_restore", 0)?;
    let mut command = Command::new(program);
    command.arg("--list").arg(dump);
    run(command, "pg_restore --list").await
}

/// Sets groups that have read further than `log` reaches back to its end, before anything is
/// appended there. Answers how many partitions that were.
pub(super) async fn pull_back(url: &str, log: &CopiedLog) -> anyhow::Result<u64> {
    let mut connection = connect(url).await?;
    let stream_id = format!("{}:{TOPIC_DELIVERY_LOCATION}", log.uuid);
    let mut moved = 0;
    let mut transaction = connection.begin().await?;
    for partition in log
        .partitions
        .iter()
        .filter(|partition| partition.topic == TOPIC_DELIVERY_LOCATION)
    {
        for (place, statement) in [
            (
                true,
                "update public.stream_offset set next = $3, updated_at = now() \
                  where stream_id = $1 and part = $2 and next > $3",
            ),
            (
                false,
                "update notifications.rule_state set as_of = $3 \
                  where stream_id = $1 and part = $2 and as_of > $3",
            ),
        ] {
            let done = sqlx::query(statement)
                .bind(&stream_id)
                .bind(partition.partition.cast_signed())
                .bind(partition.end_offset.cast_signed())
                .execute(&mut *transaction)
                .await?;
            moved += if place { done.rows_affected() } else { 0 };
        }
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(moved)
}

/// How far the groups have read of the stream, as the database at `url` says.
pub(super) async fn read_offsets(url: &str) -> anyhow::Result<Vec<GroupOffset>> {
    let mut connection = connect(url).await?;
    let offsets = offsets(&mut connection).await?;
    connection.close().await?;
    Ok(offsets)
}

/// Whether the database holds nothing of anybody's.
///
/// # Errors
/// If Postgres does not answer.
pub(super) async fn is_empty(url: &str) -> anyhow::Result<bool> {
    const TABLES: &str = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'p', 'v', 'm') and n.nspname <> 'information_schema' \
           and n.nspname not like 'pg\\_%' \
           and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')";
    let mut connection = connect(url).await?;
    let tables: i64 = sqlx::query_scalar(TABLES)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(tables == 0)
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.map_err(|error| {
        anyhow!(error).context("connect to Postgres: is it running, and is database.url right?")
    })
}

async fn describe(connection: &mut PgConnection) -> anyhow::Result<PostgresPart> {
    let known: bool = sqlx::query_scalar("select to_regclass('public.stream_offset') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        bail!("the database that database.url names holds no Waylog: is it the right one?");
    }
    let row = sqlx::query(
        "select pg_database_size(current_database()), \
                (select max(version) from _sqlx_migrations), \
                (select coalesce(array_agg(rolname::text order by rolname), '{}') from pg_roles \
                  where starts_with(rolname, 'waylog_analyst_') and rolcanlogin)",
    )
    .fetch_one(&mut *connection)
    .await?;
    let bytes: i64 = row.try_get(0)?;
    Ok(PostgresPart {
        server_major: server_major(connection).await?,
        dump_major: 0,
        schema: row.try_get(1)?,
        database_bytes: bytes.max(0).cast_unsigned(),
        offsets: Vec::new(),
        analysts: row.try_get(2)?,
    })
}

async fn server_major(connection: &mut PgConnection) -> anyhow::Result<u32> {
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(connection)
        .await?;
    Ok(version.cast_unsigned() / 10_000)
}

async fn offsets(connection: &mut PgConnection) -> anyhow::Result<Vec<GroupOffset>> {
    let rows: Vec<(String, String, i32, i64)> = sqlx::query_as(
        "select grp, stream_id, part, next from public.stream_offset order by grp, stream_id, part",
    )
    .fetch_all(connection)
    .await?;
    let row = |(group, stream_id, partition, next): (String, String, i32, i64)| GroupOffset {
        group,
        stream_id,
        partition: partition.cast_unsigned(),
        next: next.max(0).cast_unsigned(),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Makes the role that grants in the dump name; answers whether it is there.
async fn ensure_analysts(connection: &mut PgConnection) -> bool {
    const MAKE: &str = "do $$ begin \
         if not exists (select from pg_roles where rolname = 'waylog_analyst') then \
             create role waylog_analyst nologin; \
         end if; end $$";
    sqlx::query(MAKE).execute(connection).await.is_ok()
}

async fn skip_numbers(connection: &mut PgConnection) -> anyhow::Result<()> {
    for table in ["public.event", "notifications.attempt"] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "select setval(pg_get_serial_sequence('{table}', 'id'), \
                    coalesce((select max(id) from {table}), 0) + {NUMBERS_SKIPPED})"
        )))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A program of Postgres that connects to `url`.
fn client(program: &Path, url: &str) -> anyhow::Result<Command> {
    let (url, password) = without_password(url)?;
    let mut command = Command::new(program);
    command
        .env("PGCONNECT_TIMEOUT", "10")
        .env("PGAPPNAME", "waylog backup")
        .arg("--dbname")
        .arg(url);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    Ok(command)
}

/// A connection URL without its password, and the password.
fn without_password(url: &str) -> anyhow::Result<(String, Option<String>)> {
    let mut url: Url = url
        .parse()
        .map_err(|_| anyhow!("database.url is not a Postgres URL"))?;
    let mut password = url.password().map(|text| {
        let bytes = form_urlencoded::parse(format!("p={}", text.replace('+', "%2B")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned());
        bytes.unwrap_or_default()
    });
    if password.is_some() && url.set_password(None).is_err() {
        bail!("database.url is not a Postgres URL");
    }
    let mut kept = Vec::new();
    for (key, value) in url.query_pairs() {
        match &*key {
            "password" => password = Some(value.into_owned()),
            OURS_ALONE => {}
            _ => kept.push((key.into_owned(), value.into_owned())),
        }
    }
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    // libpq reads a plus as a plus, and not as a space.
    let query = url.query().map(|query| query.replace('+', "%20"));
    url.set_query(query.as_deref());
    Ok((url.into(), password))
}

async fn major_of(program: &Path) -> anyhow::Result<u32> {
    let said = Command::new(program).arg("--version").output().await?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let number = said
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .and_then(|word| word.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    number.with_context(|| format!("read the version of {}", program.display()))
}

async fn run(mut command: Command, name: &str) -> anyhow::Result<()> {
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {name}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim();
    let from = said
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| said.len() - at <= SHOWN_WORDS);
    bail!("{name} failed: {}", &said[from.unwrap_or(0)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_no_further_than_the_environment() {
        let split = |url| without_password(url).expect("a URL");
        assert_eq!(
            split("postgres://w:p%40ss+1@db:5433/way?sslmode=require"),
            (
                "postgres://w@db:5433/way?sslmode=require".to_owned(),
                Some("p@ss+1".to_owned())
            )
        );
        let (url, password) =
            split("postgres://w@localhost/way?host=%2Fvar%2Frun&port=5432&password=x%20y");
        assert!(url.contains("host=%2Fvar%2Frun&port=5432"), "{url}");
        assert!(!url.contains("password"), "{url}");
        assert_eq!(password.as_deref(), Some("x y"));
        let (url, password) = split("postgres://w@db/way?statement-cache-capacity=0");
        assert_eq!((url.as_str(), password), ("postgres://w@db/way", None));
    }
}
