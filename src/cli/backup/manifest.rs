//! `MANIFEST.json`: what a backup holds, and whether its parts fit together.

use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::app::tools;
use crate::stream::TOPIC_DELIVERY_LOCATION;
use crate::stream::embedded::CopiedLog;

/// Newest format of a backup that can be read, and the one that is written.
pub(super) const FORMAT: u32 = 1;
pub(super) const MANIFEST: &str = "MANIFEST.json";
/// The group whose rows are in Postgres, as `stream_offset` names it.
const SINK: &str = "analytics";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Version of the program that made it.
    pub(super) waylog: String,
    /// When it was begun, RFC 3339.
    pub(super) made_at: String,
    pub(super) postgres: Option<PostgresPart>,
    pub(super) log: Option<CopiedLog>,
}

/// What the dump holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PostgresPart {
    /// Major version of the server it is from.
    pub(super) server_major: u32,
    /// Major version of the `pg_dump` that wrote it.
    pub(super) dump_major: u32,
    /// Newest migration in it.
    pub(super) schema: i64,
    pub(super) database_bytes: u64,
    /// How far each group had read, at the moment of the dump.
    pub(super) offsets: Vec<GroupOffset>,
    /// Logins of analysts, whose passwords are not in it.
    pub(super) analysts: Vec<String>,
}

/// A row of `stream_offset`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GroupOffset {
    pub(super) group: String,
    pub(super) stream_id: String,
    pub(super) partition: u32,
    pub(super) next: u64,
}

impl Manifest {
    /// Whether the parts are of one installation: whatever the sink had not read is in the log.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let (Some(postgres), Some(log)) = (&self.postgres, &self.log) else {
            return Ok(());
        };
        let stream_id = format!("{}:{TOPIC_DELIVERY_LOCATION}", log.uuid);
        let read = postgres
            .offsets
            .iter()
            .filter(|offset| offset.group == SINK && offset.stream_id == stream_id);
        for offset in read {
            let partition = log.partitions.iter().find(|partition| {
                partition.topic == TOPIC_DELIVERY_LOCATION
                    && partition.partition == offset.partition
            });
            let Some(partition) = partition else {
                bail!("the log has no partition {}", offset.partition);
            };
            if !(partition.start_offset..=partition.end_offset).contains(&offset.next) {
                bail!(
                    "partition {}: Postgres had read up to offset {}, and the log holds {} to {}: \
                     the group analytics is behind the log's retention; see `waylog status`",
                    offset.partition,
                    offset.next,
                    partition.start_offset,
                    partition.end_offset
                );
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(MANIFEST);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Reads the manifest of a backup whose sums are right.
    ///
    /// # Errors
    /// If it is a newer program's.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            waylog: String,
        }
        let path = dir.join(MANIFEST);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let read = || format!("read {}", path.display());
        let head: Head = serde_json::from_str(&text).with_context(read)?;
        if head.format > FORMAT {
            bail!(
                "the backup was made by Waylog {} in format {}, and this program ({}) reads up to \
                 {FORMAT}: use the newer program",
                head.waylog,
                head.format,
                env!("CARGO_PKG_VERSION")
            );
        }
        let manifest: Self = serde_json::from_str(&text).with_context(read)?;
        if let Some(postgres) = &manifest.postgres
            && postgres.schema > tools::newest_schema()
        {
            bail!(
                "the backup was made by Waylog {}, whose database has migration {}; this program \
                 ({}) knows none beyond {}: use the newer program",
                manifest.waylog,
                postgres.schema,
                env!("CARGO_PKG_VERSION"),
                tools::newest_schema()
            );
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::embedded::CopiedPartition;

    fn manifest(next: u64) -> Manifest {
        let uuid = uuid::Uuid::from_u128(7);
        Manifest {
            format: FORMAT,
            waylog: "0.1.0".to_owned(),
            made_at: "2026-11-29T03:00:00.000Z".to_owned(),
            postgres: Some(PostgresPart {
                server_major: 15,
                dump_major: 15,
                schema: 1,
                database_bytes: 1,
                offsets: vec![GroupOffset {
                    group: SINK.to_owned(),
                    stream_id: format!("{uuid}:{TOPIC_DELIVERY_LOCATION}"),
                    partition: 0,
                    next,
                }],
                analysts: Vec::new(),
            }),
            log: Some(CopiedLog {
                uuid,
                partitions: vec![CopiedPartition {
                    topic: TOPIC_DELIVERY_LOCATION.to_owned(),
                    partition: 0,
                    start_offset: 10,
                    end_offset: 20,
                }],
            }),
        }
    }

    #[test]
    fn parts_fit_where_the_log_holds_what_postgres_has_not_read() {
        for next in [10, 15, 20] {
            manifest(next).check().expect("they fit");
        }
        for next in [9, 21] {
            let error = manifest(next).check().expect_err("records are missing");
            assert!(error.to_string().contains("partition 0"), "{error}");
        }
    }

    #[test]
    fn a_newer_programs_backup_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut newer = manifest(10);
        newer.format = FORMAT + 1;
        newer.write(dir.path()).expect("written");
        let error = Manifest::read(dir.path()).expect_err("newer");
        assert!(error.to_string().contains("newer program"), "{error}");
        newer.format = FORMAT;
        newer.postgres.as_mut().expect("there").schema = i64::MAX;
        newer.write(dir.path()).expect("written");
        let error = Manifest::read(dir.path()).expect_err("newer");
        assert!(error.to_string().contains("newer program"), "{error}");
    }
}
