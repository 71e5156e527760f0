//! Couriers, devices, deliveries, links, geofences, keys, people: what dispatchers work with, kept in
//! Postgres. One file a noun: its SQL, its bodies, its routes.
//!
//! Invariants:
//! - A change, its audit entry and its event are one transaction (`write.rs`).
//! - What was changed is in this process's Directory before the answer is sent.
//! - A delivery changes its status only by `dispatch.delivery_step`, whoever asks: a dispatcher, the
//!   courier, or a rule.
//! - Secrets leave in the answer that creates them and are stored as hashes.

mod api_keys;
mod audit;
mod couriers;
mod deliveries;
mod demo;
mod devices;
mod erasure;
mod geocoder;
mod geofences;
mod import;
mod join_sheet;
mod link_accesses;
mod links;
mod me;
mod onboarding;
mod retention;
mod run;
mod session_list;
mod sessions;
mod subject_access;
mod users;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Chance, Passwords, SignInLimits};
use crate::clock::SharedClock;
use crate::config::{Config, GeocoderConfig, RetentionConfig};
use crate::directory::{Directory, Sync};
use crate::domain::UnixMs;
use crate::http::DemoFlag;
use geocoder::Geocoder;

/// Between two rounds of what time brings.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// The slice's service. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    sync: Sync,
    access: Arc<Access>,
    clock: SharedClock,
    chance: Chance,
    passwords: Passwords,
    sign_in: SignInLimits,
    public_url: Arc<str>,
    demo: DemoFlag,
    settings: Settings,
    geocoder: Geocoder,
    exports: Arc<Semaphore>,
}

/// What of the configuration concerns the slice.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long what is kept.
    pub retention: RetentionConfig,
    /// Who turns addresses into places.
    pub geocoder: GeocoderConfig,
    /// How long the log keeps a record, milliseconds.
    pub log_kept_ms: i64,
}

impl Settings {
    /// As the configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let hours = i64::try_from(config.stream.embedded.retention_hours).unwrap_or(i64::MAX);
        Self {
            retention: config.retention,
            geocoder: config.geocoder.clone(),
            log_kept_ms: hours.saturating_mul(3_600_000),
        }
    }
}

impl Dispatch {
    /// Works on the database of `pool`, whose Directory `sync` keeps; links begin with `public_url`.
    ///
    /// # Errors
    /// The client for the geocoder cannot be made.
    pub fn new(
        pool: PgPool,
        sync: Sync,
        access: Arc<Access>,
        clock: SharedClock,
        chance: Chance,
        public_url: Arc<str>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let passwords = Passwords::new(chance.clone());
        let sign_in = SignInLimits::default();
        let demo = DemoFlag::default();
        let geocoder = Geocoder::new(&settings.geocoder)?;
        let inner = Inner {
            pool,
            sync,
            access,
            clock,
            chance,
            passwords,
            sign_in,
            public_url,
            demo,
            settings,
            geocoder,
            exports: Arc::new(Semaphore::new(subject_access::AT_ONCE)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// All routes of the slice.
    pub fn routes(&self) -> OpenApiRouter {
        let bulk = OpenApiRouter::new().routes(routes!(deliveries::bulk::create));
        let import = OpenApiRouter::new().routes(routes!(import::couriers));
        OpenApiRouter::new()
            .merge(bulk.layer(DefaultBodyLimit::max(deliveries::bulk::MAX_BODY)))
            .merge(import.layer(DefaultBodyLimit::max(import::MAX_BODY)))
            .routes(routes!(subject_access::courier, erasure::courier))
            .routes(routes!(erasure::delivery))
            .routes(routes!(link_accesses::list))
            .routes(routes!(users::list, users::create))
            .routes(routes!(users::patch, users::delete))
            .routes(routes!(audit::list))
            .routes(routes!(couriers::list, couriers::create))
            .routes(routes!(
                couriers::read,
                couriers::put,
                couriers::patch,
                couriers::delete
            ))
            .routes(routes!(run::put))
            .routes(routes!(devices::list, devices::create))
            .routes(routes!(devices::delete))
            .routes(routes!(onboarding::create_join_code))
            .routes(routes!(join_sheet::create))
            .routes(routes!(onboarding::join))
            .routes(routes!(
                deliveries::routes::list,
                deliveries::routes::create
            ))
            .routes(routes!(
                deliveries::routes::read,
                deliveries::routes::put,
                deliveries::routes::delete
            ))
            .routes(routes!(deliveries::steps::assign))
            .routes(routes!(deliveries::steps::status))
            .routes(routes!(links::list, links::create))
            .routes(routes!(links::delete))
            .routes(routes!(geofences::list, geofences::create))
            .routes(routes!(geofences::read, geofences::put, geofences::delete))
            .routes(routes!(api_keys::list, api_keys::create))
            .routes(routes!(api_keys::delete))
            .routes(routes!(me::deliveries))
            .routes(routes!(me::status))
            .routes(routes!(me::duty))
            .routes(routes!(sessions::sign_in, sessions::sign_out))
            .routes(routes!(sessions::me))
            .routes(routes!(session_list::list))
            .routes(routes!(session_list::delete))
            .routes(routes!(sessions::create_sign_in_code))
            .routes(routes!(demo::go))
            .routes(routes!(demo::read, demo::put, demo::delete))
            .with_state(self.clone())
    }

    /// Whether there is a demo, for the pages.
    #[must_use]
    pub fn demo_flag(&self) -> DemoFlag {
        self.inner.demo.clone()
    }

    /// Does what time brings, until `stop`.
    ///
    /// # Errors
    /// None: a database that is away is tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let upkeep = async {
            loop {
                if let Err(error) = self.upkeep().await {
                    tracing::debug!(%error, "upkeep waits for Postgres");
                }
                tokio::time::sleep(UPKEEP_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = upkeep => {}
        }
        Ok(())
    }

    async fn upkeep(&self) -> sqlx::Result<()> {
        self.look_for_demo().await?;
        let now = self.now().to_datetime();
        let retention = &self.inner.settings.retention;
        retention::sweep(self.pool(), retention, now).await?;
        Ok(())
    }

    fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    fn geocoder(&self) -> &Geocoder {
        &self.inner.geocoder
    }

    fn directory(&self) -> &Directory {
        self.inner.sync.directory()
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.inner.clock.now_ms())
    }

    /// A link on this installation.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.inner.public_url)
    }
}

#[cfg(test)]
mod tests;
