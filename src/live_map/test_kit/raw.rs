//! A client that does what no library would: it reads nothing, answers no ping, sends any bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{PATIENCE, Rig};

/// What the kernel keeps for it: little, so that a server soon notices that it does not read.
const RECEIVE_BYTES: u32 = 4096;

pub(crate) struct RawClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawClient {
    pub(crate) async fn open(rig: &Rig, path: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_recv_buffer_size(RECEIVE_BYTES)
            .expect("a small buffer");
        let mut stream = socket.connect(rig.address()).await.expect("connects");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: d2F5bG9nLWxvYWQtdGVzdA==\r\n\r\n",
            rig.address()
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends a whole text message.
    pub(crate) async fn say(&mut self, text: &str) {
        self.send(&frame(0x81, text.as_bytes())).await;
    }

    /// Sends any bytes; a connection that is closed meanwhile is no error here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Reads, answering nothing, until it is closed. Answers the close code.
    pub(crate) async fn close_code(mut self) -> u16 {
        let closed = async {
            loop {
                while let Some((kind, payload)) = self.next_frame() {
                    if kind == 8 {
                        return u16::from_be_bytes([payload[0], payload[1]]);
                    }
                }
                let mut part = [0; 4096];
                let read = self.stream.read(&mut part).await.expect("a close frame");
                assert!(read > 0, "closed without a close frame");
                self.unread.extend_from_slice(&part[..read]);
            }
        };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .expect("it is closed")
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (head, length) = match *self.unread.get(1)? {
            126 => {
                let bytes = [*self.unread.get(2)?, *self.unread.get(3)?];
                (4, usize::from(u16::from_be_bytes(bytes)))
            }
            127 => panic!("a message of more than 64 KiB"),
            short => (2, usize::from(short)),
        };
        let payload = self.unread.get(head..head + length)?.to_vec();
        let kind = self.unread[0] & 0x0f;
        self.unread.drain(..head + length);
        Some((kind, payload))
    }
}

/// A client's frame; `first` is its first byte: what it is, and whether it is the last of a message.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    // A mask of zeros changes nothing.
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Longer than anything takes that is to happen soon, shorter than a test may take.
pub(crate) const SOON: Duration = Duration::from_millis(200);
