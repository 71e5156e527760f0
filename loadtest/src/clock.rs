//! The machine's clock, read in this one place.

/// Now, Unix milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "fixes of a load test bear the machine's time"
)]
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}
