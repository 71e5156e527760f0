//! The slices of this process: made from the same ground, run as its tasks, joined to one router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::database;
use super::roles::{Role, Roles};
use super::stream_routes::StreamRoutes;
use crate::access::{Access, Chance};
use crate::analytics::{self, Analytics};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::directory::{self, Directory};
use crate::dispatch::{self, Dispatch};
use crate::http::{DemoFlag, phones_port};
use crate::ingest::Ingest;
use crate::lifecycle::Lifecycle;
use crate::live_map::{self, LiveMap};
use crate::notifications::{self, Notifications};
use crate::roads::Roads;
use crate::stream::embedded::ProtectedGroup;
use crate::stream::{Log, TOPIC_DELIVERY_LOCATION};

/// How often the start looks whether positions are restored.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What every slice is made of.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) roles: &'a Roles,
    pub(super) log: Arc<dyn Log>,
    pub(super) directory: Arc<Directory>,
    pub(super) roads: Roads,
    pub(super) sync: directory::Sync,
    pub(super) access: Arc<Access>,
    pub(super) clock: SharedClock,
    pub(super) pool: PgPool,
    pub(super) chance: Chance,
    pub(super) public_url: Arc<str>,
}

/// The slices that this process has.
pub(super) struct Slices {
    ingest: Option<Ingest>,
    live_map: Option<LiveMap>,
    analytics: Option<Analytics>,
    notifications: Option<Notifications>,
    dispatch: Option<Dispatch>,
    /// Where looks at links are noted, and written to.
    looks: Option<(Arc<Access>, PgPool)>,
    stream: StreamRoutes,
}

/// Groups that read the log, whichever process their members are in.
pub(super) fn groups() -> Vec<String> {
    [analytics::GROUP, notifications::GROUP]
        .map(str::to_owned)
        .into()
}

/// Groups whose unread records the log never deletes.
pub(super) fn protected_groups() -> Vec<ProtectedGroup> {
    vec![ProtectedGroup {
        topic: TOPIC_DELIVERY_LOCATION.to_owned(),
        group: analytics::GROUP.to_owned(),
    }]
}

impl Slices {
    pub(super) fn build(ground: Ground<'_>) -> anyhow::Result<Self> {
        let Ground {
            config,
            roles,
            log,
            directory,
            roads,
            sync,
            access,
            clock,
            pool,
            chance,
            public_url,
        } = ground;
        let stream = StreamRoutes {
            log: log.clone(),
            directory: directory.clone(),
            pool: pool.clone(),
        };
        let body_timeout = Duration::from_secs(config.http.request_timeout_s);
        let ingest = roles.has(Role::Ingest).then(|| {
            Ingest::new(
                &config.ingest,
                body_timeout,
                log.clone(),
                directory.clone(),
                access.clone(),
                clock.clone(),
            )
        });
        let live_map = roles.has(Role::LiveMap).then(|| {
            let parts = live_map::Parts {
                log: log.clone(),
                directory: directory.clone(),
                roads: roads.clone(),
                access: access.clone(),
                clock: clock.clone(),
                public_url: public_url.clone(),
                rng: chance.rng(),
            };
            LiveMap::new(config, parts)
        });
        let analytics = roles.has(Role::Analytics).then(|| {
            Analytics::new(
                &config.analytics,
                log.clone(),
                directory.clone(),
                clock.clone(),
                pool.clone(),
                chance.rng(),
            )
        });
        let notifications = roles.has(Role::Notifications).then(|| {
            Notifications::new(
                &config.notifications,
                log,
                directory.clone(),
                clock.clone(),
                pool.clone(),
                chance.rng(),
            )
            .with_roads(roads.clone())
        });
        let settings = dispatch::Settings::of(config);
        let looks = live_map.is_some().then(|| (access.clone(), pool.clone()));
        let dispatch = roles.has(Role::Dispatch).then(|| {
            Dispatch::new(
                pool.clone(),
                sync,
                access,
                clock,
                chance,
                public_url,
                settings,
            )
        });
        Ok(Self {
            ingest: ingest.transpose()?,
            live_map,
            analytics,
            notifications,
            dispatch: dispatch.transpose()?,
            looks,
            stream,
        })
    }

    /// What must be known before the first phone is let in.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        if let Some(ingest) = &self.ingest {
            let records = ingest.rebuild().await?;
            tracing::info!(records, "duplicates are known again");
        }
        Ok(())
    }

    /// Starts the tasks. With `unmigrated`, those that write to Postgres wait until its schema is
    /// this version's.
    pub(super) fn spawn(
        &self,
        lifecycle: &Lifecycle,
        stop: &CancellationToken,
        unmigrated: Option<PgPool>,
    ) {
        if let Some(ingest) = self.ingest.clone() {
            lifecycle.spawn("ingest", ingest.run(stop.clone()));
        }
        if let Some(live_map) = self.live_map.clone() {
            // Sockets are sent away while the listeners drain, or these would never end.
            lifecycle.spawn("live map", live_map.run(lifecycle.soft()));
        }
        let (analytics, notifications) = (self.analytics.clone(), self.notifications.clone());
        let (dispatch, looks) = (self.dispatch.clone(), self.looks.clone());
        let (owner, stop) = (lifecycle.clone(), stop.clone());
        lifecycle.spawn("start of what needs Postgres", async move {
            if let Some(pool) = unmigrated
                && !database::migrate_when_back(&pool, &stop).await?
            {
                return Ok(());
            }
            if let Some(analytics) = analytics {
                owner.spawn("analytics", analytics.run(stop.clone()));
            }
            if let Some(notifications) = notifications {
                owner.spawn("notifications", notifications.run(stop.clone()));
            }
            if let Some((access, pool)) = looks {
                let stop = stop.clone();
                owner.spawn("looks at links", async move {
                    access.link_log().run(pool, stop).await
                });
            }
            if let Some(dispatch) = dispatch {
                owner.spawn("dispatch", dispatch.run(stop));
            }
            Ok(())
        });
    }

    /// Waits until the live map knows the positions of before the start.
    pub(super) async fn wait_until_restored(&self, stop: &CancellationToken) {
        let Some(live_map) = &self.live_map else {
            return;
        };
        while !live_map.is_restored() && !stop.is_cancelled() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// All routes of this process: the phones' uploads, and everything else.
    pub(super) fn routes(&self) -> (OpenApiRouter, OpenApiRouter) {
        let uploads = self
            .ingest
            .as_ref()
            .map_or_else(OpenApiRouter::new, Ingest::routes);
        (uploads, self.api())
    }

    /// What phones' second port serves.
    pub(super) fn osmand_port(&self, access: Arc<Access>) -> Router {
        let uploads = self
            .ingest
            .as_ref()
            .map(Ingest::osmand_port)
            .unwrap_or_default();
        phones_port(uploads, access)
    }

    /// Whether the pages show the strip of the demo.
    pub(super) fn demo_flag(&self) -> DemoFlag {
        self.dispatch
            .as_ref()
            .map(Dispatch::demo_flag)
            .unwrap_or_default()
    }

    fn api(&self) -> OpenApiRouter {
        let mut api = self.stream.clone().routes();
        if let Some(dispatch) = &self.dispatch {
            api = api.merge(dispatch.routes());
        }
        if let Some(analytics) = &self.analytics {
            api = api.merge(analytics.routes());
        }
        if let Some(notifications) = &self.notifications {
            api = api.merge(notifications.routes());
        }
        if let Some(live_map) = &self.live_map {
            api = api.merge(live_map.routes());
        }
        api
    }
}
