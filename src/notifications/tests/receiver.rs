//! A receiver of webhooks over plain TCP, which behaves as it is told, badly too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a receiver does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status to every event of this type, and 200 to the others.
    StatusFor(&'static str, u16),
    /// Reads and never answers.
    Hang,
    /// Closes the connection by a reset.
    Reset,
    /// Answers 200 and goes on sending without end.
    Endless,
    /// Answers 200 and sends 100 MB.
    Huge,
    /// Answers 200, promises more, and never sends it.
    Unfinished,
    /// Answers with something that is not HTTP.
    Garbage,
}

/// A call as it came.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether it was answered with 200, whatever came after.
    pub(super) accepted: bool,
}

impl Call {
    pub(super) fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().expect("text")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Listens on a free port of loopback.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    calls: Arc<Mutex<Vec<Call>>>,
    sent: Arc<AtomicU64>,
}

impl Receiver {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            behaviour: Arc::new(Mutex::new(behaviour)),
            calls: Arc::default(),
            sent: Arc::default(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = serving.clone();
                tokio::spawn(async move { receiver.serve(stream).await });
            }
        });
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    pub(super) fn accepted(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|c| c.accepted).collect()
    }

    /// Bytes of bodies that the other side has let through.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut unread = Vec::new();
        loop {
            let (headers, body) = read_request(&mut stream, &mut unread).await?;
            let mut call = Call {
                headers,
                body,
                accepted: false,
            };
            let mut behaviour = *self.behaviour.lock();
            if let Behaviour::StatusFor(kind, status) = behaviour {
                let matches = call.json()["type"] == kind;
                behaviour = Behaviour::Status(if matches { status } else { 200 });
            }
            call.accepted = matches!(
                behaviour,
                Behaviour::Status(200)
                    | Behaviour::Endless
                    | Behaviour::Huge
                    | Behaviour::Unfinished
            );
            self.calls.lock().push(call);
            match behaviour {
                Behaviour::Status(status) => {
                    let location = "location: http://127.0.0.1:1/elsewhere\r\n";
                    let answer =
                        format!("HTTP/1.1 {status} Status\r\n{location}content-length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.ok()?;
                }
                Behaviour::Hang => tokio::time::sleep(Duration::from_secs(3600)).await,
                Behaviour::Reset => {
                    socket2::SockRef::from(&stream)
                        .set_linger(Some(Duration::ZERO))
                        .ok()?;
                    return None;
                }
                Behaviour::Endless => {
                    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                    stream.write_all(head.as_bytes()).await.ok()?;
                    loop {
                        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                        stream.write_all(chunk.as_bytes()).await.ok()?;
                        self.sent.fetch_add(0x1000, Ordering::SeqCst);
                    }
                }
                Behaviour::Huge => {
                    const LENGTH: usize = 100 << 20;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.ok()?;
                    for _ in 0..LENGTH / 0x1000 {
                        stream.write_all(&[b'x'; 0x1000]).await.ok()?;
                        self.sent.fetch_add(0x1000, Ordering::SeqCst);
                    }
                }
                Behaviour::Unfinished => {
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsoon";
                    stream.write_all(head.as_bytes()).await.ok()?;
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                Behaviour::Garbage => stream.write_all(b"SSH-2.0-what\r\n\r\n").await.ok()?,
                Behaviour::StatusFor(..) => {}
            }
        }
    }
}

/// Reads one request with a content-length; `None` at the end of the connection.
async fn read_request(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
) -> Option<(HeaderMap, Vec<u8>)> {
    let head_len = loop {
        if let Some(at) = unread.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(unread[..head_len].to_vec()).expect("a head in ASCII");
    let fields = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let headers: HeaderMap = fields
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header");
            (name, HeaderValue::from_str(value).expect("a value"))
        })
        .collect();
    let length: usize = headers["content-length"].to_str().ok()?.parse().ok()?;
    while unread.len() < head_len + length {
        if stream.read_buf(unread).await.ok()? == 0 {
            return None;
        }
    }
    let body = unread[head_len..head_len + length].to_vec();
    unread.drain(..head_len + length);
    Some((headers, body))
}

/// A port that speaks TLS with a certificate of its own making.
pub(super) async fn tls_port() -> u16 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a server");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The other side hangs up.
            drop(acceptor.accept(stream).await);
        }
    });
    port
}
