//! A crash at every boundary of every transaction: between the slice and Postgres stands a proxy that
//! breaks the connection at one request, counted from the start of a round, either before Postgres
//! sees it or before its answer comes back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::analytics::upkeep::Upkeep;

/// Longest message that the proxy passes on.
const MAX_MESSAGE: usize = 64 << 20;

/// Which way the request at which the connection breaks fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// Postgres never sees it.
    BeforeRequest,
    /// Postgres has done it, and nobody is told.
    BeforeAnswer,
}

/// Where the next connection breaks.
struct Blade {
    /// Requests until then; beyond reach once it has struck.
    left: AtomicUsize,
    before_answer: AtomicBool,
    struck: AtomicBool,
    strikes: Notify,
}

impl Blade {
    fn set(&self, requests: usize, how: Break) {
        self.struck.store(false, Ordering::SeqCst);
        self.before_answer
            .store(how == Break::BeforeAnswer, Ordering::SeqCst);
        self.left.store(requests, Ordering::SeqCst);
    }

    /// Counts a request; `Some` if it is the one.
    fn count(&self) -> Option<Break> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return None;
        }
        self.struck.store(true, Ordering::SeqCst);
        Some(if self.before_answer.load(Ordering::SeqCst) {
            Break::BeforeAnswer
        } else {
            Break::BeforeRequest
        })
    }

    fn has_struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }
}

/// The proxy; ends when it is dropped.
struct Proxy {
    blade: Arc<Blade>,
    options: PgConnectOptions,
    _listening: JoinSet<()>,
}

impl Proxy {
    async fn before(options: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let blade = Arc::new(Blade {
            left: AtomicUsize::new(usize::MAX),
            before_answer: AtomicBool::new(false),
            struck: AtomicBool::new(false),
            strikes: Notify::new(),
        });
        let postgres = (options.get_host().to_owned(), options.get_port());
        let mut listening = JoinSet::new();
        let theirs = blade.clone();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("accepts");
                let server = TcpStream::connect(&postgres).await.expect("Postgres");
                connections.spawn(pass(client, server, theirs.clone()));
            }
        });
        let options = options.clone().host("127.0.0.1").port(port);
        Self {
            blade,
            options: options.ssl_mode(PgSslMode::Disable),
            _listening: listening,
        }
    }

    fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(self.options.clone())
    }
}

/// Passes messages on until one side ends or the blade falls.
async fn pass(client: TcpStream, server: TcpStream, blade: Arc<Blade>) {
    let (mut from_client, to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let silent = Arc::new(AtomicBool::new(false));
    let mut answers = JoinSet::new();
    let (muted, falls) = (silent.clone(), blade.clone());
    answers.spawn(async move { answer(&mut from_server, to_client, &muted, &falls).await });
    // The start-up message has no type.
    if forward(&mut from_client, &mut to_server, false)
        .await
        .is_none()
    {
        return;
    }
    let mut waiting = Vec::new();
    loop {
        let Some(message) = read(&mut from_client, true).await else {
            return;
        };
        // What asks for an answer: a simple query, the end of an extended one, the end of a COPY.
        let asks = matches!(message[0], b'Q' | b'S' | b'c');
        match asks.then(|| blade.count()).flatten() {
            Some(Break::BeforeRequest) => {
                blade.strikes.notify_waiters();
                return;
            }
            Some(Break::BeforeAnswer) => {
                silent.store(true, Ordering::SeqCst);
                waiting.extend_from_slice(&message);
                if to_server.write_all(&waiting).await.is_ok() {
                    // Ends when Postgres has answered.
                    answers.join_next().await;
                }
                return;
            }
            None => waiting.extend_from_slice(&message),
        }
        if to_server.write_all(&waiting).await.is_err() {
            return;
        }
        waiting.clear();
    }
}

/// Passes answers on; once `silent`, swallows them until Postgres is ready for more.
async fn answer(
    from: &mut OwnedReadHalf,
    mut to: OwnedWriteHalf,
    silent: &AtomicBool,
    blade: &Blade,
) {
    while let Some(message) = read(from, true).await {
        if !silent.load(Ordering::SeqCst) {
            if to.write_all(&message).await.is_err() {
                return;
            }
        } else if matches!(message[0], b'Z' | b'C' | b'G') {
            blade.strikes.notify_waiters();
            return;
        }
    }
}

async fn forward(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, typed: bool) -> Option<()> {
    let message = read(from, typed).await?;
    to.write_all(&message).await.ok()
}

/// One message with its head; `None` at the end.
async fn read(from: &mut OwnedReadHalf, typed: bool) -> Option<Vec<u8>> {
    let head = if typed { 5 } else { 4 };
    let mut message = vec![0; head];
    from.read_exact(&mut message).await.ok()?;
    let length = message[head - 4..]
        .try_into()
        .map(u32::from_be_bytes)
        .ok()?;
    let rest = (length as usize)
        .checked_sub(4)
        .filter(|n| *n <= MAX_MESSAGE)?;
    message.resize(head + rest, 0);
    from.read_exact(&mut message[head..]).await.ok()?;
    Some(message)
}

/// Everything that the slice does in Postgres, once, over `pool`: a member that comes, stores what is
/// new and leaves; trips, stops and heat; merging.
async fn once_through(house: &House, pool: &PgPool) {
    let stop = CancellationToken::new();
    let sink = Sink::new(
        house.config.clone(),
        house.log.clone(),
        house.directory.clone(),
        house.clock.clone(),
        pool.clone(),
    );
    let mut sinks = JoinSet::new();
    sinks.spawn(sink.run(stop.clone()));
    house.wait_until_drained().await;
    stop.cancel();
    sinks
        .join_next()
        .await
        .expect("one")
        .expect("no panic")
        .expect("a clean end");
    let derive = Derive::new(&house.config, pool.clone());
    while derive.round().await.ok() != Some(Round::Done) {}
    let mut upkeep = Upkeep::new(&house.config, house.clock.clone(), pool.clone());
    upkeep.quiet_s = 0.0;
    while upkeep.round().await.is_err() {}
}

/// From one request that is broken to the next: each of them in the long form; in the short one every
/// tenth or so, others with every seed.
fn stride(rng: &mut SmallRng) -> usize {
    if std::env::var_os("WAYLOG_TEST_LONG").is_some() {
        1
    } else {
        rng.random_range(8..=14)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_at_any_request_loses_and_doubles_nothing() {
    let mut rng = seeded();
    let mut house = House::build().await;
    // The hours are over, so that every round merges what the one before has left.
    house.clock.advance(30 * 3_600_000);
    let proxy = Proxy::before(&house.pool().connect_options()).await;
    let mut traffic = traffic(&mut rng, 2, 4_000).into_iter();
    for how in [Break::BeforeRequest, Break::BeforeAnswer] {
        let mut at = 0;
        loop {
            for (courier, fixes) in traffic.by_ref().take(2) {
                house.append(&courier, &fixes).await;
            }
            proxy.blade.set(at, how);
            let pool = proxy.pool();
            once_through(&house, &pool).await;
            let struck = proxy.blade.has_struck();
            proxy.blade.set(usize::MAX, how);
            pool.close().await;
            house.check_fixes().await;
            super::trips::check_derived(&house).await;
            if !struck {
                break;
            }
            at += stride(&mut rng);
        }
        // Connecting, finding the place, a flush, a round of the job, a round of upkeep.
        assert!(at > 40, "only {at} requests in a round");
        println!("{how:?}: {at} requests, broken at them");
    }
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_at_any_request_loses_and_doubles_nothing() {
    let mut rng = seeded();
    let mut house = House::build().await;
    house.clock.advance(30 * 3_600_000);
    let proxy = Proxy::before(&house.pool().connect_options()).await;
    let mut traffic = traffic(&mut rng, 2, 4_000).into_iter();
    let mut at = 0;
    loop {
        for (courier, fixes) in traffic.by_ref().take(2) {
            house.append(&courier, &fixes).await;
        }
        proxy.blade.set(at, Break::BeforeAnswer);
        let pool = proxy.pool();
        let dies = proxy.blade.strikes.notified();
        let struck = tokio::select! {
            () = dies => true,
            () = once_through(&house, &pool) => proxy.blade.has_struck(),
        };
        proxy.blade.set(usize::MAX, Break::BeforeAnswer);
        drop(pool);
        // The next process.
        once_through(&house, &proxy.pool()).await;
        house.check_fixes().await;
        super::trips::check_derived(&house).await;
        if !struck {
            break;
        }
        at += stride(&mut rng);
    }
    assert!(at > 40, "only {at} requests in a round");
    println!("{at} requests, deaths at them");
    house.tear_down().await;
}
