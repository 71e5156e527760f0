//! The listener: takes connections, bounds them, and lets them finish when the server stops.
//!
//! Bounds: connections at once, the time a request's head may take to arrive (which also ends idle
//! connections), what may wait unsent in the kernel for a slow reader, and for how long a reader may
//! take nothing of it. A connection keeps its place until its socket is closed, also after it has
//! become a WebSocket.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::ClientAddr;
use super::Tls;
use super::forwarded::client_of;
use crate::config::HttpConfig;

/// Unsent bytes that the kernel keeps for a slow reader: more would be stale when it arrives.
const NOT_SENT_LOW_WATER: u32 = 16 * 1024;
/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// After an accept that failed for want of files or memory, the listener rests.
const REST: Duration = Duration::from_millis(50);
/// What a connection is told that finds all places taken.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
                      Content-Length: 0\r\n\r\n";

/// How connections are served.
#[derive(Clone)]
pub struct Listen {
    places: Arc<Semaphore>,
    head_timeout: Duration,
    trusted_proxies: Arc<[IpNet]>,
    tls: Option<Tls>,
}

impl Listen {
    /// As the settings say. Several listeners that share one `Listen` share its places.
    #[must_use]
    pub fn of(config: &HttpConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.max_connections)),
            head_timeout: Duration::from_secs(config.request_timeout_s),
            trusted_proxies: config.trusted_proxies.clone().into(),
            tls: None,
        }
    }

    /// The same with https, where there is a certificate.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Serves until `stop`; then takes no more connections and returns when those that are open have
    /// answered what they were asked.
    ///
    /// # Errors
    /// None: a listener that cannot accept tries again.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &router, &stop, &connections),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
        Ok(())
    }

    fn take(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        stop: &CancellationToken,
        connections: &TaskTracker,
    ) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            connections.spawn(refuse(stream));
            return;
        };
        let socket = socket2::SockRef::from(&stream);
        if let Err(error) = socket
            .set_tcp_nodelay(true)
            .and(socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER))
            .and(socket.set_tcp_user_timeout(Some(self.head_timeout)))
        {
            tracing::debug!(%error, "cannot set the options of a socket");
        }
        let stream = Placed {
            stream,
            _place: place,
        };
        let (listen, router, stop) = (self.clone(), router.clone(), stop.clone());
        match &self.tls {
            None => connections.spawn(listen.connection(stream, peer.ip(), router, stop)),
            Some(tls) => {
                let shaken = tls.acceptor().accept(stream);
                connections.spawn(async move {
                    match tokio::time::timeout(listen.head_timeout, shaken).await {
                        Ok(Ok(stream)) => {
                            listen.connection(stream, peer.ip(), router, stop).await;
                        }
                        Ok(Err(error)) => tracing::trace!(%error, "no TLS handshake"),
                        Err(_) => tracing::trace!("a TLS handshake took too long"),
                    }
                })
            }
        };
    }

    async fn connection<S>(self, stream: S, peer: IpAddr, router: Router, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let proxies = self.trusted_proxies;
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = client_of(peer, &proxies, request.headers());
            request.extensions_mut().insert(ClientAddr(client));
            router.clone().call(request)
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(self.head_timeout);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            // Phones go away in the middle of things all the time.
            tracing::trace!(%error, "a connection ended early");
        }
    }
}

async fn refuse(mut stream: TcpStream) {
    let said = tokio::time::timeout(Duration::from_secs(1), stream.write_all(FULL)).await;
    if !matches!(said, Ok(Ok(()))) {
        tracing::trace!("a refused connection did not listen");
    }
}

/// A stream that keeps its place among the connections until it is closed.
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures_util::stream;
    use tokio::net::TcpSocket;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::Config;

    /// Has no end; whoever holds the other end of `open` learns when it is dropped.
    fn endless(open: mpsc::Sender<()>) -> Body {
        let chunk = Ok::<_, Infallible>(Bytes::from_static(&[0; 16 * 1024]));
        let chunks = stream::unfold((chunk, open), |(chunk, open)| async {
            Some((chunk.clone(), (chunk, open)))
        });
        Body::from_stream(chunks)
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_of_an_answer_without_end_is_cut() {
        let mut config = Config::defaults().expect("defaults").http;
        config.request_timeout_s = 1;
        let (open, mut closed) = mpsc::channel(1);
        let router = Router::new().route("/", get(|| async { endless(open) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let listen = Listen::of(&config);
        let serving = tokio::spawn(listen.serve(listener, router, stop.clone()));

        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut client = socket.connect(address).await.expect("connects");
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(request).await.expect("written");
        // The router that holds a sender is gone only with the listener.
        stop.cancel();
        serving.await.expect("no panic").expect("stops well");
        assert!(closed.recv().await.is_none());
        drop(client);
    }
}
