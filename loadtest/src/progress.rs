//! How far a run is, on the terminal; nothing where there is none.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known time.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over `time`.
    pub fn over(time: Duration, what: &'static str) -> Self {
        let bar = ProgressBar::new(time.as_millis().max(1) as u64);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self(bar)
    }

    /// So much time has passed, and so much is done.
    pub fn show(&self, elapsed: Duration, done: u64, unit: &str) {
        let a_second = done as f64 / elapsed.as_secs_f64().max(0.001);
        self.0.set_position(elapsed.as_millis() as u64);
        self.0
            .set_message(format!("{done} {unit}, {a_second:.0}/s"));
    }

    /// Something to read beside the bar.
    pub fn say(&self, elapsed: Duration, what: String) {
        self.0.set_position(elapsed.as_millis() as u64);
        self.0.set_message(what);
    }

    /// Takes the bar away.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
