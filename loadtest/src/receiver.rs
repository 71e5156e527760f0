//! A receiver of webhooks that answers 200 at once and hands on what it got: cheap, so that it
//! measures the sender and not itself.

use std::time::Instant;

use anyhow::Context;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const READ_BYTES: usize = 4096;
/// Calls that may wait to be looked at.
const WAITING: usize = 65_536;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Listens on a free port of loopback.
pub struct Receiver {
    /// Where it is called.
    pub url: String,
    calls: mpsc::Receiver<(Instant, Bytes)>,
}

impl Receiver {
    /// Listens until it is dropped.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let (send, calls) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let send = send.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, send).await {
                        eprintln!("the receiver: {error:#}");
                    }
                });
            }
        });
        Ok(Self { url, calls })
    }

    /// The next call: when it had arrived in full, and its body.
    pub async fn next(&mut self) -> Option<(Instant, Bytes)> {
        self.calls.recv().await
    }
}

async fn serve(mut stream: TcpStream, calls: mpsc::Sender<(Instant, Bytes)>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = BytesMut::with_capacity(READ_BYTES);
    loop {
        let Some((head, body)) = split_head(&unread)? else {
            if stream.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
            continue;
        };
        while unread.len() < head + body {
            if stream.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
        }
        let arrived = Instant::now();
        unread.advance(head);
        let body = unread.split_to(body).freeze();
        stream.write_all(ANSWER).await?;
        if calls.send((arrived, body)).await.is_err() {
            return Ok(());
        }
    }
}

/// Bytes of the head and of the body; `None` while the head is not complete.
fn split_head(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|w| w == END) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).context("a request's head is not text")?;
    let length = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Ok(Some((
        end + END.len(),
        length.context("a call without Content-Length")?,
    )))
}
