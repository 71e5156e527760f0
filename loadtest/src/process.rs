//! CPU and memory of the server, as Linux counts them.

use std::fs;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

/// Clock ticks a second in `/proc/*/stat`: the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// A process on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Its number.
    pub pid: u32,
}

/// What a process used in a span of time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Used {
    /// Cores, on average.
    pub cores: f64,
    /// Resident memory at the end, MiB.
    pub rss_mib: f64,
}

/// The beginning of such a span.
pub struct Span {
    process: Process,
    began: Instant,
    ticks: u64,
}

impl Process {
    /// The process that listens on `port` of this machine.
    pub fn listening_on(port: u16) -> anyhow::Result<Self> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .find_map(|table| listening_inode(&table, port))
            .with_context(|| format!("nobody listens on port {port} here; give --pid"))?;
        let socket = format!("socket:[{inode}]");
        let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|pid| holds(*pid, &socket))
            .map(|pid| Self { pid })
            .context("the server's process cannot be seen; give --pid")
    }

    /// Begins to count.
    pub fn begin(self) -> anyhow::Result<Span> {
        Ok(Span {
            process: self,
            began: Instant::now(),
            ticks: self.ticks()?,
        })
    }

    fn ticks(self) -> anyhow::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .context("the server's process is gone")?;
        // The name may hold spaces; the fields after it do not.
        let (_, fields) = stat
            .rsplit_once(") ")
            .context("an unknown form of /proc/*/stat")?;
        let field = |n: usize| fields.split(' ').nth(n).and_then(|f| f.parse::<u64>().ok());
        let (user, system) = (field(11), field(12));
        let both = user.zip(system).map(|(user, system)| user + system);
        both.context("an unknown form of /proc/*/stat")
    }

    /// Resident memory now, MiB.
    pub fn rss_mib(self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .context("the server's process is gone")?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kib.context("an unknown form of /proc/*/status")? / 1024.0)
    }
}

impl Span {
    /// What was used since the beginning.
    pub fn end(&self) -> anyhow::Result<Used> {
        let ticks = self.process.ticks()?.saturating_sub(self.ticks);
        let seconds = self.began.elapsed().as_secs_f64();
        Ok(Used {
            cores: ticks as f64 / TICKS_A_SECOND / seconds,
            rss_mib: self.process.rss_mib()?,
        })
    }
}

/// The inode of the socket that listens on `port`, from `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        (local.ends_with(&suffix) && state == LISTEN).then(|| fields.nth(5).map(str::to_owned))?
    })
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .filter_map(Result::ok)
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str() == Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let found = Process::listening_on(port).expect("found");
        assert_eq!(found.pid, std::process::id());
        assert!(found.rss_mib().expect("known") > 0.1);
    }
}
