//! The ports of a process: the main one, phones' second one, operators' own.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::http::{Listen, Tls};
use crate::lifecycle::Lifecycle;

/// Bound ports that nobody serves yet.
pub(super) struct Listeners {
    main: TcpListener,
    osmand: Option<TcpListener>,
    operator: Option<TcpListener>,
    tls: Option<Tls>,
}

/// Ports that are being served.
pub(super) struct Serving {
    /// Where the main port is.
    pub(super) url: String,
    tasks: TaskTracker,
}

impl Listeners {
    /// Binds what the settings name.
    pub(super) async fn bind(config: &HttpConfig) -> anyhow::Result<Self> {
        Ok(Self {
            main: bind(config.listen, "http.listen").await?,
            osmand: bind_optional(config.osmand_listen, "http.osmand_listen").await?,
            operator: bind_optional(config.operator_listen, "http.operator_listen").await?,
            tls: Tls::read(&config.tls)?,
        })
    }

    fn url(&self, config: &HttpConfig) -> String {
        let address = self.main.local_addr().unwrap_or(config.listen);
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// What all links are made of.
    pub(super) fn public_url(&self, config: &HttpConfig) -> String {
        config
            .public_url
            .clone()
            .unwrap_or_else(|| self.url(config))
    }

    /// Serves until the soft stop: `osmand` on phones' second port, `probes` on operators' own (they
    /// are part of `router` where there is none).
    pub(super) fn serve(
        self,
        config: &HttpConfig,
        router: Router,
        osmand: Router,
        probes: Router,
        lifecycle: &Lifecycle,
    ) -> Serving {
        let serving = Serving {
            url: self.url(config),
            tasks: TaskTracker::new(),
        };
        let plain = Listen::of(config);
        let public = plain.clone().with_tls(self.tls.clone());
        if let Some(tls) = self.tls {
            lifecycle.spawn("certificate", tls.follow(lifecycle.soft()));
        }
        let ports = [
            ("http", Some(self.main), router, &public),
            ("http for phones", self.osmand, osmand, &public),
            ("http for operators", self.operator, probes, &plain),
        ];
        for (name, listener, router, listen) in ports {
            if let Some(listener) = listener {
                let task = listen.clone().serve(listener, router, lifecycle.soft());
                lifecycle.spawn(name, serving.tasks.track_future(task));
            }
        }
        serving.tasks.close();
        serving
    }
}

impl Serving {
    /// Waits until the last request is answered.
    pub(super) async fn closed(&self) {
        self.tasks.wait().await;
    }
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; set {setting} to another address"))
}

async fn bind_optional(
    address: Option<SocketAddr>,
    setting: &str,
) -> anyhow::Result<Option<TcpListener>> {
    match address {
        Some(address) => Ok(Some(bind(address, setting).await?)),
        None => Ok(None),
    }
}
