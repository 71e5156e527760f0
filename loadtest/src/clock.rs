//! The machine's clock, read in this one place, and times as the server writes them.

use time::OffsetDateTime;
use time::macros::format_description;

/// Now, Unix milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "fixes of a load test bear the machine's time"
)]
pub fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

/// As the server writes it: UTC with milliseconds.
pub fn rfc3339(unix_ms: u64) -> anyhow::Result<String> {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)?;
    Ok(at.format(form)?)
}

/// Today, as in 2026-11-29 (UTC).
pub fn today() -> String {
    let seconds = (now_ms() / 1000).cast_signed();
    let day = time::OffsetDateTime::from_unix_timestamp(seconds).map(time::OffsetDateTime::date);
    day.map_or_else(|_| String::new(), |day| day.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_the_server_does() {
        assert_eq!(
            rfc3339(1_795_356_000_023).expect("a time"),
            "2026-11-22T14:00:00.023Z"
        );
    }
}
