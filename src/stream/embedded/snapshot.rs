//! Small files that are replaced as a whole: `META`, `checkpoint`, `groups/*.off`.
//!
//! A line of text and a JSON document, so that a person can read what a crash has left:
//!
//! ```text
//! waylog-meta 1 3f2a90bc          kind, format version, crc32c of kind, version and document
//! {"uuid":"…"}
//! ```
//!
//! Written to `{name}.tmp`, synced, renamed, folder synced: after a crash there is the old file or
//! the new one, never a mixture.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::storage::Storage;

/// Suffix of files that a crash may leave and that opening removes.
pub(super) const TMP_SUFFIX: &str = ".tmp";
/// A snapshot is never longer; more is damage.
const MAX_SNAPSHOT_LEN: u64 = 16 << 20;

/// Why a snapshot could not be read. The message continues "`{path}`: …".
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    /// It does not exist.
    #[error("the file is missing")]
    Missing,
    /// Some byte of it is not what was written.
    #[error("the file is damaged ({0})")]
    Damaged(&'static str),
    /// It is from the future.
    #[error("it was written by a newer Waylog (format {found}, this one reads up to {known})")]
    Newer {
        /// Version in the file.
        found: u32,
        /// Newest version that can be read.
        known: u32,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(io::Error),
}

/// Kind and version of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotKind {
    /// First word of the file.
    pub(super) name: &'static str,
    /// Newest version, and the one that is written.
    pub(super) version: u32,
}

impl SnapshotKind {
    /// Replaces the file at `path`; Ok means durable.
    pub(super) fn write(
        self,
        storage: &dyn Storage,
        path: &Path,
        document: &impl Serialize,
    ) -> io::Result<()> {
        let json = serde_json::to_string(document)?;
        let crc = self.crc(self.version, &json);
        let text = format!("{} {} {crc:08x}\n{json}\n", self.name, self.version);
        let tmp = with_suffix(path, TMP_SUFFIX);
        let file = storage.create(&tmp)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()?;
        storage.rename(&tmp, path)?;
        storage.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads the file at `path`.
    pub(super) fn read<T: DeserializeOwned>(
        self,
        storage: &dyn Storage,
        path: &Path,
    ) -> Result<T, SnapshotError> {
        let text = match read_text(storage, path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SnapshotError::Missing);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SnapshotError::Damaged("not text"));
            }
            Err(error) => return Err(SnapshotError::Io(error)),
        };
        let (head, rest) = text
            .split_once('\n')
            .ok_or(SnapshotError::Damaged("no first line"))?;
        let mut words = head.split(' ');
        let (Some(name), Some(version), Some(crc), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(SnapshotError::Damaged("first line"));
        };
        let json = rest
            .strip_suffix('\n')
            .ok_or(SnapshotError::Damaged("cut short"))?;
        let version: u32 = version
            .parse()
            .map_err(|_| SnapshotError::Damaged("version"))?;
        if name != self.name || crc != format!("{:08x}", self.crc(version, json)) {
            return Err(SnapshotError::Damaged("checksum"));
        }
        if version > self.version {
            return Err(SnapshotError::Newer {
                found: version,
                known: self.version,
            });
        }
        serde_json::from_str(json).map_err(|_| SnapshotError::Damaged("content"))
    }

    fn crc(self, version: u32, json: &str) -> u32 {
        let crc = crc32c::crc32c(self.name.as_bytes());
        let crc = crc32c::crc32c_append(crc, &version.to_le_bytes());
        crc32c::crc32c_append(crc, json.as_bytes())
    }
}

fn read_text(storage: &dyn Storage, path: &Path) -> io::Result<String> {
    let file = storage.open(path)?;
    let len = file.len()?;
    if len > MAX_SNAPSHOT_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let read = file.read_full_at(&mut bytes, 0)?;
    bytes.truncate(read);
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
