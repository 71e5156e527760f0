//! Bodies, read within bounds: of size, of time, and of memory over all connections.
//!
//! A body that arrives in one piece is passed on as it is; one that arrives in pieces is put
//! together on the account of a budget. What is compressed is bounded again while it is taken out.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Memory for taking a zstd body out: 2^23 bytes, what RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG: u32 = 23;
/// What is read and thrown away of a body that is too large: a client that is still writing when the
/// connection closes may never see the answer.
const DRAIN_BYTES: usize = 16 << 20;
/// Piece size for brotli.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Over the limit, before or after decompression.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What was read until then, at most `limit` bytes.
        beginning: Bytes,
    },
    /// Not there in time.
    #[error("the body did not arrive within {0} seconds")]
    Slow(u64),
    /// The connection broke.
    #[error("the body ended before its end")]
    Broken,
    /// The budget for bodies is used up.
    #[error("too many bodies are arriving at once; try again")]
    Busy,
    /// A Content-Encoding that is not known.
    #[error("Content-Encoding must be gzip, br, zstd or identity")]
    UnknownEncoding,
    /// Not what its Content-Encoding says.
    #[error("the body cannot be decompressed")]
    Undecodable {
        /// As it was sent.
        sent: Bytes,
    },
}

/// Reads bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bodies {
    limit: usize,
    timeout: Duration,
    budget: Budget,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Brotli,
    Zstd,
}

impl Bodies {
    /// Bodies of at most `limit` bytes that arrive within `timeout`; those in pieces take at most
    /// `budget` bytes in all.
    #[must_use]
    pub fn new(limit: usize, timeout: Duration, budget: usize) -> Self {
        Self {
            limit,
            timeout,
            budget: Budget(Arc::new(AtomicUsize::new(budget))),
        }
    }

    /// Reads a body to its end and takes it out of its compression.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
        let encoding = encoding(headers)?;
        if headers.contains_key(EXPECT) && announced(headers) > self.limit as u64 {
            // The client waits for leave to send; it gets its refusal instead.
            return Err(self.too_large(Bytes::new()));
        }
        let arrived = tokio::time::timeout(self.timeout, self.collect(body))
            .await
            .map_err(|_| BodyError::Slow(self.timeout.as_secs()))??;
        match encoding {
            Encoding::Identity => Ok(arrived),
            Encoding::Gzip => {
                self.take_out(flate2::read::MultiGzDecoder::new(&arrived[..]), &arrived)
            }
            Encoding::Brotli => self.take_out(
                brotli_decompressor::Decompressor::new(&arrived[..], BROTLI_BUFFER_BYTES),
                &arrived,
            ),
            Encoding::Zstd => {
                let undecodable = |_| BodyError::Undecodable {
                    sent: arrived.clone(),
                };
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&arrived[..]).map_err(undecodable)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG)
                    .map_err(undecodable)?;
                self.take_out(decoder, &arrived)
            }
        }
    }

    async fn collect(&self, mut body: Body) -> Result<Bytes, BodyError> {
        let first = next_piece(&mut body).await?.unwrap_or_default();
        if first.len() > self.limit {
            drain(&mut body).await?;
            return Err(self.too_large(first));
        }
        let Some(mut piece) = next_piece(&mut body).await? else {
            return Ok(first);
        };
        let mut held = Held::of(&self.budget);
        let mut whole = BytesMut::new();
        held.grow(first.len())?;
        whole.extend_from_slice(&first);
        loop {
            let room = self.limit - whole.len();
            held.grow(piece.len().min(room))?;
            whole.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                drain(&mut body).await?;
                return Err(self.too_large(whole.freeze()));
            }
            match next_piece(&mut body).await? {
                Some(next) => piece = next,
                None => return Ok(whole.freeze()),
            }
        }
    }

    fn take_out(&self, decoder: impl Read, sent: &Bytes) -> Result<Bytes, BodyError> {
        let mut out = Vec::with_capacity((sent.len() * 4).min(self.limit));
        let read = decoder.take(self.limit as u64 + 1).read_to_end(&mut out);
        if out.len() > self.limit {
            return Err(self.too_large(out.into()));
        }
        match read {
            Ok(_) => Ok(out.into()),
            Err(_) => Err(BodyError::Undecodable { sent: sent.clone() }),
        }
    }

    fn too_large(&self, mut beginning: Bytes) -> BodyError {
        beginning.truncate(self.limit);
        BodyError::TooLarge {
            limit: self.limit,
            beginning,
        }
    }
}

/// The next piece of data that is not empty.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| BodyError::Broken)?.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            // Trailers mean nothing here.
            _ => {}
        }
    }
    Ok(None)
}

/// Reads the rest, or [`DRAIN_BYTES`] of it, and throws it away.
async fn drain(body: &mut Body) -> Result<(), BodyError> {
    let mut drained = 0;
    while drained < DRAIN_BYTES {
        match next_piece(body).await? {
            Some(piece) => drained += piece.len(),
            None => break,
        }
    }
    Ok(())
}

fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    length.and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else {
        return Ok(Encoding::Identity);
    };
    let name = value.to_str().unwrap_or_default().trim();
    [
        ("identity", Encoding::Identity),
        ("gzip", Encoding::Gzip),
        ("x-gzip", Encoding::Gzip),
        ("br", Encoding::Brotli),
        ("zstd", Encoding::Zstd),
    ]
    .into_iter()
    .find(|(known, _)| name.eq_ignore_ascii_case(known))
    .map(|(_, encoding)| encoding)
    .ok_or(BodyError::UnknownEncoding)
}

/// Bytes that bodies in pieces may still take.
#[derive(Debug, Clone)]
struct Budget(Arc<AtomicUsize>);

/// What one body has taken of the budget; given back when dropped.
struct Held<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl<'a> Held<'a> {
    fn of(budget: &'a Budget) -> Self {
        Self { budget, bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.budget
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(bytes)
            })
            .map_err(|_| BodyError::Busy)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use futures_util::{StreamExt, stream};

    use super::*;

    const LIMIT: usize = 1000;

    fn bodies() -> Bodies {
        Bodies::new(LIMIT, Duration::from_secs(60), 3 * LIMIT)
    }

    fn encoded(name: &str) -> HeaderMap {
        let value = HeaderValue::from_str(name).expect("a value");
        HeaderMap::from_iter([(CONTENT_ENCODING, value)])
    }

    fn in_pieces(pieces: Vec<Vec<u8>>) -> Body {
        let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
        Body::from_stream(stream::iter(pieces))
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        out.write_all(data).expect("written");
        out.finish().expect("finished")
    }

    #[tokio::test]
    async fn puts_pieces_together_and_gives_the_budget_back() {
        let bodies = bodies();
        for _ in 0..10 {
            let pieces = vec![vec![1; 400], vec![], vec![2; 600]];
            let read = bodies.read(&HeaderMap::new(), in_pieces(pieces)).await;
            assert_eq!(read.expect("read").len(), LIMIT);
        }
    }

    #[tokio::test]
    async fn stops_at_the_limit_with_the_beginning() {
        let pieces = vec![vec![1; 400], vec![2; 601], vec![3; 9999]];
        for body in [in_pieces(pieces), Body::from(vec![1; 1001])] {
            match bodies().read(&HeaderMap::new(), body).await {
                Err(BodyError::TooLarge { beginning, .. }) => assert_eq!(beginning.len(), LIMIT),
                other => panic!("{other:?}"),
            }
        }
        let waiting = HeaderMap::from_iter([
            (CONTENT_LENGTH, HeaderValue::from_static("1001")),
            (EXPECT, HeaderValue::from_static("100-continue")),
        ]);
        let never_sent = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let read = bodies().read(&waiting, never_sent).await;
        assert!(matches!(read, Err(BodyError::TooLarge { .. })), "{read:?}");
    }

    #[tokio::test]
    async fn takes_out_all_three_compressions_and_stops_bombs() {
        let zeros = vec![b'0'; 100 << 20];
        let zstd = |data: &[u8]| zstd::stream::encode_all(data, 1).expect("compressed");
        for (name, small, bomb) in [
            ("gzip", gzip(&zeros[..LIMIT]), gzip(&zeros)),
            ("zstd", zstd(&zeros[..LIMIT]), zstd(&zeros)),
        ] {
            let read = bodies().read(&encoded(name), Body::from(small)).await;
            assert_eq!(read.expect("read"), zeros[..LIMIT]);
            // The bomb itself may be over the limit; what matters is what comes out of it.
            let wide = Bodies::new(1 << 20, Duration::from_secs(60), 1 << 20);
            match wide.read(&encoded(name), Body::from(bomb)).await {
                Err(BodyError::TooLarge { beginning, .. }) => assert_eq!(beginning.len(), 1 << 20),
                other => panic!("{name}: {:?}", other.map(|b| b.len())),
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_what_it_says_is_undecodable() {
        for name in ["gzip", "br", "zstd"] {
            let read = bodies()
                .read(&encoded(name), Body::from("not compressed at all"))
                .await;
            assert!(
                matches!(read, Err(BodyError::Undecodable { .. })),
                "{name}: {read:?}"
            );
            let mut cut = gzip(b"hello hello hello hello");
            cut.truncate(cut.len() - 9);
            let read = bodies().read(&encoded(name), Body::from(cut)).await;
            assert!(
                matches!(read, Err(BodyError::Undecodable { .. })),
                "{name}: {read:?}"
            );
        }
        let read = bodies().read(&encoded("compress"), Body::from("x")).await;
        assert!(matches!(read, Err(BodyError::UnknownEncoding)));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let bodies = Bodies::new(LIMIT, Duration::from_millis(50), 3 * LIMIT);
        let begun = stream::iter([Ok::<_, std::io::Error>(vec![b'x'])]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        let read = bodies.read(&HeaderMap::new(), body).await;
        assert!(matches!(read, Err(BodyError::Slow(_))), "{read:?}");
    }

    #[tokio::test]
    async fn pieces_over_the_budget_are_refused_until_there_is_room() {
        let bodies = Bodies::new(LIMIT, Duration::from_secs(60), LIMIT);
        let (sender, waiting) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
        let pieces = stream::unfold(waiting, |mut waiting| async {
            let piece = waiting.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), waiting))
        });
        sender.send(vec![1; 400]).expect("open");
        sender.send(vec![1; 400]).expect("open");
        let headers = HeaderMap::new();
        let mut first = Box::pin(bodies.read(&headers, Body::from_stream(pieces)));
        // Takes in what is there, then waits for more.
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = bodies
            .read(&headers, in_pieces(vec![vec![1; 400]; 2]))
            .await;
        assert!(matches!(second, Err(BodyError::Busy)), "{second:?}");
        drop(sender);
        assert_eq!(first.await.expect("read").len(), 800);
        let third = bodies
            .read(&headers, in_pieces(vec![vec![1; 400]; 2]))
            .await;
        assert_eq!(third.expect("read").len(), 800);
    }
}
