//! What is wrong, by the names that alerts and the runbook use as well.

use serde_json::{Value, json};

/// Where more is written, beside the program's sources and in its packages.
const RUNBOOK: &str = "docs/runbook.md";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Somebody is not served, or soon will not be: the exit code is 1.
    Error,
    /// Worth a look by daylight: the exit code stays 0.
    Warning,
}

/// What can be found; each has a section of that name in the runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Down,
    NotReady,
    PostgresDown,
    GroupBehind,
    GroupAbsent,
    RetentionHeadroom,
    RecordsLost,
    PartitionQuarantined,
    LogDamaged,
    LogLost,
    LogNearlyFull,
    DiskNearlyFull,
    IngestRefusing,
    ServerErrors,
    WebhooksPending,
    UnevenPartitions,
    BackupOld,
    CannotStart,
}

impl Code {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 18] = [
        Self::Down,
        Self::NotReady,
        Self::PostgresDown,
        Self::GroupBehind,
        Self::GroupAbsent,
        Self::RetentionHeadroom,
        Self::RecordsLost,
        Self::PartitionQuarantined,
        Self::LogDamaged,
        Self::LogLost,
        Self::LogNearlyFull,
        Self::DiskNearlyFull,
        Self::IngestRefusing,
        Self::ServerErrors,
        Self::WebhooksPending,
        Self::UnevenPartitions,
        Self::BackupOld,
        Self::CannotStart,
    ];

    /// The section's and the alert's name.
    pub(super) fn name(self) -> String {
        format!("Waylog{self:?}")
    }

    fn runbook(self) -> String {
        format!("{RUNBOOK}#{}", self.name().to_lowercase())
    }
}

/// Something that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) next: String,
}

impl Finding {
    pub(super) fn error(code: Code, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            code,
            what: what.into(),
            next: next.into(),
        }
    }

    pub(super) fn warning(code: Code, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(code, what, next)
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        json!({"level": level, "code": self.code.name(), "what": self.what, "next": self.next,
            "runbook": self.code.runbook()})
    }

    pub(super) fn print(&self) {
        let mark = match self.level {
            Level::Error => '!',
            Level::Warning => '?',
        };
        println!(
            "{mark} {}\n  next: {}\n  more: {}",
            self.what,
            self.next,
            self.code.runbook()
        );
    }
}

/// How an operator reads the server's own words.
pub(super) fn its_log() -> &'static str {
    if std::path::Path::new("/run/systemd/system").exists() {
        "journalctl -u waylog -n 50"
    } else {
        "read the end of the server's log (its standard error)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_section_in_the_runbook() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(RUNBOOK);
        let runbook = std::fs::read_to_string(path).expect("the runbook");
        for code in Code::ALL {
            let heading = format!("\n### {}\n", code.name());
            assert!(runbook.contains(&heading), "{heading:?} is missing");
        }
    }
}
