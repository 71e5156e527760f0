//! What really arrives: the same histories over the real port, looked through at the customer's end
//! of WebSockets, of streams of server-sent events, and of polling.
//!
//! After each event every customer polls; the answer's number says how far sockets and streams must
//! come until everything that was told of the event has arrived.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::history::History;
use super::{DELIVERIES, Event, event, in_sight, on_board, roads, settings};
use crate::config::Config;
use crate::live_map::socket::Manners;
use crate::live_map::test_kit::{Client, Heard, Rig};

/// A customer of one delivery, with the page open three times.
struct Customer {
    token: String,
    /// None when it was closed.
    socket: Option<(Client, Progress)>,
    events: Option<(BoxStream<'static, Value>, Progress)>,
}

/// How far a channel has come: epoch and number of its last message.
type Progress = (Value, u64);

struct Stage {
    rig: Rig,
    history: History,
    customers: Vec<Customer>,
    /// What each channel has shown: sockets, streams, polling.
    shown: [usize; 3],
}

impl Stage {
    async fn new(coarse: bool) -> Self {
        let mut config = Config::defaults().expect("defaults");
        config.live_map = settings(coarse);
        let mut rig = Rig::start_over(Manners::default(), roads(), config).await;
        let history = History::begin(coarse, &rig.directory);
        let tokens: Vec<String> = (0..DELIVERIES)
            .map(|n| rig.put_link(&format!("d-{n}")).1)
            .collect();
        let mut stage = Self {
            rig,
            history,
            customers: Vec::new(),
            shown: [0; 3],
        };
        for token in tokens {
            let customer = stage.open(token).await;
            stage.customers.push(customer);
        }
        stage
    }

    async fn open(&self, token: String) -> Customer {
        let mut socket = self.rig.socket("/ws/track").await;
        socket.say(&json!({"type": "hello", "token": token})).await;
        let events = self.rig.events("/v1/track/events", &token).await;
        Customer {
            token,
            socket: Some((socket, (Value::Null, 0))),
            events: events.map(|events| (events, (Value::Null, 0))),
        }
    }

    /// Customers leave first: a server that stops sends them away one after the other.
    async fn close(self) {
        drop(self.customers);
        self.rig.stopped().await;
    }

    async fn happen(&mut self, event: &Event) {
        let state = self.rig.live.state();
        self.history.happen(event, &self.rig.directory, state);
        self.rig.clock.set(self.history.now.0);
        if let Event::Reload { delivery: n } = *event {
            let token = self.customers[n].token.clone();
            self.customers[n] = self.open(token).await;
        }
        self.rig.live.tracks().wake_all();
    }

    /// Looks through everything that has arrived because of the last event.
    async fn look(&mut self) -> Result<(), TestCaseError> {
        for n in 0..DELIVERIES {
            let gone = self.history.is_gone(n);
            let token = self.customers[n].token.clone();
            let (status, polled) = self.rig.http_get("/v1/track", &token).await;
            prop_assert_eq!(status, if gone { 410 } else { 200 }, "{}", polled);
            let reached = (!gone).then(|| progress(&polled));
            if !gone {
                self.check(n, 2, &polled)?;
            }
            while let Some(heard) = self.hear_socket(n, reached.as_ref()).await {
                match heard {
                    Heard::Json(message) => self.check(n, 0, &message)?,
                    Heard::Closed(code) => prop_assert_eq!((code, gone), (4010, true)),
                    Heard::Binary(_) => prop_assert!(false, "bytes on a customer's socket"),
                }
            }
            while let Some(message) = self.hear_events(n, reached.as_ref()).await {
                self.check(n, 1, &message)?;
            }
        }
        Ok(())
    }

    fn check(&mut self, n: usize, channel: usize, message: &Value) -> Result<(), TestCaseError> {
        let found = self.history.check(n, &message.to_string())?;
        self.shown[channel] += usize::from(found.position);
        Ok(())
    }

    /// The next message of a socket that has not come as far as `reached`; where that is nothing, up
    /// to its close.
    async fn hear_socket(&mut self, n: usize, reached: Option<&Progress>) -> Option<Heard> {
        let (socket, at) = self.customers[n].socket.as_mut()?;
        if reached == Some(at) {
            return None;
        }
        let heard = socket.hear().await;
        match &heard {
            Heard::Json(message) => advance(at, message),
            _ => self.customers[n].socket = None,
        }
        Some(heard)
    }

    async fn hear_events(&mut self, n: usize, reached: Option<&Progress>) -> Option<Value> {
        let (events, at) = self.customers[n].events.as_mut()?;
        if reached == Some(at) {
            return None;
        }
        let message = events.next().await;
        match &message {
            Some(message) => advance(at, message),
            None => self.customers[n].events = None,
        }
        message
    }
}

fn progress(message: &Value) -> Progress {
    let seq = message["seq"].as_u64().expect("a number");
    (message["epoch"].clone(), seq)
}

fn advance(at: &mut Progress, message: &Value) {
    if message["epoch"].is_u64() {
        at.0 = message["epoch"].clone();
    }
    if let Some(seq) = message["seq"].as_u64() {
        at.1 = seq;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().expect("a runtime")
}

#[test]
fn no_customer_receives_a_position_outside_the_rules_on_any_channel() {
    let config = ProptestConfig {
        cases: 24,
        ..ProptestConfig::default()
    };
    let history = (
        prop::bool::weighted(0.3),
        prop::collection::vec(event(), 1..40),
    );
    let ran = TestRunner::new(config).run(&history, |(coarse, events)| {
        runtime().block_on(async {
            let mut stage = Stage::new(coarse).await;
            for event in on_board() {
                stage.happen(&event).await;
            }
            stage.look().await?;
            for event in &events {
                stage.happen(event).await;
                stage.look().await?;
            }
            stage.close().await;
            Ok(())
        })
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

/// The property would hold for channels that show nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_allow_arrives_on_every_channel() {
    for coarse in [false, true] {
        let mut stage = Stage::new(coarse).await;
        for event in on_board().chain(in_sight()) {
            stage.happen(&event).await;
            stage.look().await.expect("all within the rules");
        }
        let shown = stage.shown;
        assert!(shown.iter().all(|count| *count > 0), "{shown:?}");
        stage.close().await;
    }
}
