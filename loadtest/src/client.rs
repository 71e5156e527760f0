//! One keep-alive HTTP/1.1 connection, as cheap as it can be: requests are bytes that were made
//! before, answers are split by their Content-Length and not looked into any further.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for an answer's head.
const READ_BYTES: usize = 4096;

/// A connection.
pub struct Connection {
    stream: TcpStream,
    unread: BytesMut,
}

/// An answer.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: BytesMut,
}

impl Connection {
    /// Connects, without Nagle's delay.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}; is the server running?"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: BytesMut::with_capacity(READ_BYTES),
        })
    }

    /// Writes whole requests.
    pub async fn send(&mut self, requests: &[u8]) -> anyhow::Result<()> {
        self.stream
            .write_all(requests)
            .await
            .context("writing a request")
    }

    /// Reads the next answer.
    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            if let Some((status, head, body)) = split_head(&self.unread)? {
                while self.unread.len() < head + body {
                    self.fill().await?;
                }
                self.unread.advance(head);
                return Ok(Answer {
                    status,
                    body: self.unread.split_to(body),
                });
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.unread.reserve(READ_BYTES);
        let read = self
            .stream
            .read_buf(&mut self.unread)
            .await
            .context("reading an answer")?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

/// Status, bytes of the head, bytes of the body; `None` while the head is not complete.
fn split_head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = memmem::find(bytes, END) else {
        return Ok(None);
    };
    // HTTP/1.1 200 OK
    let status = bytes.get(9..12).and_then(number);
    let status = status.context("an answer without a status")? as u16;
    let head = &bytes[..end];
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &head[from..]) {
        from += at + 1;
        let line = &head[from..];
        const NAME: &[u8] = b"content-length:";
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = line[NAME.len()..].split(|b| *b == b'\r').next();
            let length = value.and_then(|value| number(value.trim_ascii()));
            let length = length.context("Content-Length")?;
            return Ok(Some((status, end + END.len(), length)));
        }
    }
    if status == 204 {
        return Ok(Some((status, end + END.len(), 0)));
    }
    bail!("an answer without Content-Length (status {status})")
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_by_their_length() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP";
        let (status, head, body) = split_head(bytes).expect("reads").expect("complete");
        assert_eq!((status, &bytes[head..head + body]), (200, &b"abc"[..]));
        assert!(
            split_head(b"HTTP/1.1 200 OK\r\nConte")
                .expect("reads")
                .is_none()
        );
        assert!(split_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
