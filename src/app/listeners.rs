//! The ports of a process: the main one, phones' second one, operators' own.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::http::Listen;
use crate::lifecycle::Lifecycle;

/// Bound ports that nobody serves yet.
pub(super) struct Listeners {
    main: TcpListener,
    osmand: Option<TcpListener>,
    operator: Option<TcpListener>,
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
        })
    }

    fn url(&self, config: &HttpConfig) -> String {
        let address = self.main.local_addr().unwrap_or(config.listen);
        format!("http://{address}")
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
        let listen = Listen::of(config);
        let ports = [
            ("http", Some(self.main), router),
            ("http for phones", self.osmand, osmand),
            ("http for operators", self.operator, probes),
        ];
        for (name, listener, router) in ports {
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
