//! CPU and memory by process, as Linux counts them: the server, its Postgres, this generator, and
//! whatever else keeps the machine busy (the kernel's own threads write the disk).

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

use crate::Target;
use crate::api::Api;
use crate::report::Report;

/// Clock ticks a second in `/proc/*/stat`: the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// A process on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Its number.
    pub pid: u32,
}

/// What was used in a span of time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Used {
    /// Its length, seconds.
    pub seconds: f64,
    /// Cores of the server, on average.
    pub cores: f64,
    /// Its resident memory at the end, MiB.
    pub rss_mib: f64,
    /// Cores of all Postgres processes of this machine.
    pub postgres_cores: f64,
    /// Cores of this generator.
    pub generator_cores: f64,
    /// Cores of the whole machine, kernel included.
    pub machine_cores: f64,
}

/// The beginning of such a span.
pub struct Span {
    process: Process,
    began: Instant,
    ticks: u64,
    postgres: HashMap<u32, u64>,
    generator: u64,
    machine: u64,
}

impl Process {
    /// This generator.
    pub fn own() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// The server that is driven: the one that was named, or else the one that listens there.
    pub fn of(target: &Target, api: &Api) -> anyhow::Result<Self> {
        match target.pid {
            Some(pid) => Ok(Self { pid }),
            None => Self::listening_on(api.address.port()),
        }
    }

    /// The process that listens on `port` of this machine.
    pub fn listening_on(port: u16) -> anyhow::Result<Self> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .find_map(|table| listening_inode(&table, port))
            .with_context(|| format!("nobody listens on port {port} here; give --pid"))?;
        let socket = format!("socket:[{inode}]");
        pids()
            .find(|pid| holds(*pid, &socket))
            .map(|pid| Self { pid })
            .context("the server's process cannot be seen; give --pid")
    }

    /// It and the processes that it started.
    pub fn with_children(self) -> Vec<Self> {
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
            fields.split(' ').nth(1) == Some(&self.pid.to_string())
        };
        let children = pids().filter(is_child).map(|pid| Self { pid });
        std::iter::once(self).chain(children).collect()
    }

    /// Begins to count.
    pub fn begin(self) -> anyhow::Result<Span> {
        Ok(Span {
            process: self,
            began: Instant::now(),
            ticks: self.ticks()?,
            postgres: postgres(),
            generator: Self::own().ticks()?,
            machine: machine_ticks()?,
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
        let seconds = self.began.elapsed().as_secs_f64();
        let cores = |ticks: u64| ticks as f64 / TICKS_A_SECOND / seconds;
        // Processes that ended meanwhile are not seen any more; those of Postgres live long.
        let postgres = postgres().into_iter().map(|(pid, now)| {
            let before = self.postgres.get(&pid).copied().unwrap_or(0);
            now.saturating_sub(before)
        });
        Ok(Used {
            seconds,
            cores: cores(self.process.ticks()?.saturating_sub(self.ticks)),
            rss_mib: self.process.rss_mib()?,
            postgres_cores: cores(postgres.sum()),
            generator_cores: cores(Process::own().ticks()?.saturating_sub(self.generator)),
            machine_cores: cores(machine_ticks()?.saturating_sub(self.machine)),
        })
    }
}

impl Used {
    /// Adds it to a run's figures.
    pub fn into_report(self, report: &mut Report) {
        report.add("server CPU", "cores", self.cores);
        report.add("Postgres CPU", "cores", self.postgres_cores);
        report.add("generator CPU", "cores", self.generator_cores);
        report.add("machine CPU", "cores", self.machine_cores);
        report.add("server memory", "MiB", self.rss_mib);
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Ticks of every Postgres process.
fn postgres() -> HashMap<u32, u64> {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm"));
    pids()
        .filter(|pid| name(pid).is_ok_and(|name| name.trim() == "postgres"))
        .filter_map(|pid| Some((pid, Process { pid }.ticks().ok()?)))
        .collect()
}

/// Ticks in which any core was busy, from `/proc/stat`.
fn machine_ticks() -> anyhow::Result<u64> {
    // user nice system idle iowait irq softirq steal
    const BUSY: [usize; 5] = [0, 1, 2, 5, 6];
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let busy = BUSY.iter().filter_map(|at| fields.get(*at));
    Ok(busy.sum())
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
