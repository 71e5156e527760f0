//! The front end of the peers, in a process of its own: Waylog's listener, guard, device tokens, body
//! reading and parsing, and then another way to keep what was parsed.
//!
//! So that what differs is the way of keeping, and nothing else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use clap::{Args, ValueEnum};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use waylog::access::{Access, Limits as AskLimits, hash_secret};
use waylog::clock::{SharedClock, SystemClock};
use waylog::config::Config;
use waylog::directory::{Device, Directory, Sync};
use waylog::domain::{Courier, CourierId, Fix, SpeedUnit, UnixMs};
use waylog::http::{Listen, Problem, bearer, phones_port};
use waylog::ingest::body::Bodies;
use waylog::ingest::formats::{Limits, native};

use super::copy::Copier;
use super::insert;
use crate::uploads::Phones;

const DAY_MS: i64 = 86_400_000;

/// How a peer keeps fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Keeping {
    /// Not at all: answered after parsing.
    Nothing,
    /// One INSERT a fix.
    Insert,
    /// COPY of plain rows, of all uploads that wait together.
    Copy,
}

/// A peer's front end.
#[derive(Args, Clone)]
pub struct FrontArgs {
    /// How fixes are kept.
    #[arg(long)]
    keep: Keeping,
    /// Connections to Postgres.
    #[arg(long, default_value_t = 8)]
    pool: u32,
    /// Postgres.
    #[arg(
        long,
        env = "PEER_DATABASE_URL",
        hide_env_values = true,
        default_value = ""
    )]
    database: String,
    /// The phones that may upload, as `ingest --phones` keeps them.
    #[arg(long)]
    phones: PathBuf,
}

/// Serves until it is ended.
pub async fn run(args: &FrontArgs) -> anyhow::Result<()> {
    let config = Config::defaults()?;
    let clock = SystemClock::shared();
    let access = access(args, &config, &clock)?;
    let pool = match args.keep {
        Keeping::Nothing => None,
        Keeping::Insert | Keeping::Copy => Some(connect(args).await?),
    };
    let keeper = match (args.keep, pool) {
        (Keeping::Insert, Some(pool)) => Keeper::Insert(insert::prepare(pool).await?),
        (Keeping::Copy, Some(pool)) => Keeper::Copy(Copier::start(&pool, args.pool).await?),
        _ => Keeper::Nothing,
    };
    let front = Arc::new(Front {
        access: access.clone(),
        bodies: Bodies::new(
            config.ingest.max_body_kib << 10,
            Duration::from_secs(config.http.request_timeout_s),
            config.ingest.max_buffered_mib << 20,
        ),
        clock,
        keeper,
    });
    let routes = Router::new()
        .route("/v1/positions", post(positions))
        .with_state(front);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let listen = Listen::of(&config.http);
    let router = phones_port(routes, access);
    listen
        .serve(listener, router, CancellationToken::new())
        .await
}

/// As the server's own, with these phones in it.
fn access(args: &FrontArgs, config: &Config, clock: &SharedClock) -> anyhow::Result<Arc<Access>> {
    let directory = Directory::new();
    let kept: Phones = serde_json::from_slice(&std::fs::read(&args.phones)?)?;
    for phone in kept.all() {
        let courier = CourierId::try_from(phone.courier.as_str())?;
        directory.put_courier(Courier {
            id: courier.clone(),
            name: None,
            vehicle: None,
            tags: [].into(),
            on_duty: true,
        });
        directory.put_device(Device {
            id: uuid::Uuid::new_v4(),
            courier_id: courier,
            speed_unit: SpeedUnit::Knots,
            token_hash: hash_secret(&phone.token),
        });
    }
    // Never asked: every token is known.
    let nowhere = PgPoolOptions::new().connect_lazy("postgres://localhost/nowhere")?;
    let sync = Sync::new(nowhere, directory, clock.clone(), std::env::temp_dir());
    Ok(Access::over(
        sync,
        clock.clone(),
        None,
        AskLimits::new(config.limits),
    ))
}

async fn connect(args: &FrontArgs) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(args.pool)
        .min_connections(args.pool)
        .test_before_acquire(false);
    Ok(pool.connect(&args.database).await?)
}

struct Front {
    access: Arc<Access>,
    bodies: Bodies,
    clock: SharedClock,
    keeper: Keeper,
}

enum Keeper {
    Nothing,
    Insert(PgPool),
    Copy(Copier),
}

/// As the server answers.
#[derive(Serialize)]
struct Answer {
    accepted: usize,
    duplicate: usize,
    quarantined: [(); 0],
    next: Next,
}

#[derive(Serialize)]
struct Next {
    interval_s: u32,
    min_distance_m: u32,
}

async fn positions(State(front): State<Arc<Front>>, request: Request) -> Response {
    match upload(&front, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn upload(front: &Front, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let token = bearer(&parts).ok_or_else(|| Problem::bad_request("no token"))?;
    let device = front.access.device(token).await?;
    let body = front.bodies.read(&parts.headers, body).await?;
    let limits = Limits {
        now: UnixMs(front.clock.now_ms()),
        max_age_ms: 400 * DAY_MS,
        max_fixes: 1000,
    };
    let upload =
        native::parse(&body, &limits).map_err(|error| Problem::bad_request(error.to_string()))?;
    let kept = front.keeper.keep(&device.courier_id, &upload.fixes).await;
    let accepted = kept.map_err(|error| Problem::unavailable(error.to_string(), 1))?;
    Ok(Answer {
        accepted,
        duplicate: upload.fixes.len() - accepted,
        quarantined: [],
        next: Next {
            interval_s: 60,
            min_distance_m: 50,
        },
    })
}

impl Keeper {
    /// Keeps fixes; answers how many were new when they are on disk.
    async fn keep(&self, courier: &CourierId, fixes: &[Fix]) -> anyhow::Result<usize> {
        match self {
            Self::Nothing => Ok(fixes.len()),
            Self::Insert(pool) => Ok(insert::each(pool, courier, fixes).await?),
            Self::Copy(copier) => copier.keep(courier, fixes).await,
        }
    }
}
