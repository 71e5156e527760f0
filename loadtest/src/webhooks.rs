//! From a phone's POST to the receiver of a webhook; and how many webhooks a second one receiver
//! gets.
//!
//! Couriers go in and out of a geofence, each with an event every two seconds, while others only
//! drive. A latency counts from when the POST was due that completed the event (the second fix on a
//! side) until the call has arrived in full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{Api, ApiConnection};
use crate::client::Connection;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::Process;
use crate::provision::{self, Phone};
use crate::receiver::Receiver;
use crate::report::Report;
use crate::template::Template;
use crate::{Target, clock};

/// Fixes of an upload of those who only drive; one such upload a second each.
const DRIVERS_FIXES: usize = 10;
/// Seconds between two events of one courier.
const EVENT_EVERY_S: usize = 2;
/// Seconds of posting before it is measured.
const WARM_UP_S: u64 = 3;
/// How long the last events may take to arrive.
const LAST_ONES: Duration = Duration::from_secs(10);
/// How long a burst may take.
const BURST: Duration = Duration::from_secs(120);
/// The geofence's middle, and a place outside of it.
const INSIDE: (f64, f64) = (35.95, 14.40);
const OUTSIDE: (f64, f64) = (35.96, 14.40);

/// Events on the way from a POST to a receiver.
#[derive(Args, Clone, Serialize)]
pub struct WebhookArgs {
    /// Fixes a second, all couriers together.
    #[arg(long, default_value_t = 10_000)]
    fixes: usize,
    /// Events a second.
    #[arg(long, default_value_t = 100)]
    events: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &WebhookArgs) -> anyhow::Result<()> {
    let title = "POST to webhook received, and webhooks a second to one receiver";
    let mut report = Report::new(title, args);
    let api = Api::new(&target.url, &target.api_key)?;
    let server = match target.pid {
        Some(pid) => Process { pid },
        None => Process::listening_on(api.address.port())?,
    };
    let crossing = args.events * EVENT_EVERY_S;
    let driving = args.fixes.saturating_sub(crossing) / DRIVERS_FIXES;
    eprintln!("making {} couriers", crossing + driving);
    let phones = provision::phones(&api, crossing + driving).await?;
    let (crossers, drivers) = phones.split_at(crossing);
    let receiver = Receiver::start().await?;
    let mut calls = api.connect().await?;
    let fence = format!("load-{}", clock::now_ms());
    let circle = json!({"lat": INSIDE.0, "lon": INSIDE.1, "radius_m": 200});
    let geofence = json!({"id": fence, "name": "Load", "circle": circle});
    calls.call("POST", "/v1/geofences", &geofence).await?;
    let webhook = json!({"url": receiver.url, "events": ["geofence.*"]});
    let made = calls.call("POST", "/v1/webhooks", &webhook).await.context(
        "the server must allow webhooks to this machine: \
         WAYLOG__NOTIFICATIONS__ALLOW_PRIVATE_ENDPOINTS=true",
    )?;
    let webhook = made["id"]
        .as_str()
        .context("a webhook without an id")?
        .to_owned();
    let measured = async {
        let events = Arc::new(Events::default());
        let watching = tokio::spawn(watch(receiver, events.clone()));
        let load = Load {
            api: &api,
            crossers,
            drivers,
            events: &events,
        };
        load.post_for(WARM_UP_S).await?;
        events.all_seen().await?;
        let began_ms = clock::now_ms();
        for run in 1..=args.runs {
            events.forget();
            let span = server.begin()?;
            let began = Instant::now();
            let sent = load.post_for(args.seconds).await?;
            let seconds = began.elapsed().as_secs_f64();
            let used = span.end()?;
            let expected = events.all_seen().await?;
            let latencies = events.latencies()?;
            eprintln!(
                "run {run} of {}: {} of {expected} events arrived",
                args.runs,
                latencies.len()
            );
            report.add("fixes sent", "1/s", sent as f64 / seconds);
            report.add("events", "1/s", expected as f64 / seconds);
            report.add(
                "events received",
                "share",
                latencies.len() as f64 / expected as f64,
            );
            let p = latencies.percentiles();
            report.add("POST to webhook p50", "ms", p.p50_ms);
            report.add("POST to webhook p90", "ms", p.p90_ms);
            report.add("POST to webhook p99", "ms", p.p99_ms);
            report.add("POST to webhook max", "ms", p.max_ms);
            report.add("server CPU", "cores", used.cores);
            report.add("server memory", "MiB", used.rss_mib);
        }
        for run in 1..=args.runs {
            let span = server.begin()?;
            let (count, seconds) = burst(&mut calls, &webhook, began_ms, &events).await?;
            eprintln!(
                "burst {run} of {}: {count} events in {seconds:.2} s",
                args.runs
            );
            report.add("burst", "events", count as f64);
            report.add("webhooks in a burst", "1/s", count as f64 / seconds);
            report.add("server CPU in a burst", "cores", span.end()?.cores);
        }
        watching.abort();
        anyhow::Ok(())
    };
    let done = measured.await;
    // What the next run does not need is taken away, also after a failure.
    for path in [
        format!("/v1/webhooks/{webhook}"),
        format!("/v1/geofences/{fence}"),
    ] {
        calls
            .call("DELETE", &path, &serde_json::Value::Null)
            .await?;
    }
    done?;
    report.print(target.json);
    Ok(())
}

/// Sends all events since `from_ms` again; how many came, and in how many seconds from the first to
/// the last.
async fn burst(
    calls: &mut ApiConnection,
    webhook: &str,
    from_ms: u64,
    events: &Events,
) -> anyhow::Result<(usize, f64)> {
    events.forget();
    let span = json!({"from": clock::rfc3339(from_ms)?, "to": clock::rfc3339(clock::now_ms())?});
    let path = format!("/v1/webhooks/{webhook}/redeliver");
    let queued = calls.call("POST", &path, &span).await?;
    let queued = queued["queued"]
        .as_u64()
        .context("an answer without queued")? as usize;
    if queued < 2 {
        bail!("only {queued} events could be sent again");
    }
    let began = Instant::now();
    while events.received().len() < queued {
        if began.elapsed() > BURST {
            bail!(
                "{} of {queued} events came in {BURST:?}",
                events.received().len()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let received = events.received();
    let (first, last) = (received.iter().min(), received.iter().max());
    let took = first
        .zip(last)
        .map_or(Duration::ZERO, |(first, last)| *last - *first);
    Ok((queued, took.as_secs_f64()))
}

/// Who posts, and what is expected of it.
struct Load<'a> {
    api: &'a Api,
    crossers: &'a [Phone],
    drivers: &'a [Phone],
    events: &'a Arc<Events>,
}

impl Load<'_> {
    /// Everybody posts once a second, spread over the second. Answers how many fixes were sent.
    async fn post_for(&self, seconds: u64) -> anyhow::Result<u64> {
        let began = Instant::now();
        let all = self.crossers.len() + self.drivers.len();
        let mut phones = Vec::with_capacity(all);
        for (which, phone) in self.crossers.iter().enumerate() {
            let connection = Connection::open(self.api.address).await?;
            let schedule = Schedule::new(began, all as f64, which, all);
            let (host, phone) = (self.api.host.clone(), phone.clone());
            let events = self.events.clone();
            phones.push(tokio::spawn(async move {
                cross(connection, schedule, &host, &phone, seconds, &events).await
            }));
        }
        for (which, phone) in (self.crossers.len()..).zip(self.drivers) {
            let mut connection = Connection::open(self.api.address).await?;
            let mut schedule = Schedule::new(began, all as f64, which, all);
            let token = phone.token.clone();
            let mut template =
                Template::new(&self.api.host, token.len(), DRIVERS_FIXES, which as u64);
            phones.push(tokio::spawn(async move {
                let step_ms = 1_000 / DRIVERS_FIXES as u64;
                for _ in 0..seconds {
                    schedule.next().await;
                    let first_ms = clock::now_ms() - 1_000;
                    connection
                        .send(template.fill_every(&token, first_ms, step_ms))
                        .await?;
                    accepted(&mut connection).await?;
                }
                Ok(seconds * DRIVERS_FIXES as u64)
            }));
        }
        let mut sent = 0;
        for phone in phones {
            sent += phone.await??;
        }
        Ok(sent)
    }
}

/// A courier who goes in and out: two fixes outside, two inside, and so on.
async fn cross(
    mut connection: Connection,
    mut schedule: Schedule,
    host: &str,
    phone: &Phone,
    seconds: u64,
    events: &Events,
) -> anyhow::Result<u64> {
    let mut first_of_side = String::new();
    for second in 0..seconds {
        let due = schedule.next().await;
        let fix_time = clock::now_ms();
        let (lat, lon) = if second % 4 < 2 { OUTSIDE } else { INSIDE };
        if second % 2 == 0 {
            first_of_side = clock::rfc3339(fix_time)?;
        } else if second > 1 || events.was_inside(&phone.courier) {
            events.expect(&phone.courier, &first_of_side, due, second % 4 == 3);
        }
        let body = format!(
            r#"{{"fix_time":{fix_time},"lat":{lat},"lon":{lon},"accuracy_m":5,"speed_mps":8}}"#
        );
        let request = format!(
            "POST /v1/positions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            phone.token,
            body.len()
        );
        connection.send(request.as_bytes()).await?;
        accepted(&mut connection).await?;
    }
    Ok(seconds)
}

async fn accepted(connection: &mut Connection) -> anyhow::Result<()> {
    let answer = connection.answer().await?;
    if answer.status != 200 {
        bail!("an upload was answered {}", answer.status);
    }
    Ok(())
}

/// Events that are to come, and when they came.
#[derive(Default)]
struct Events(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By courier and time: when the POST was due that completed it, and when it came.
    expected: HashMap<(String, String), (Instant, Option<Instant>)>,
    inside: HashMap<String, bool>,
    received: Vec<Instant>,
}

impl Events {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        look(&mut known)
    }

    fn expect(&self, courier: &str, at: &str, due: Instant, inside: bool) {
        self.with(|known| {
            let key = (courier.to_owned(), at.to_owned());
            known.expected.insert(key, (due, None));
            known.inside.insert(courier.to_owned(), inside);
        });
    }

    fn was_inside(&self, courier: &str) -> bool {
        self.with(|known| known.inside.get(courier).copied().unwrap_or_default())
    }

    fn saw(&self, courier: String, at: String, when: Instant) {
        self.with(|known| {
            known.received.push(when);
            if let Some((_, seen)) = known.expected.get_mut(&(courier, at)) {
                seen.get_or_insert(when);
            }
        });
    }

    /// Waits until all have come; answers how many were expected.
    async fn all_seen(&self) -> anyhow::Result<usize> {
        let began = Instant::now();
        loop {
            let (expected, missing) = self.with(|known| {
                let missing = known.expected.values().filter(|(_, seen)| seen.is_none());
                (known.expected.len(), missing.count())
            });
            if missing == 0 || began.elapsed() > LAST_ONES {
                return Ok(expected);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn latencies(&self) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::new()?;
        self.with(|known| {
            for (due, seen) in known.expected.values() {
                if let Some(seen) = seen {
                    latencies.add(seen.saturating_duration_since(*due));
                }
            }
        });
        Ok(latencies)
    }

    fn received(&self) -> Vec<Instant> {
        self.with(|known| known.received.clone())
    }

    fn forget(&self) {
        self.with(|known| {
            known.expected.clear();
            known.received.clear();
        });
    }
}

#[derive(Deserialize)]
struct Call {
    data: CallData,
}

#[derive(Deserialize)]
struct CallData {
    courier_id: Option<String>,
    at: String,
}

async fn watch(mut receiver: Receiver, events: Arc<Events>) -> anyhow::Result<()> {
    while let Some((when, body)) = receiver.next().await {
        let call: Call = serde_json::from_slice(&body)?;
        events.saw(call.data.courier_id.unwrap_or_default(), call.data.at, when);
    }
    Ok(())
}
