//! `waylog status`: what is wrong now, and the next command, also where the server is dead.
//!
//! A server that answers is asked (`server`), without a key for all that matters most. One that does
//! not is looked for on this machine (`machine`): who holds the log, and what would keep a start from
//! succeeding. Exit code 0: nothing is wrong, or nothing that cannot wait; 1: something is; 2: wrong
//! usage.

mod finding;
mod machine;
mod samples;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::finding::{Code, Finding, Level};
use crate::config::{Config, ConfigError};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Where the server is; without it, where the configuration lets it listen.
    #[arg(long, env = "WAYLOG_URL")]
    url: Option<String>,
    /// Where it answers /healthz and /metrics, if that is elsewhere.
    #[arg(long, env = "WAYLOG_OPERATOR_URL")]
    operator_url: Option<String>,
    /// An admin's API key, to be told more about the stream; without it, the bootstrap admin key of
    /// WAYLOG__ADMIN_KEY.
    #[arg(long, env = "WAYLOG_API_KEY", hide_env_values = true, value_name = "K")]
    api_key: Option<String>,
    /// Only ask whether it takes requests: exit code 0 if it does, for health checks.
    #[arg(long)]
    ready: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: StatusArgs,
    load: impl Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<ExitCode> {
    let config = load();
    let mut findings = Vec::new();
    let places = match (&args.url, &config) {
        (Some(url), config) => Places {
            operator: args.operator_url.clone().unwrap_or_else(|| url.clone()),
            url: url.clone(),
            is_ours: config
                .as_ref()
                .is_ok_and(|config| is_of_this_machine(url, config)),
        },
        (None, Ok(config)) => Places::of(config, args.operator_url.as_deref()),
        (None, Err(error)) => return Err(ConfigError(error.to_string()).into()),
    };
    if args.ready {
        return Ok(if server::is_ready(&places.operator).await? {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let admin = config.as_ref().ok().and_then(|c| c.admin_key.as_ref());
    let key = args
        .api_key
        .as_deref()
        .or_else(|| admin.map(|key| key.expose()));
    let state = match server::look(&places.url, &places.operator, key, &mut findings).await? {
        server::Seen::Running => "running",
        server::Seen::Silent(why) => {
            if let Ok(config) = config.as_ref().map_err(drop)
                && places.is_ours
            {
                machine::look(config, &places.operator, &why, &mut findings).await;
            } else {
                findings.push(Finding::error(
                    Code::Down,
                    format!("the server at {} does not answer: {why}", places.operator),
                    "run `waylog status` on its machine, with its --config",
                ));
            }
            "down"
        }
    };
    if let (Ok(config), true) = (&config, places.is_ours) {
        machine::look_at_backup(config, &mut findings);
    }
    findings.sort_by_key(|finding| finding.level == Level::Warning);
    let wrong = findings.iter().any(|f| f.level == Level::Error);
    if args.json {
        let rows: Vec<_> = findings.iter().map(Finding::to_json).collect();
        println!(
            "{}",
            json!({"ok": !wrong, "server": state, "url": places.url, "findings": rows})
        );
    } else {
        if findings.is_empty() {
            println!("all is well at {}", places.url);
        }
        findings.iter().for_each(Finding::print);
    }
    Ok(if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Where a server answers.
struct Places {
    url: String,
    operator: String,
    /// Whether that is this machine, so that its files may be looked at.
    is_ours: bool,
}

impl Places {
    fn of(config: &Config, operator_url: Option<&str>) -> Self {
        let http = &config.http;
        let url = match (&http.tls.cert, &http.public_url) {
            // A certificate is for the public name.
            (Some(_), Some(public)) => public.clone(),
            (Some(_), None) => format!("https://{}", reachable(http.listen)),
            (None, _) => format!("http://{}", reachable(http.listen)),
        };
        let own = http
            .operator_listen
            .map(|listen| format!("http://{}", reachable(listen)));
        Self {
            operator: operator_url
                .map(str::to_owned)
                .or(own)
                .unwrap_or_else(|| url.clone()),
            url,
            is_ours: true,
        }
    }
}

/// An address that listens on all interfaces is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port())
    } else {
        listen
    }
}

/// Whether `url` is where `config` lets a server of this machine listen.
fn is_of_this_machine(url: &str, config: &Config) -> bool {
    let http = &config.http;
    let places = Places::of(config, None);
    let same = |other: &str| url.trim_end_matches('/') == other;
    let port = reqwest::Url::parse(url)
        .ok()
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let local = port.is_some_and(|(host, port)| {
        let ours = [Some(http.listen), http.operator_listen];
        let listens = ours.into_iter().flatten().any(|l| l.port() == port);
        listens && (host == "localhost" || host == "127.0.0.1" || host == "[::1]")
    });
    local || same(&places.url) || same(&places.operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_for_where_the_configuration_lets_it_listen() {
        let mut config = Config::defaults().expect("defaults");
        assert_eq!(Places::of(&config, None).url, "http://127.0.0.1:8080");
        config.http.listen = "0.0.0.0:9000".parse().expect("an address");
        config.http.operator_listen = Some("10.0.0.1:9100".parse().expect("an address"));
        let places = Places::of(&config, None);
        assert_eq!(places.url, "http://127.0.0.1:9000");
        assert_eq!(places.operator, "http://10.0.0.1:9100");
        config.http.tls.cert = Some("cert.pem".into());
        config.http.public_url = Some("https://way.example".to_owned());
        assert_eq!(Places::of(&config, None).url, "https://way.example");
        assert!(is_of_this_machine("http://localhost:9000/", &config));
        assert!(!is_of_this_machine(
            "http://elsewhere.example:9000",
            &config
        ));
    }
}
