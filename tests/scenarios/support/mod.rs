//! What scenarios share: the real program on a port of its own, a database of its own, and small
//! clients that speak only what the outside may rely on.

pub mod axe;
pub mod browser;
pub mod database;
pub mod devtools;
pub mod own_postgres;
pub mod receiver;
pub mod server;
pub mod stage;

use std::time::{Duration, Instant};

/// Longest wait for anything to become true. Reaching it is a failure, not a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Polls `check` until it answers `Some`, or fails the test by name after [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "still waiting for {what} after {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The recorded tracks beside the project, or a loud failure that says where they should be.
pub fn traces() -> std::path::PathBuf {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    assert!(
        dir.is_dir(),
        "the recorded tracks are missing: expected them in {}",
        dir.display()
    );
    dir
}

/// Unix milliseconds now.
#[expect(
    clippy::disallowed_methods,
    reason = "a phone of the tests has a clock of its own"
)]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("fits")
}
