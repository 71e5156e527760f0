//! Runs the couriers against a server: one task, one clock, a bounded number of requests in flight.
//!
//! Invariants: a courier has at most one request in flight, so that its uploads and steps arrive in
//! their order; a server that is away makes queues grow (bounded) and nothing else; the couriers'
//! lives never wait for the network.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Totals;
use super::book::Book;
use super::crew::Crew;
use super::deliver::{self, Outcome};
use super::fleet::Step;
use super::outbox::Item;
use crate::cli::api::{Api, GaveUp};
use crate::clock::Clock;
use crate::domain::DeliveryId;

/// Requests in flight at once.
const IN_FLIGHT: usize = 32;
/// How often the state is kept and the sums are told, milliseconds.
const KEEP_EVERY_MS: i64 = 5_000;
const TELL_EVERY_MS: i64 = 60_000;
/// A delivery is shown until it has less than this to go, milliseconds.
const SHOW_MS: i64 = 5 * 60_000 + 15_000;
/// The server is told again where the demo is, for it may have been restarted, milliseconds.
const SHOW_AGAIN_MS: i64 = 30_000;

enum Landed {
    Item {
        courier: usize,
        item: Item,
        outcome: anyhow::Result<Outcome>,
    },
    Device {
        courier: usize,
        device: anyhow::Result<Option<String>>,
    },
    Shown {
        outcome: anyhow::Result<Outcome>,
    },
    Linked {
        id: DeliveryId,
        url: anyhow::Result<String>,
    },
}

/// What the demo shows.
#[derive(Default)]
struct Demo {
    /// Links of open deliveries.
    urls: HashMap<DeliveryId, String>,
    /// Deliveries that the server knows to be under way.
    under_way: HashSet<DeliveryId>,
    shown: Option<DeliveryId>,
    told_ms: i64,
    busy: bool,
}

/// A simulation that runs.
pub(super) struct Engine<'a> {
    api: &'a Api,
    api_key: &'a str,
    clock: &'a dyn Clock,
    crew: Crew,
    book: Book,
    book_path: PathBuf,
    /// Where the true positions are written.
    truth: Option<BufWriter<File>>,
    pub(super) totals: Totals,
    ready: VecDeque<usize>,
    flying: FuturesUnordered<BoxFuture<'a, Landed>>,
    demo: Demo,
    /// The server says that the demo was removed.
    removed: bool,
}

impl<'a> Engine<'a> {
    /// Puts an engine together; every courier of the crew has its token in the book.
    pub(super) fn new(
        (api, api_key): (&'a Api, &'a str),
        clock: &'a dyn Clock,
        crew: Crew,
        (book, book_path): (Book, PathBuf),
        truth: Option<BufWriter<File>>,
    ) -> Self {
        Self {
            api,
            api_key,
            clock,
            crew,
            book,
            book_path,
            truth,
            totals: Totals::default(),
            ready: VecDeque::new(),
            flying: FuturesUnordered::new(),
            demo: Demo::default(),
            removed: false,
        }
    }

    /// Runs until it is stopped.
    ///
    /// # Errors
    /// If the server does not accept the API key.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let (mut keep_ms, mut tell_ms) = (self.clock.now_ms(), self.clock.now_ms() + TELL_EVERY_MS);
        (0..self.crew.lines.len()).for_each(|number| self.wake(number));
        while !self.removed {
            let now_ms = self.clock.now_ms();
            while self.crew.fleet.next_ms() <= now_ms {
                let Some(step) = self.crew.fleet.step() else {
                    break;
                };
                self.live(step)?;
            }
            self.show(now_ms);
            self.take_off();
            if now_ms >= keep_ms {
                self.keep()?;
                keep_ms = now_ms + KEEP_EVERY_MS;
            }
            if now_ms >= tell_ms {
                tracing::info!("{}", self.totals);
                tell_ms = now_ms + TELL_EVERY_MS;
            }
            let wait_ms = self.crew.fleet.next_ms().min(keep_ms) - now_ms;
            let wait = Duration::from_millis(wait_ms.max(0).unsigned_abs());
            tokio::select! {
                () = stop.cancelled() => break,
                Some(landed) = self.flying.next(), if !self.flying.is_empty() => self.land(landed)?,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.keep()
    }

    /// Tells the truth to its file, and what the phone makes of it to the server.
    fn live(&mut self, step: Step) -> anyhow::Result<()> {
        let courier = step.courier;
        if let Some(truth) = &mut self.truth {
            let at = step.place.position;
            let said = serde_json::json!({
                "courier_id": self.crew.lines[courier].id,
                "t_ms": step.at_ms,
                "lat": at.lat(),
                "lon": at.lon(),
            });
            writeln!(truth, "{said}")?;
        }
        self.crew.live(step);
        self.wake(courier);
        Ok(())
    }

    /// Queues a courier that has something to send.
    fn wake(&mut self, number: usize) {
        let line = &mut self.crew.lines[number];
        if !line.busy && !line.offline && !line.outbox.is_empty() {
            line.busy = true;
            self.ready.push_back(number);
        }
    }

    /// Starts as many requests as may be in flight.
    fn take_off(&mut self) {
        while self.flying.len() < IN_FLIGHT
            && let Some(courier) = self.ready.pop_front()
        {
            let line = &mut self.crew.lines[courier];
            let Some(item) = line.outbox.pop() else {
                line.busy = false;
                continue;
            };
            if let Item::Create { order, .. } = &item {
                self.book.open.insert(order.id.clone());
            }
            let (api, api_key, id) = (self.api, self.api_key, line.id.clone());
            let token = self.book.tokens.get(&id).cloned().unwrap_or_default();
            self.flying.push(Box::pin(async move {
                let outcome = deliver::send(api, api_key, &token, &id, &item).await;
                Landed::Item {
                    courier,
                    item,
                    outcome,
                }
            }));
        }
    }

    fn land(&mut self, landed: Landed) -> anyhow::Result<()> {
        match landed {
            Landed::Item {
                courier,
                item,
                outcome,
            } => {
                match deliver::judge(outcome)? {
                    Outcome::Later => self.crew.lines[courier].outbox.push_front(item),
                    Outcome::UnknownDevice => {
                        self.crew.lines[courier].outbox.push_front(item);
                        self.new_device(courier);
                        return Ok(());
                    }
                    outcome => self.settle(courier, item, outcome),
                }
                self.crew.lines[courier].busy = false;
                self.wake(courier);
            }
            Landed::Device { courier, device } => {
                let line = &mut self.crew.lines[courier];
                match device {
                    Ok(Some(token)) => {
                        self.book.tokens.insert(line.id.clone(), token);
                    }
                    Ok(None) => self.removed = true,
                    Err(error) if error.is::<GaveUp>() => {}
                    Err(error) => return Err(error),
                }
                line.busy = false;
                self.wake(courier);
            }
            Landed::Shown { outcome } => {
                self.demo.busy = false;
                match deliver::judge(outcome)? {
                    Outcome::Gone => self.removed = true,
                    Outcome::Refused(why) => tracing::debug!("the server shows no demo: {why}"),
                    _ => {}
                }
            }
            Landed::Linked { id, url } => {
                self.demo.busy = false;
                match url {
                    Ok(url) => {
                        self.demo.urls.insert(id, url);
                    }
                    Err(error) => {
                        tracing::debug!("no link for {id}: {error:#}");
                        self.demo.under_way.remove(&id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gets a courier a new device, unless the demo was removed, and it with its couriers.
    fn new_device(&mut self, courier: usize) {
        let (api, api_key) = (self.api, self.api_key);
        let (who, shown) = (
            self.crew.fleet.couriers[courier].clone(),
            self.demo.shown.is_some(),
        );
        self.flying.push(Box::pin(async move {
            let device = async {
                if deliver::is_removed(api, api_key, shown).await? {
                    return Ok(None);
                }
                deliver::provision(api, api_key, &who).await.map(Some)
            };
            Landed::Device {
                courier,
                device: device.await,
            }
        }));
    }

    /// Books what became of an item.
    fn settle(&mut self, courier: usize, item: Item, outcome: Outcome) {
        match outcome {
            Outcome::Uploaded(uploaded) => {
                let Item::Fixes(fixes) = item else { return };
                self.totals.sent += fixes.len() as u64;
                self.totals.accepted += uploaded.accepted;
                self.totals.duplicate += uploaded.duplicate;
                self.totals.quarantined += uploaded.quarantined.len() as u64;
                let line = &mut self.crew.lines[courier];
                if line.phone.sends_again() {
                    line.outbox.push_front(Item::Fixes(fixes));
                }
            }
            Outcome::Created { id, tracking_url } => {
                self.totals.deliveries += 1;
                if let Some(url) = tracking_url {
                    self.demo.urls.insert(id, url);
                }
            }
            Outcome::Stepped(id, status) if status.is_under_way() => {
                self.demo.under_way.insert(id);
            }
            Outcome::Stepped(id, _) => {
                self.totals.completed += 1;
                self.book.open.remove(&id);
                self.demo.under_way.remove(&id);
                self.demo.urls.remove(&id);
            }
            Outcome::Refused(why) => {
                if let Item::Fixes(fixes) = &item {
                    self.totals.sent += fixes.len() as u64;
                    self.totals.refused += fixes.len() as u64;
                }
                if self.totals.first_problem.is_none() {
                    tracing::warn!("the server refused: {why}");
                    self.totals.first_problem = Some(why);
                }
                if let Item::Status(id, status) = item
                    && !status.is_open()
                {
                    self.book.open.remove(&id);
                }
            }
            Outcome::Done | Outcome::Later | Outcome::Gone | Outcome::UnknownDevice => {}
        }
    }

    /// Keeps `/demo` on a delivery that has time to go.
    fn show(&mut self, now_ms: i64) {
        if self.demo.busy {
            return;
        }
        let Some((id, to_go_ms)) = self.crew.fleet.longest_to_go(now_ms) else {
            return;
        };
        let shown = self.demo.shown.as_ref().filter(|shown| {
            let mut couriers = self.crew.fleet.couriers.iter();
            couriers.any(|c| {
                c.to_go(now_ms)
                    .is_some_and(|(id, ms)| id == *shown && ms > SHOW_MS)
            })
        });
        let id = match shown {
            Some(_) if now_ms < self.demo.told_ms + SHOW_AGAIN_MS => return,
            Some(shown) => shown.clone(),
            None if to_go_ms > SHOW_MS && self.demo.under_way.contains(id) => id.clone(),
            None => return,
        };
        let (api, api_key) = (self.api, self.api_key);
        self.demo.busy = true;
        let Some(url) = self.demo.urls.get(&id).cloned() else {
            self.flying.push(Box::pin(async move {
                let url = deliver::link(api, api_key, &id).await;
                Landed::Linked { id, url }
            }));
            return;
        };
        let shown = self.demo.shown.replace(id).is_some();
        self.demo.told_ms = now_ms;
        self.flying.push(Box::pin(async move {
            Landed::Shown {
                outcome: deliver::publish(api, api_key, &url, shown).await,
            }
        }));
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        self.totals.given_up = self
            .crew
            .lines
            .iter()
            .map(|line| line.outbox.given_up)
            .sum();
        if let Some(truth) = &mut self.truth {
            truth.flush()?;
        }
        self.book.write(&self.book_path)
    }
}
