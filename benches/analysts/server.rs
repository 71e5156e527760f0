//! The real server over HTTP: heatmap and exports, and the memory that they take.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::day::Day;
use super::{median_ms, row};

const KEY: &str = "benchmark-admin-key-0123456789abcdef";
const RUNS: usize = 5;

struct Server {
    address: String,
    child: Child,
    _data: tempfile::TempDir,
}

/// How one answer came.
struct Answer {
    first_byte: Duration,
    whole: Duration,
    bytes: usize,
    lines: usize,
}

pub async fn ask(database_url: &str, day: &Day) -> anyhow::Result<()> {
    let mut server = Server::start(database_url).await?;
    let date = &day.date;
    let month = format!("from={date}&to={date}T23:59:59Z");
    for (what, query) in [
        ("heatmap of the day, resolution 8", month.clone()),
        ("heatmap of the day, resolution 9", format!("{month}&res=9")),
        ("heatmap of the day, 17:00", format!("{month}&hour=17")),
    ] {
        let path = format!("/v1/heatmap?{query}");
        let answers = server.several(&path, RUNS, "identity").await?;
        let times = answers.iter().map(|a| a.whole).collect();
        let bytes = answers[0].bytes;
        row(
            what,
            &format!("{:.0} ms, {} kB", median_ms(times), bytes / 1000),
        );
    }
    let day_of_one = format!("/v1/couriers/{}/fixes?from={date}", day.busiest);
    for format in ["csv", "json", "geojson", "gpx", "parquet"] {
        let path = format!("{day_of_one}&format={format}");
        server
            .report(
                &format!("a courier's day as {format}"),
                &path,
                day.busiest_fixes,
                "identity",
            )
            .await?;
    }
    let path = format!("{day_of_one}&format=csv");
    server
        .report(
            "a courier's day as csv, gzip",
            &path,
            day.busiest_fixes,
            "gzip",
        )
        .await?;
    for format in ["parquet", "csv"] {
        let path = format!("/v1/fixes?day={date}&format={format}");
        let what = format!("the fleet's day as {format}");
        server.report_once(&what, &path, day.fixes).await?;
    }
    server.child.kill().await?;
    Ok(())
}

impl Server {
    async fn start(database_url: &str) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_waylog"))
            .arg("serve")
            .env("WAYLOG__HTTP__LISTEN", "127.0.0.1:0")
            .env("WAYLOG__DATA_DIR", data.path())
            .env("WAYLOG__DATABASE__URL", database_url)
            .env("WAYLOG__ADMIN_KEY", KEY)
            .env("WAYLOG__TELEMETRY__LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let address = loop {
            let line = lines.next_line().await?.context("the server has ended")?;
            if let Some((_, url)) = line.split_once("listening on http://") {
                break url.trim().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            address,
            child,
            _data: data,
        })
    }

    /// Reads one answer and throws it away as it comes, as `curl -o /dev/null` would.
    async fn get(&self, path: &str, encoding: &str) -> anyhow::Result<Answer> {
        let mut socket = TcpStream::connect(&self.address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n\
             Accept-Encoding: {encoding}\r\nConnection: close\r\n\r\n",
            self.address
        );
        let begun = Instant::now();
        socket.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 1 << 18];
        let (mut bytes, mut lines) = (0, 0);
        let mut first_byte = None;
        loop {
            let read = socket.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            let part = &buffer[..read];
            anyhow::ensure!(
                bytes > 0 || part.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(part)
            );
            if first_byte.is_none() {
                // The head alone is no answer yet.
                let head = part.windows(4).position(|w| w == b"\r\n\r\n");
                if head.is_some_and(|at| at + 4 < read) || bytes > 0 {
                    first_byte = Some(begun.elapsed());
                }
            }
            bytes += read;
            lines += part.iter().filter(|byte| **byte == b'\n').count();
        }
        let whole = begun.elapsed();
        Ok(Answer {
            first_byte: first_byte.unwrap_or(whole),
            whole,
            bytes,
            lines,
        })
    }

    async fn several(
        &self,
        path: &str,
        runs: usize,
        encoding: &str,
    ) -> anyhow::Result<Vec<Answer>> {
        self.get(path, encoding).await?;
        let mut answers = Vec::new();
        for _ in 0..runs {
            answers.push(self.get(path, encoding).await?);
        }
        Ok(answers)
    }

    async fn report(
        &self,
        what: &str,
        path: &str,
        fixes: usize,
        encoding: &str,
    ) -> anyhow::Result<()> {
        let answers = self.several(path, RUNS, encoding).await?;
        if path.ends_with("csv") && encoding == "identity" {
            anyhow::ensure!(answers[0].lines >= fixes, "all fixes");
        }
        let first = median_ms(answers.iter().map(|a| a.first_byte).collect());
        let whole = median_ms(answers.iter().map(|a| a.whole).collect());
        let rate = fixes as f64 / whole * 1000.0;
        let megabytes = answers[0].bytes as f64 / 1e6;
        row(
            what,
            &format!(
                "first byte {first:.1} ms, whole {whole:.0} ms, {rate:.0} fixes/s, {megabytes:.1} MB"
            ),
        );
        Ok(())
    }

    /// The same for something large, with the memory that the server took more than before.
    async fn report_once(&self, what: &str, path: &str, fixes: usize) -> anyhow::Result<()> {
        let before = self.memory("VmRSS:")?;
        std::fs::write(self.proc().join("clear_refs"), "5")?;
        let answer = self.get(path, "identity").await?;
        let grown = self.memory("VmHWM:")?.saturating_sub(before);
        let first = answer.first_byte.as_secs_f64() * 1000.0;
        let rate = fixes as f64 / answer.whole.as_secs_f64();
        row(
            what,
            &format!(
                "first byte {first:.0} ms, whole {:.1} s, {rate:.0} fixes/s, {:.0} MB; {} MB of memory",
                answer.whole.as_secs_f64(),
                answer.bytes as f64 / 1e6,
                grown / 1000
            ),
        );
        Ok(())
    }

    fn proc(&self) -> std::path::PathBuf {
        Path::new("/proc").join(self.child.id().unwrap_or_default().to_string())
    }

    /// Kilobytes.
    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(self.proc().join("status"))?;
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .context("a field")?;
        let number = line.split_whitespace().nth(1).context("a number")?;
        Ok(number.parse()?)
    }
}
