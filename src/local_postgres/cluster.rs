//! One cluster on disk: made, started, adopted, asked and stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rand::TryRng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use super::account::Account;
use super::programs::Programs;

/// The role that owns everything, and the database.
const ROLE: &str = "waylog";
const DATABASE: &str = "waylog";
/// The port's number is part of the socket's name.
const SOCKET_PORT: u16 = 5432;
/// Longest path of a Unix socket, bytes.
const MAX_SOCKET_PATH: usize = 107;
/// A cluster that does not answer by then has failed to start …
const START_WITHIN: Duration = Duration::from_secs(60);
/// … unless it recovers from a crash, which takes as long as there is log to read.
const RECOVER_WITHIN: Duration = Duration::from_secs(900);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How often an adopted server, which is not our child, is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A fast stop that has not ended by then becomes an immediate one.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// An immediate stop takes no longer.
const STOP_AT_ONCE_WITHIN: Duration = Duration::from_secs(10);
/// The log of Postgres is begun anew at a start when it is longer, bytes.
const MAX_LOG: u64 = 8 << 20;
/// What of it is shown when a start fails, bytes.
const SHOWN_LOG: u64 = 2_000;

/// Small enough to idle beside a small server, large enough to take segments in bulk.
const SETTINGS: [(&str, &str); 14] = [
    ("shared_buffers", "64MB"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "128MB"),
    ("max_connections", "100"),
    ("max_wal_size", "4GB"),
    ("min_wal_size", "128MB"),
    ("checkpoint_timeout", "15min"),
    ("synchronous_commit", "on"),
    ("autovacuum_max_workers", "2"),
    ("max_wal_senders", "2"),
    ("max_parallel_workers_per_gather", "1"),
    ("jit", "off"),
    ("huge_pages", "off"),
    ("unix_socket_permissions", "0700"),
];

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    dir: PathBuf,
    account: Account,
    programs: Programs,
    password: String,
    port: u16,
}

/// A Postgres server that runs.
#[derive(Debug)]
pub(super) struct Running {
    /// Becomes readable when the process ends.
    process: OwnedFd,
    /// Where we started it ourselves, so that it is reaped.
    child: Option<tokio::process::Child>,
}

/// What Postgres writes about itself into `postmaster.pid`.
struct PidFile {
    pid: Pid,
    port: u16,
}

fn socket_dir(dir: &Path) -> PathBuf {
    dir.join("run")
}

fn has_socket(dir: &Path) -> bool {
    let path = socket_dir(dir).join(format!(".s.PGSQL.{SOCKET_PORT}"));
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

fn pid_file(dir: &Path) -> Option<PidFile> {
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok()?)?;
    let port = lines
        .nth(2)
        .and_then(|port| port.trim().parse().ok())
        .unwrap_or(SOCKET_PORT);
    Some(PidFile { pid, port })
}

/// Whether a process is a Postgres server of this cluster, and not just one with the same number.
fn is_ours(dir: &Path, pid: Pid) -> bool {
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let data = dir.join("data");
    program.ends_with(b"postgres") && words.any(|word| word == data.as_os_str().as_encoded_bytes())
}

fn read_password(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("password");
    let password = fs::read_to_string(&path).with_context(|| {
        format!(
            "read the cluster's password {}: restore that file from a backup",
            path.display()
        )
    })?;
    Ok(password.trim().to_owned())
}

fn url(dir: &Path, password: &str, port: u16) -> String {
    if !has_socket(dir) {
        return format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}");
    }
    let socket = socket_dir(dir);
    let mut host = String::new();
    for &byte in socket.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => host.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => host.push(char::from(byte)),
            _ => host.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("postgres://{ROLE}:{password}@localhost/{DATABASE}?host={host}&port={port}")
}

/// The URL of the cluster in `dir`, if it runs.
pub(super) fn running_url(dir: &Path) -> anyhow::Result<Option<String>> {
    match pid_file(dir) {
        Some(file) if is_ours(dir, file.pid) => Ok(Some(url(dir, &read_password(dir)?, file.port))),
        _ => Ok(None),
    }
}

impl Cluster {
    /// The cluster in `dir`; made, if there is none. Blocks.
    pub(super) fn make(dir: &Path, account: Account, found: &[PathBuf]) -> anyhow::Result<Self> {
        let data = dir.join("data");
        let programs = Programs::find(found, made_by(&data))?;
        let run = socket_dir(dir);
        fs::create_dir_all(&run).with_context(|| format!("create {}", run.display()))?;
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700))?;
        account.give(&run)?;
        let password = if data.exists() {
            read_password(dir)?
        } else {
            new_password(dir)?
        };
        let port = match pid_file(dir) {
            _ if has_socket(dir) => SOCKET_PORT,
            Some(file) if is_ours(dir, file.pid) => file.port,
            _ => free_port()?,
        };
        let cluster = Self {
            dir: dir.to_owned(),
            account,
            programs,
            password,
            port,
        };
        if !data.exists() {
            cluster
                .initdb()
                .context("make the private Postgres cluster")?;
        }
        Ok(cluster)
    }

    /// How to connect.
    pub(super) fn url(&self) -> String {
        url(&self.dir, &self.password, self.port)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.program(program));
        // Nothing of our environment: PGDATA and the like would change what Postgres does.
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command.current_dir("/").stdin(Stdio::null());
        self.account.run_as(&mut command);
        command
    }

    /// Makes the cluster aside and renames it, so that one cut short is not taken for a whole one.
    fn initdb(&self) -> anyhow::Result<()> {
        let aside = self.dir.join("data.new");
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        // The password for initdb, readable by the account; ours stays ours.
        let secret = self.dir.join("password.new");
        write_secret(&secret, &self.password)?;
        self.account.give(&secret)?;
        let said = self
            .command("initdb")
            .args([
                "--username",
                ROLE,
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
            ])
            .args(["--auth", "scram-sha-256", "--data-checksums"])
            .arg("--pwfile")
            .arg(&secret)
            .arg("--pgdata")
            .arg(&aside)
            .output();
        fs::remove_file(&secret)?;
        let said = said.context("run initdb")?;
        if !said.status.success() {
            bail!(
                "initdb failed: {}",
                String::from_utf8_lossy(&said.stderr).trim()
            );
        }
        fs::rename(&aside, self.dir.join("data"))?;
        File::open(&self.dir)?
            .sync_all()
            .context("sync the new cluster's folder")
    }

    /// Takes over the server of this cluster that runs already, or starts one, and waits until it
    /// answers.
    pub(super) async fn adopt_or_start(&self) -> anyhow::Result<Running> {
        let stale = match pid_file(&self.dir) {
            Some(file) if is_ours(&self.dir, file.pid) => {
                tracing::info!("adopting the Postgres server that runs already");
                let mut running = Running {
                    process: watch(file.pid)?,
                    child: None,
                };
                match self.answers(&mut running).await {
                    Ok(()) => return Ok(running),
                    // It was just stopping.
                    Err(_) if !is_ours(&self.dir, file.pid) => false,
                    Err(error) => return Err(error),
                }
            }
            stale => stale.is_some(),
        };
        if stale {
            // Postgres itself hesitates when the number is some other process' by now.
            fs::remove_file(self.dir.join("data/postmaster.pid"))
                .context("remove the pid file of a server that is gone")?;
        }
        let mut running = self.spawn()?;
        self.answers(&mut running).await?;
        Ok(running)
    }

    fn spawn(&self) -> anyhow::Result<Running> {
        let path = log_file(&self.dir);
        let is_long = fs::metadata(&path).is_ok_and(|log| log.len() > MAX_LOG);
        let mut options = OpenOptions::new();
        options.create(true).mode(0o600);
        let options = if is_long {
            options.write(true).truncate(true)
        } else {
            options.append(true)
        };
        let log = options
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .arg("-p")
            .arg(self.port.to_string());
        if has_socket(&self.dir) {
            command
                .arg("-h")
                .arg("")
                .arg("-k")
                .arg(socket_dir(&self.dir));
        } else {
            command.arg("-h").arg("127.0.0.1").arg("-k").arg("");
        }
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C in the terminal is for us, and we stop it in our order.
        command.process_group(0);
        let child = tokio::process::Command::from(command)
            .spawn()
            .context("run postgres")?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| self.failed("postgres ended at once"))?;
        Ok(Running {
            process: watch(pid)?,
            child: Some(child),
        })
    }

    fn options(&self, database: &str) -> anyhow::Result<PgConnectOptions> {
        let options: PgConnectOptions = self.url().parse().context("read the cluster's URL")?;
        Ok(options.database(database).disable_statement_logging())
    }

    /// Waits until the server lets us in.
    async fn answers(&self, running: &mut Running) -> anyhow::Result<()> {
        let begun = Instant::now();
        let options = self.options("postgres")?;
        loop {
            let error = match PgConnection::connect_with(&options).await {
                Ok(connection) => return connection.close().await.context("ask Postgres"),
                Err(error) => error,
            };
            let code = error
                .as_database_error()
                .and_then(|e| e.code().map(|c| c.into_owned()));
            let within = match code.as_deref() {
                // It starts up, or shuts down before that.
                Some("57P03") => RECOVER_WITHIN,
                Some("28P01" | "28000") => {
                    return Err(anyhow!(error).context("the cluster does not accept our password"));
                }
                _ => START_WITHIN,
            };
            if begun.elapsed() > within {
                return Err(self.failed(&format!("Postgres does not answer: {error}")));
            }
            tokio::select! {
                () = running.ended() => return Err(self.failed("Postgres ended while starting")),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    /// Creates the database, if there is none.
    pub(super) async fn ensure_database(&self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.options("postgres")?).await?;
        let exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        let exists: bool = sqlx::query_scalar(exists)
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            sqlx::query("CREATE DATABASE waylog")
                .execute(&mut connection)
                .await?;
        }
        connection.close().await.context("create the database")
    }

    /// An error with the end of what Postgres said.
    fn failed(&self, what: &str) -> anyhow::Error {
        let said = end_of_log(&self.dir);
        anyhow!(
            "{what}; the end of {}:\n{}",
            log_file(&self.dir).display(),
            said.trim()
        )
    }
}

/// Major version of the programs that made the cluster in `data`, if there is one.
pub(super) fn made_by(data: &Path) -> Option<u32> {
    let version = fs::read_to_string(data.join("PG_VERSION")).ok()?;
    version.trim().parse().ok()
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("postgres.log")
}

/// What Postgres said last; nothing where that cannot be read.
fn end_of_log(dir: &Path) -> String {
    let mut said = Vec::new();
    if let Ok(mut log) = File::open(log_file(dir)) {
        let length = log.metadata().map_or(0, |log| log.len());
        let from = SeekFrom::Start(length.saturating_sub(SHOWN_LOG));
        if log.seek(from).is_err() || log.read_to_end(&mut said).is_err() {
            said.clear();
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The newest line of the end of the log that tells of an error.
pub(super) fn last_error(dir: &Path) -> Option<String> {
    let said = end_of_log(dir);
    let telling = |line: &&str| line.contains("FATAL") || line.contains("PANIC");
    said.lines().rev().find(telling).map(str::to_owned)
}

impl Running {
    /// Returns when the server has ended.
    pub(super) async fn ended(&mut self) {
        match &mut self.child {
            // Waiting for a child can only fail if somebody else did.
            Some(child) => drop(child.wait().await),
            None => {
                while !self.has_ended() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    fn has_ended(&self) -> bool {
        let mut process = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut process, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Stops the server: fast, and if that takes too long, at once.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for (signal, within) in [
            (Signal::INT, STOP_WITHIN),
            (Signal::QUIT, STOP_AT_ONCE_WITHIN),
        ] {
            // A server that is gone already has been stopped.
            if pidfd_send_signal(&self.process, signal).is_err() {
                return Ok(());
            }
            if tokio::time::timeout(within, self.ended()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!("Postgres does not stop");
        }
        bail!("Postgres did not stop; its processes may have to be ended by hand")
    }
}

fn watch(pid: Pid) -> anyhow::Result<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).context("watch the Postgres server")
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn new_password(dir: &Path) -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .context("ask the system for randomness")?;
    let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_secret(&dir.join("password"), &password)?;
    Ok(password)
}

/// Writes a file that only its owner can read, durably.
fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let written = (|| {
        if path.exists() {
            fs::remove_file(path)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{secret}")?;
        file.sync_all()
    })();
    written.with_context(|| format!("write {}", path.display()))
}
