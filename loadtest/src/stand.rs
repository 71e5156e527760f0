//! A test stand: a folder, a Postgres with durable settings, and Waylog servers of this build, all of
//! their own, for measurements that start and stop what they measure.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use waylog::local_postgres::LocalPostgres;

use crate::Target;
use crate::process::Process;

/// The bootstrap admin key of every stand's servers.
const ADMIN_KEY: &str = "loadtest-admin-key-0123456789abcdef";
/// How long a server may take until it is ready, recovery included.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a server may take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// The stand. Its folder goes with it.
pub struct Stand {
    postgres: Option<LocalPostgres>,
    postgres_url: String,
    waylog: PathBuf,
    dir: tempfile::TempDir,
    /// Kept over restarts, so that phones find the server again.
    listen: String,
}

/// A server of a stand. Killed when dropped.
pub struct Server {
    child: Child,
    /// Where it is, and who asks.
    pub target: Target,
}

impl Stand {
    /// A new stand in `parent` (the system's folder for temporary files unless given).
    pub async fn new(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let dir = tempfile::Builder::new()
            .prefix("waylog-loadtest-")
            .tempdir_in(&parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        // Postgres may run as another user, who must be able to walk here.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open)?;
        let postgres = LocalPostgres::start(dir.path()).await?;
        Ok(Self {
            postgres_url: postgres.url().to_owned(),
            postgres: Some(postgres),
            waylog: beside_this("waylog")?,
            dir,
            listen: "127.0.0.1:0".to_owned(),
        })
    }

    /// How to connect to its Postgres.
    pub fn postgres_url(&self) -> &str {
        &self.postgres_url
    }

    /// The process that all others of its Postgres come from.
    pub fn postmaster(&self) -> anyhow::Result<Process> {
        let path = self.dir.path().join("postgres/data/postmaster.pid");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        Ok(Process {
            pid: pid.context("Postgres has written no pid")?,
        })
    }

    /// The data of its servers.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where a file of the stand may be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A `waylog` command on the data of this stand.
    pub fn waylog(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.waylog);
        command
            .args(args)
            .env("WAYLOG__DATA_DIR", self.data_dir())
            .env("WAYLOG__DATABASE__URL", &self.postgres_url)
            .env("WAYLOG__HTTP__LISTEN", &self.listen)
            .env("WAYLOG__ADMIN_KEY", ADMIN_KEY)
            .env("WAYLOG__TELEMETRY__LOG", "warn")
            .env("WAYLOG__LIMITS__KEY_PER_S", "0")
            .kill_on_drop(true);
        command
    }

    /// Starts a server with these roles (all, if empty) and settings from the environment, and waits
    /// until it is ready.
    pub async fn serve(
        &mut self,
        roles: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Server> {
        let mut args = vec!["serve"];
        if !roles.is_empty() {
            args.extend(["--roles", roles]);
        }
        let mut command = self.waylog(&args);
        command.envs(settings.iter().copied());
        let (child, url) = started(command).await?;
        self.listen = url.trim_start_matches("http://").to_owned();
        let pid = child.id().context("the server has ended")?;
        Ok(Server {
            child,
            target: Target::of(url, ADMIN_KEY, pid),
        })
    }

    /// Stops Postgres and removes the folder.
    pub async fn end(mut self) -> anyhow::Result<()> {
        match self.postgres.take() {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        }
    }
}

impl Server {
    /// Its process.
    pub fn process(&self) -> Process {
        Process {
            pid: self.target.pid.unwrap_or_default(),
        }
    }

    /// Stops it in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        signal(self.process(), rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(STOP_WITHIN, self.child.wait()).await;
        let status = ended.context("the server did not stop in time")??;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    /// Ends it as a power cut would, but for what the kernel still writes.
    pub async fn kill_9(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill the server")
    }
}

/// Sends a signal to a process of ours.
pub fn signal(process: Process, signal: rustix::process::Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("no such process")?;
    rustix::process::kill_process(pid, signal).context("signal a process")
}

/// Starts a program that says `listening on URL` when it is ready; answers the URL.
pub async fn started(mut command: Command) -> anyhow::Result<(Child, String)> {
    let mut child = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {:?}", command.as_std().get_program()))?;
    let out = child.stdout.take().context("its output is not there")?;
    let mut lines = BufReader::new(out).lines();
    let url = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, url)) = line.split_once("listening on ") {
                return anyhow::Ok(url.trim().to_owned());
            }
        }
        bail!("the server ended before it was ready; its log is above")
    };
    let url = tokio::time::timeout(READY_WITHIN, url).await;
    let url = url.context("the server was not ready in time")??;
    // Kept empty: a full pipe would block the server.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, url))
}

/// A program that was built together with this one.
fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing: cargo build --release -p waylog -p loadtest",
            path.display()
        );
    }
    Ok(path)
}
