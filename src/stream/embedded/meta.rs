//! `META`: which log this is, and which topics it has.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::snapshot::{SnapshotError, SnapshotKind};
use super::storage::Storage;
use crate::stream::{LogError, TopicSpec};

pub(super) const META_FILE: &str = "META";
pub(super) const LOCK_FILE: &str = "LOCK";
pub(super) const GROUPS_DIR: &str = "groups";
const KIND: SnapshotKind = SnapshotKind {
    name: "waylog-meta",
    version: 1,
};
const HASH: &str = "murmur2";

/// The identity of a log. A topic is written here first, then its folders, then it is ready: so
/// a ready topic has all its files, and one that is not has never held a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) uuid: Uuid,
    /// How a key finds its partition.
    pub(super) hash: String,
    pub(super) topics: Vec<MetaTopic>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaTopic {
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) ready: bool,
}

impl Meta {
    pub(super) fn new(uuid: Uuid) -> Self {
        Self {
            uuid,
            hash: HASH.to_owned(),
            topics: Vec::new(),
        }
    }

    pub(super) fn write(&self, storage: &dyn Storage, dir: &Path) -> io::Result<()> {
        KIND.write(storage, &dir.join(META_FILE), self)
    }

    /// Reads `META`; `None` if there is no log in `dir` yet.
    pub(super) fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(META_FILE);
        let refused = |what: String| {
            Err(LogError::Refused(format!(
                "cannot open the log: {}: {what}",
                path.display()
            )))
        };
        let meta: Self = match KIND.read(storage, &path) {
            Ok(meta) => meta,
            Err(SnapshotError::Missing) => return Ok(None),
            Err(SnapshotError::Io(source)) => return Err(io_error("read", &path, source)),
            Err(error @ SnapshotError::Newer { .. }) => {
                return refused(format!(
                    "{error}; upgrade Waylog, or open another data directory"
                ));
            }
            Err(error @ SnapshotError::Damaged(_)) => {
                return refused(format!("{error}; restore this file from a backup"));
            }
        };
        if meta.hash != HASH {
            return refused(format!(
                "keys are hashed by {:?}, not by {HASH:?}",
                meta.hash
            ));
        }
        Ok(Some(meta))
    }

    /// Reads the `META` of a log that must be there.
    pub(super) fn of_existing(storage: &dyn Storage, dir: &Path) -> Result<Self, LogError> {
        Self::read(storage, dir)?.ok_or_else(|| {
            LogError::Refused(format!(
                "there is no log in {}: give the folder that holds META",
                dir.display()
            ))
        })
    }

    /// Adds topics that are missing; refuses one whose partition count differs.
    pub(super) fn add_topics(&mut self, wanted: &[TopicSpec], dir: &Path) -> Result<(), LogError> {
        for topic in wanted {
            match self.topics.iter().find(|known| known.name == topic.name) {
                None => self.topics.push(MetaTopic {
                    name: topic.name.clone(),
                    partitions: topic.partitions,
                    ready: false,
                }),
                Some(known) if known.partitions == topic.partitions => {}
                Some(known) => {
                    return Err(LogError::Refused(format!(
                        "topic {} in {} has {} partitions, the configuration says {}: a log's \
                         count never changes, as couriers would move; set stream.partitions = {}",
                        topic.name,
                        dir.display(),
                        known.partitions,
                        topic.partitions,
                        known.partitions
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The folder of a partition.
pub(super) fn partition_dir(dir: &Path, topic: &str, partition: u32) -> PathBuf {
    dir.join(topic).join(format!("p{partition:03}"))
}

/// An input or output error that names the file, and what helps where that is known.
pub(super) fn io_error(verb: &str, path: &Path, error: io::Error) -> LogError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => " (run as the folder's owner, or change its owner)",
        io::ErrorKind::ReadOnlyFilesystem => " (the disk is mounted read-only)",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (free space on this disk)",
        io::ErrorKind::FileTooLarge => " (the limit on file sizes, ulimit -f, is too low)",
        _ => "",
    };
    LogError::Io {
        context: format!("cannot {verb} {}{hint}", path.display()),
        error,
    }
}
