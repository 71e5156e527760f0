//! Phones that post to whichever node answers, and keep what was not acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::now_ms;

/// Courier and fix_time of what a server has acknowledged.
pub type Acknowledged = Arc<Mutex<BTreeSet<(String, i64)>>>;

/// A phone with its queue.
pub struct Phone {
    courier: String,
    token: String,
    next: i64,
    /// Sent without an acknowledgement: sent again first, as phones do.
    unanswered: Option<Vec<i64>>,
    node: usize,
}

impl Phone {
    pub fn new(courier: String, token: String, n: u64) -> Self {
        Self {
            courier,
            token,
            next: now_ms() - 60_000,
            unanswered: None,
            node: usize::try_from(n).expect("small"),
        }
    }

    /// Sends one upload, or tries to; answers whether it was acknowledged.
    async fn post(
        &mut self,
        http: &reqwest::Client,
        nodes: &[String],
        done: &Acknowledged,
    ) -> bool {
        let times = self.unanswered.take().unwrap_or_else(|| {
            let from = self.next;
            self.next += 20;
            (from..self.next).collect()
        });
        let fix = |at: &i64| {
            let north = (*at % 1_000_000) as f64 * 1e-7;
            json!({"fix_time": at, "lat": 35.9 + north, "lon": 14.5})
        };
        let fixes: Vec<Value> = times.iter().map(fix).collect();
        let url = &nodes[self.node % nodes.len()];
        let request = http
            .post(format!("{url}/v1/positions"))
            .bearer_auth(&self.token);
        match request.json(&fixes).send().await {
            Ok(answer) if answer.status().is_success() => {
                let mut done = done.lock().expect("no panic");
                done.extend(times.into_iter().map(|at| (self.courier.clone(), at)));
                true
            }
            // 503 while the log cannot be reached: it is kept and sent again, maybe elsewhere.
            Ok(answer) if answer.status() == 503 => {
                self.unanswered = Some(times);
                self.node += 1;
                false
            }
            Ok(answer) => panic!("{}: {}", self.courier, answer.status()),
            Err(_) => {
                self.unanswered = Some(times);
                self.node += 1;
                false
            }
        }
    }
}

/// Phones that post until they are told to stop.
pub struct Fleet {
    stop: Arc<AtomicBool>,
    posting: Vec<JoinHandle<Phone>>,
    pub done: Acknowledged,
}

impl Fleet {
    /// Each posts an upload, waits a moment, and goes on.
    pub fn start(phones: Vec<Phone>, nodes: &[String], done: Acknowledged) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::new();
        let posting = phones.into_iter().map(|mut phone| {
            let (nodes, stop) = (nodes.to_vec(), stop.clone());
            let (http, done) = (http.clone(), done.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let pause = if phone.post(&http, &nodes, &done).await {
                        40
                    } else {
                        200
                    };
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                phone
            })
        });
        Self {
            posting: posting.collect(),
            stop,
            done,
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.done.lock().expect("no panic").len()
    }

    /// Waits until so many more fixes were acknowledged.
    pub async fn more(&self, count: usize) {
        let enough = self.acknowledged() + count;
        crate::support::eventually("more acknowledged fixes", || async {
            (self.acknowledged() >= enough).then_some(())
        })
        .await;
    }

    /// Ends posting. What is not acknowledged stays with the phones.
    pub async fn stop(self) -> Vec<Phone> {
        self.stop.store(true, Ordering::Relaxed);
        let mut phones = Vec::new();
        for phone in self.posting {
            phones.push(phone.await.expect("a phone does not give up"));
        }
        phones
    }
}

/// Sends what phones still have until it is acknowledged.
pub async fn empty_queues(phones: &mut [Phone], nodes: &[String], done: &Acknowledged) {
    let http = reqwest::Client::new();
    for phone in phones {
        while phone.unanswered.is_some() {
            if !phone.post(&http, nodes, done).await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
