//! A Postgres of a scenario's own, which it may stop and start.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A cluster in a scratch folder, stopped when it is dropped.
pub struct OwnPostgres {
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    scratch: tempfile::TempDir,
}

impl OwnPostgres {
    pub fn start() -> Self {
        let bin = newest_bin();
        let scratch = tempfile::Builder::new()
            .prefix("waylog-pg-")
            .tempdir()
            .expect("a folder");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(scratch.path()));
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let data = scratch.path().join("data");
        let cluster = Self {
            data,
            bin,
            port,
            scratch,
        };
        run(cluster
            .program("initdb")
            .args([
                "-U",
                "waylog",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(&cluster.data));
        cluster.start_again();
        cluster
    }

    pub fn url(&self) -> String {
        format!("postgres://waylog@127.0.0.1:{}/postgres", self.port)
    }

    /// A connection of one's own; `None` while it is away.
    pub async fn connect(&self) -> Option<sqlx::PgConnection> {
        <sqlx::PgConnection as sqlx::Connection>::connect(&self.url())
            .await
            .ok()
    }

    /// How long a file may become that its processes of the future write; `None`: any length.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).expect("it runs");
        let pid = file.lines().next().expect("the server's process");
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        // As its owner, who needs no right to change what is its own; the hard limit stays.
        run(as_owner(Path::new("prlimit"))
            .args(["--pid", pid])
            .arg(format!("--fsize={limit}:")));
    }

    pub fn start_again(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=",
            self.port
        );
        run(self
            .pg_ctl(&["start", "-o", &options])
            .arg("-l")
            .arg(self.scratch.path().join("log")));
    }

    /// Stops it as a power cut would: no shutdown checkpoint, connections cut.
    pub fn stop_immediately(&self) {
        run(&mut self.pg_ctl(&["stop", "-m", "immediate"]));
    }

    fn pg_ctl(&self, args: &[&str]) -> Command {
        let mut command = self.program("pg_ctl");
        command.args(["-w", "-s", "-D"]).arg(&self.data).args(args);
        command
    }

    fn program(&self, name: &str) -> Command {
        as_owner(&self.bin.join(name))
    }
}

/// A program as the user whose cluster it is: Postgres does not run as root.
fn as_owner(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command
        .args(["-u", "postgres", "--"])
        .arg(program)
        .current_dir("/");
    command
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        // It may be stopped already; then there is nothing to do.
        drop(self.pg_ctl(&["stop", "-m", "immediate"]).output());
    }
}

fn newest_bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(|dir| {
        dir.filter_map(|e| Some(e.ok()?.path().join("bin")))
            .filter(|bin| bin.join("initdb").exists())
            .max_by_key(|bin| version(bin))
    });
    versions
        .ok()
        .flatten()
        .expect("Debian's package postgresql (make test installs it)")
}

fn version(bin: &Path) -> u32 {
    let name = bin
        .parent()
        .and_then(Path::file_name)
        .and_then(|n| n.to_str());
    name.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
