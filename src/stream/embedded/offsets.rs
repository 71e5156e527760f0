//! Committed offsets: one small file a group, replaced as a whole.
//!
//! A commit is answered after it is on disk; commits that come while a file is being written go
//! into the next one together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::meta::io_error;
use super::options::check_name;
use super::snapshot::{SnapshotError, SnapshotKind, TMP_SUFFIX};
use super::storage::Storage;
use crate::stream::LogError;

const KIND: SnapshotKind = SnapshotKind {
    name: "waylog-group",
    version: 1,
};
const SUFFIX: &str = ".off";

type Offsets = BTreeMap<String, BTreeMap<u32, u64>>;

/// All groups' committed offsets.
pub(super) struct CommittedOffsets {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    groups: Mutex<HashMap<String, Arc<GroupOffsets>>>,
}

/// One group's file.
struct GroupOffsets {
    path: PathBuf,
    state: Mutex<GroupState>,
    /// Held while the file is written; the number of changes that it holds.
    file: Mutex<u64>,
}

#[derive(Default)]
struct GroupState {
    offsets: Offsets,
    changes: u64,
    /// Partitions that a member has committed since the log was opened.
    read_since: BTreeSet<(String, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    offsets: Offsets,
}

/// Committed offsets as their files say, for those who only look.
#[derive(Default)]
pub(super) struct StoredOffsets(BTreeMap<String, Offsets>);

impl StoredOffsets {
    /// Groups that have committed in a partition, and their next offsets.
    pub(super) fn of(&self, topic: &str, partition: u32) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter_map(move |(group, offsets)| {
            let next = offsets.get(topic)?.get(&partition)?;
            Some((group.as_str(), *next))
        })
    }
}

/// Reads every group's file in `dir` and changes nothing; answers also what is wrong with them.
pub(super) fn read_all_offsets(
    storage: &dyn Storage,
    dir: &Path,
) -> Result<(StoredOffsets, Vec<String>), LogError> {
    let (mut stored, mut findings) = (StoredOffsets::default(), Vec::new());
    let names = match storage.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(format!(
                "{}: the folder is missing: every group starts at the earliest record",
                dir.display()
            ));
            return Ok((stored, findings));
        }
        Err(error) => return Err(io_error("read", dir, error)),
    };
    for name in names {
        let Some(group) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let path = dir.join(&name);
        match KIND.read::<Document>(storage, &path) {
            Ok(document) => {
                stored.0.insert(group.to_owned(), document.offsets);
            }
            Err(error) => findings.push(format!(
                "{}: {error}: the group starts at the earliest record, which repeats records and \
                 loses none",
                path.display()
            )),
        }
    }
    Ok((stored, findings))
}

impl CommittedOffsets {
    /// Reads every group's file in `dir`. A damaged one is put aside: its group starts anew,
    /// which repeats records and loses none.
    pub(super) fn open(storage: Arc<dyn Storage>, dir: PathBuf) -> Result<Self, LogError> {
        let this = Self {
            storage,
            dir,
            groups: Mutex::default(),
        };
        this.storage
            .create_dir_all(&this.dir)
            .map_err(|e| io_error("create", &this.dir, e))?;
        for name in this
            .storage
            .list(&this.dir)
            .map_err(|e| io_error("read", &this.dir, e))?
        {
            this.load(&name)?;
        }
        // What was renamed just before a kill is seen from now on, so it must not vanish again.
        this.storage
            .sync_dir(&this.dir)
            .map_err(|e| io_error("sync", &this.dir, e))?;
        Ok(this)
    }

    fn load(&self, name: &str) -> Result<(), LogError> {
        let path = self.dir.join(name);
        if name.ends_with(TMP_SUFFIX) {
            return self
                .storage
                .remove(&path)
                .map_err(|e| io_error("remove", &path, e));
        }
        let Some(group) = name.strip_suffix(SUFFIX) else {
            tracing::warn!(path = %path.display(), "not a file of the log: ignored, move it away");
            return Ok(());
        };
        match KIND.read::<Document>(&*self.storage, &path) {
            Ok(document) => {
                self.group(group).state.lock().offsets = document.offsets;
            }
            Err(SnapshotError::Io(error)) => return Err(io_error("read", &path, error)),
            Err(error @ SnapshotError::Newer { .. }) => {
                return Err(LogError::Refused(format!(
                    "{}: {error}; upgrade Waylog",
                    path.display()
                )));
            }
            Err(error) => {
                let aside = self.dir.join(format!("{group}.damaged"));
                tracing::error!(
                    path = %path.display(), %error, aside = %aside.display(),
                    "committed offsets are lost: the group starts at the earliest record"
                );
                self.storage
                    .rename(&path, &aside)
                    .and_then(|()| self.storage.sync_dir(&self.dir))
                    .map_err(|e| io_error("rename", &path, e))?;
            }
        }
        Ok(())
    }

    fn group(&self, group: &str) -> Arc<GroupOffsets> {
        let mut groups = self.groups.lock();
        let entry = groups.entry(group.to_owned()).or_insert_with(|| {
            Arc::new(GroupOffsets {
                path: self.dir.join(format!("{group}{SUFFIX}")),
                state: Mutex::default(),
                file: Mutex::new(0),
            })
        });
        Arc::clone(entry)
    }

    /// Groups that have ever committed in `topic`.
    pub(super) fn groups_of(&self, topic: &str) -> Vec<String> {
        let groups = self.groups.lock();
        let reads = groups
            .iter()
            .filter(|(_, g)| g.state.lock().offsets.contains_key(topic));
        let mut names: Vec<String> = reads.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The next offset that `group` reads; `None` before its first commit.
    pub(super) fn get(&self, group: &str, topic: &str, partition: u32) -> Option<u64> {
        let group = Arc::clone(self.groups.lock().get(group)?);
        let state = group.state.lock();
        state.offsets.get(topic)?.get(&partition).copied()
    }

    /// Notes `next` in memory; [`Self::flush`] makes it durable.
    pub(super) fn note(&self, group: &str, topic: &str, partition: u32, next: u64) {
        let group = self.group(group);
        let mut state = group.state.lock();
        state
            .offsets
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, next);
        state.changes += 1;
    }

    /// As [`Self::note`], by a member that reads.
    pub(super) fn note_read(&self, group: &str, topic: &str, partition: u32, next: u64) {
        self.note(group, topic, partition, next);
        let group = self.group(group);
        let mut state = group.state.lock();
        state.read_since.insert((topic.to_owned(), partition));
    }

    /// Whether a member of `group` has committed since the log was opened.
    pub(super) fn was_read(&self, group: &str, topic: &str, partition: u32) -> bool {
        let Some(group) = self.groups.lock().get(group).map(Arc::clone) else {
            return false;
        };
        let state = group.state.lock();
        state.read_since.contains(&(topic.to_owned(), partition))
    }

    /// Makes everything noted for `group` so far durable. Blocks on the disk.
    pub(super) fn flush(&self, group: &str) -> Result<(), LogError> {
        check_name("group", group)?;
        let group = self.group(group);
        let wanted = group.state.lock().changes;
        let mut written = group.file.lock();
        if *written >= wanted {
            return Ok(());
        }
        let (document, changes) = {
            let state = group.state.lock();
            (
                Document {
                    offsets: state.offsets.clone(),
                },
                state.changes,
            )
        };
        KIND.write(&*self.storage, &group.path, &document)
            .map_err(|error| io_error("write", &group.path, error))?;
        *written = changes;
        Ok(())
    }

    /// Brings every offset of a partition that lies beyond its `end` back to it; answers groups
    /// and what they had committed.
    pub(super) fn pull_back(
        &self,
        topic: &str,
        partition: u32,
        end: u64,
    ) -> Result<Vec<(String, u64)>, LogError> {
        let mut beyond = Vec::new();
        for group in self.groups_of(topic) {
            if let Some(next) = self
                .get(&group, topic, partition)
                .filter(|next| *next > end)
            {
                self.note(&group, topic, partition, end);
                self.flush(&group)?;
                beyond.push((group, next));
            }
        }
        Ok(beyond)
    }
}
