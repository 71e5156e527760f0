//! Customers who watch through a socket, and go to another node when theirs is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Customers, each with a socket.
pub struct Watchers {
    /// Snapshots that came from each node, by its place in the list.
    snapshots: Arc<Vec<AtomicU64>>,
    /// Messages of any kind.
    messages: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Watchers {
    /// `count` customers share the links; all begin at the first node.
    pub fn start(links: &[String], count: usize, nodes: &[String]) -> Self {
        let snapshots: Arc<Vec<AtomicU64>> =
            Arc::new(nodes.iter().map(|_| AtomicU64::new(0)).collect());
        let messages = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..count {
            let (link, nodes) = (links[n % links.len()].clone(), nodes.to_vec());
            let (snapshots, messages) = (snapshots.clone(), messages.clone());
            tasks.spawn(async move {
                let mut node = 0;
                loop {
                    watch(&link, &nodes[node], &snapshots[node], &messages).await;
                    node = (node + 1) % nodes.len();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        Self {
            snapshots,
            messages,
            _tasks: tasks,
        }
    }

    /// Snapshots that came from a node so far.
    pub fn snapshots(&self, node: usize) -> u64 {
        self.snapshots[node].load(Ordering::Relaxed)
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

/// One socket until it ends.
async fn watch(link: &str, node: &str, snapshots: &AtomicU64, messages: &AtomicU64) {
    let url = node.replace("http://", "ws://") + "/ws/track";
    let Ok((mut socket, _)) = tokio_tungstenite::connect_async(url).await else {
        return;
    };
    let hello = json!({"type": "hello", "token": link}).to_string();
    if socket.send(Message::text(hello)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.into_text() else {
            continue;
        };
        messages.fetch_add(1, Ordering::Relaxed);
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if value["type"] == "snapshot" {
            snapshots.fetch_add(1, Ordering::Relaxed);
        }
    }
}
