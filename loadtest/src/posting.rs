//! Phones that post fixes at their times, over a bounded number of connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::api::Api;
use crate::client::Connection;
use crate::clock;
use crate::provision::Phone;

/// An upload that is due.
#[derive(Clone, Copy)]
pub struct Due {
    /// Which phone posts it.
    pub phone: usize,
    /// When it is due.
    pub at: Instant,
    /// The same as Unix milliseconds.
    pub at_ms: u64,
}

/// Phones, each with an upload every so often, evenly spread over that time.
pub struct Posting {
    pub api: Api,
    pub phones: Arc<[Phone]>,
    /// Connections that they share.
    pub connections: usize,
    /// Time from one upload of a phone to its next.
    pub every: Duration,
}

impl Posting {
    /// Posts for `span`. `body` makes an upload and notes it where it must be known. A connection
    /// that is behind does not wait, and the time of what is due stays what it was. Answers how many
    /// uploads were sent.
    pub async fn run(
        &self,
        span: Duration,
        body: impl Fn(Due, &mut String) + Clone + Send + 'static,
    ) -> anyhow::Result<u64> {
        let connections = self.connections.clamp(1, self.phones.len());
        let steps = (span.as_secs_f64() / self.every.as_secs_f64()).round() as u64;
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            opened.push(Connection::open(self.api.address).await?);
        }
        let (began, began_ms) = (Instant::now(), clock::now_ms());
        let mut tasks = Vec::with_capacity(connections);
        for (first, mut connection) in opened.into_iter().enumerate() {
            let (phones, every, body) = (self.phones.clone(), self.every, body.clone());
            let host = self.api.host.clone();
            tasks.push(tokio::spawn(async move {
                let (mut text, mut request, mut sent) = (String::new(), Vec::new(), 0);
                for step in 0..steps {
                    for phone in (first..phones.len()).step_by(connections) {
                        let share = phone as f64 / phones.len() as f64;
                        let after = every.mul_f64(step as f64 + share);
                        let due = Due {
                            phone,
                            at: began + after,
                            at_ms: began_ms + after.as_millis() as u64,
                        };
                        tokio::time::sleep_until(due.at.into()).await;
                        text.clear();
                        body(due, &mut text);
                        write_request(&mut request, &host, &phones[phone].token, &text);
                        connection.send(&request).await?;
                        let answer = connection.answer().await?;
                        if answer.status != 200 {
                            let why = String::from_utf8_lossy(&answer.body);
                            bail!("an upload was answered {}: {why}", answer.status);
                        }
                        sent += 1;
                    }
                }
                Ok(sent)
            }));
        }
        let mut sent = 0;
        for task in tasks {
            sent += task.await??;
        }
        Ok(sent)
    }
}

fn write_request(request: &mut Vec<u8>, host: &str, token: &str, body: &str) {
    use std::io::Write;
    request.clear();
    let head = write!(
        request,
        "POST /v1/positions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Writing to memory does not fail.
    debug_assert!(head.is_ok());
}
