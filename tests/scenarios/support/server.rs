//! The real binary, started as its user would start it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::eventually;

/// The bootstrap admin key of every scenario.
pub const ADMIN_KEY: &str = "scenario-admin-key-0123456789abcdef";
const BINARY: &str = env!("CARGO_BIN_EXE_waylog");

/// How to start a server; kept, so that it can be started again on the same data.
pub struct Setup {
    pub data: PathBuf,
    pub database_url: Option<String>,
    pub listen: String,
    pub more: Vec<(String, String)>,
    /// Only these, separated by commas; `None` is all.
    pub roles: Option<String>,
    _scratch: tempfile::TempDir,
}

impl Setup {
    pub fn new(database_url: Option<&str>) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("waylog-")
            .tempdir()
            .expect("a folder");
        // The private Postgres runs as another user, who must be able to walk here.
        open_to_others(scratch.path());
        Self {
            data: scratch.path().join("data"),
            database_url: database_url.map(str::to_owned),
            listen: "127.0.0.1:0".to_owned(),
            more: Vec::new(),
            roles: None,
            _scratch: scratch,
        }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.more.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A `waylog` command with this setup's environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("WAYLOG__HTTP__LISTEN", &self.listen)
            .env("WAYLOG__DATA_DIR", &self.data)
            .env("WAYLOG__ADMIN_KEY", ADMIN_KEY)
            .env("WAYLOG__NOTIFICATIONS__ALLOW_PRIVATE_ENDPOINTS", "true")
            .kill_on_drop(true);
        if let Some(url) = &self.database_url {
            command.env("WAYLOG__DATABASE__URL", url);
        }
        command.envs(self.more.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Starts the server and waits until it is ready. From then on its port stays the same, so
    /// that phones and browsers find it again after a restart.
    pub async fn start(&mut self) -> Server {
        let roles = self.roles.clone().unwrap_or_default();
        let serve = ["serve", "--roles", &roles];
        let mut child = self
            .command(&serve[..if roles.is_empty() { 1 } else { 3 }])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("readable");
            let line = line.expect("the server ended before it was listening; see its log above");
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        // Keep the pipe drained: a full one would block the server.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.listen = url.trim_start_matches("http://").to_owned();
        let server = Server {
            url,
            child,
            http: http_client(),
        };
        eventually("the server to be ready", || async {
            let answer = server
                .http
                .get(format!("{}/readyz", server.url))
                .send()
                .await
                .ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        server
    }
}

/// A client that speaks plain HTTP; reqwest wants to know whose TLS it would use all the same.
fn http_client() -> reqwest::Client {
    // Only the first call in a process counts, and all are the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

fn open_to_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, open).expect("own folder");
}

/// A running server.
pub struct Server {
    pub url: String,
    pub http: reqwest::Client,
    child: Child,
}

impl Server {
    /// kill -9: nothing is flushed, nothing is said goodbye to.
    pub async fn kill(mut self) {
        self.kill_9().await;
    }

    /// As [`Self::kill`], where its successor takes this one's place.
    pub async fn kill_9(&mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// A clean stop by SIGTERM; answers whether the exit code was 0.
    pub async fn stop(mut self) -> bool {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it was running");
        self.child.wait().await.expect("it ends").success()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// A request as admin; answers status and JSON body (`Null` where there is none).
    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.request(method, path, Some(ADMIN_KEY), body).await
    }

    /// A POST as admin that must succeed.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.admin(Method::POST, path, Some(body)).await;
        assert!(
            (200..300).contains(&status),
            "POST {path}: {status} {answer}"
        );
        answer
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.url));
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Makes a courier with one phone; answers the phone's token.
    pub async fn courier_with_phone(&self, id: &str) -> String {
        self.create(
            "/v1/couriers",
            serde_json::json!({"id": id, "name": format!("Courier {id}")}),
        )
        .await;
        let device = self
            .create(
                &format!("/v1/couriers/{id}/devices"),
                serde_json::json!({"label": "phone"}),
            )
            .await;
        device["token"].as_str().expect("a token").to_owned()
    }

    /// Posts fixes as a phone would, natively; answers the server's counts.
    pub async fn post_fixes(&self, token: &str, fixes: Value) -> (u16, Value) {
        self.request(Method::POST, "/v1/positions", Some(token), Some(fixes))
            .await
    }
}
