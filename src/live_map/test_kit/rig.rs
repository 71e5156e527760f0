//! A live map that runs: how it starts, stops and starts again, and what is put into it.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PATIENCE, T0, courier_id, upload};
use crate::access::{Access, SecretKind, hash_secret, issue};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::directory::{ApiKey, Directory, Link, Role};
use crate::domain::{Courier, DeliveryId, FixBatch, Position, UnixMs, Vehicle};
use crate::live_map::socket::Manners;
use crate::live_map::{LiveMap, Parts};
use crate::roads::Roads;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::{Log, Record, TOPIC_DELIVERY_LOCATION, partition_for_key};

const PARTITIONS: u32 = 3;

/// A running live map.
pub(crate) struct Rig {
    pub(crate) live: LiveMap,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: String,
    log: Arc<dyn Log>,
    pub(super) router: axum::Router,
    pub(super) address: std::net::SocketAddr,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    rng: StdRng,
    dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(Manners::default()).await
    }

    /// One that is less patient, or more.
    pub(crate) async fn start_with(manners: Manners) -> Self {
        let config = Config::defaults().expect("defaults");
        Self::start_over(manners, Roads::none(), config).await
    }

    /// One over roads and with settings of its own.
    pub(crate) async fn start_over(manners: Manners, roads: Roads, config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(T0.0);
        Self::start_on(dir, Directory::new(), clock, (manners, roads, config)).await
    }

    async fn start_on(
        dir: tempfile::TempDir,
        directory: Arc<Directory>,
        clock: Arc<ManualClock>,
        (manners, roads, mut config): (Manners, Roads, Config),
    ) -> Self {
        let options = EmbeddedLogOptions::new(dir.path(), PARTITIONS);
        let log: Arc<dyn Log> = EmbeddedLog::open(options, clock.clone()).expect("the log opens");
        let access = Access::new(directory.clone(), clock.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        config.live_map.tick_ms = 40;
        let parts = Parts {
            log: log.clone(),
            directory: directory.clone(),
            roads,
            access: access.clone(),
            clock: clock.clone(),
            public_url: format!("http://{address}").into(),
            rng: StdRng::seed_from_u64(7),
        };
        let live = LiveMap::with_manners(&config, parts, manners);
        let router: axum::Router = live.routes().into();
        let router = router.layer(Extension(access));
        let stop = CancellationToken::new();
        let running = tokio::spawn(live.clone().run(stop.clone()));
        let listen = crate::http::Listen::of(&config.http);
        let server = listen.serve(listener, router.clone(), stop.clone());
        tokio::spawn(server);
        let mut rng = StdRng::seed_from_u64(11);
        let key = issue(SecretKind::ApiKey, &mut rng);
        directory.put_api_key(ApiKey {
            id: Uuid::from_u128(1),
            name: None,
            role: Role::Dispatcher,
            key_hash: key.hash,
        });
        let rig = Self {
            live,
            directory,
            clock,
            key: key.secret,
            log,
            router,
            address,
            stop,
            running,
            rng,
            dir,
        };
        rig.until(|live| live.is_restored()).await;
        rig
    }

    /// Stops the live map and its log, and starts another on the same log.
    pub(crate) async fn restart(self) -> Self {
        let (directory, clock) = (self.directory.clone(), self.clock.clone());
        let (dir, log) = (self.dir, self.log);
        self.stop.cancel();
        self.running.await.expect("no panic").expect("stops well");
        log.close().await.expect("closes");
        drop((self.live, self.router, log));
        let config = Config::defaults().expect("defaults");
        let usual = (Manners::default(), Roads::none(), config);
        Self::start_on(dir, directory, clock, usual).await
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Begins to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("stops well");
    }

    pub(crate) fn now(&self) -> UnixMs {
        self.live.now()
    }

    /// Waits until `done`.
    pub(crate) async fn until(&self, done: impl Fn(&LiveMap) -> bool) {
        let wait = async {
            while !done(&self.live) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it comes to pass");
    }

    pub(crate) fn put_courier(&self, id: &str) {
        self.directory.put_courier(Courier {
            id: courier_id(id),
            name: Some(format!("Courier {id}").into()),
            vehicle: Some(Vehicle::Bike),
            tags: Box::default(),
            on_duty: true,
        });
    }

    /// A link to the delivery; answers its number and token.
    pub(crate) fn put_link(&mut self, delivery: &str) -> (Uuid, String) {
        let issued = issue(SecretKind::Link, &mut self.rng);
        let id = Uuid::from_u128(u128::from_be_bytes(
            issued.hash.0[..16].try_into().expect("sixteen bytes"),
        ));
        self.directory.put_link(Link {
            id,
            delivery_id: DeliveryId::try_from(delivery).expect("an id"),
            expires_at: T0.plus_ms(24 * 3600 * 1000),
            token_hash: hash_secret(&issued.secret),
        });
        (id, issued.secret)
    }

    /// Appends an upload to the log, as ingest does.
    pub(crate) async fn post(&self, courier: &str, batch: &FixBatch) {
        let partition = partition_for_key(courier.as_bytes(), PARTITIONS);
        let record = Record {
            key: Bytes::copy_from_slice(courier.as_bytes()),
            value: batch.encode(),
            timestamp_ms: batch.received_at.0,
        };
        let appended = self
            .log
            .append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
            .await;
        appended.expect("appended");
    }

    /// Posts one fix of now.
    pub(crate) async fn fix(&self, courier: &str, position: Position) {
        self.post(courier, &upload(self.now(), position)).await;
    }
}
