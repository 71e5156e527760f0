//! The ports of a process: the main one, phones' second one, operators' own.

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::http;
use crate::lifecycle::Lifecycle;

/// Connections of operators at once: probes and a scraper or two.
const OPERATOR_CONNECTIONS: usize = 64;

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
    pub(super) fn bind(config: &HttpConfig) -> anyhow::Result<Self> {
        let optional = |address: Option<_>, setting| {
            address.map(|address| http::bind(address, setting)).transpose()
        };
        Ok(Self {
            main: http::bind(config.listen, "http.listen")?,
            osmand: optional(config.osmand_listen, "http.osmand_listen")?,
            operator: optional(config.operator_listen, "http.operator_listen")?,
        })
    }

    fn url(&self, config: &HttpConfig) -> String {
        let address = self.main.local_addr().unwrap_or(config.listen);
        format!("http://{address}")
    }

    /// What all links are made of.
    pub(super) fn public_url(&self, config: &HttpConfig) -> String {
        config.public_url.clone().unwrap_or_else(|| self.url(config))
    }

    /// Serves until the soft stop. `probes` are part of `router` unless operators have a port of
    /// their own.
    pub(super) fn serve(
        self,
        config: &HttpConfig,
        router: Router,
        probes: Router,
        lifecycle: &Lifecycle,
    ) -> Serving {
        let serving = Serving { url: self.url(config), tasks: TaskTracker::new() };
        let all = config.max_connections;
        let ports = [
            ("http", Some(self.main), router.clone(), all),
            ("http for phones", self.osmand, router, all),
            ("http for operators", self.operator, probes, OPERATOR_CONNECTIONS),
        ];
        for (name, listener, router, most) in ports {
            if let Some(listener) = listener {
                let task = http::serve(listener, router, most, lifecycle.soft());
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
