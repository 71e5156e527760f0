//! `data_dir/last-backup.json`: when the newest whole backup was made, for `waylog status` and the
//! metric that an alert looks at.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::app::LAST_BACKUP_FILE;

/// The newest whole backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct LastBackup {
    /// When it was begun, RFC 3339.
    pub(in crate::cli) made_at: String,
    pub(in crate::cli) dir: PathBuf,
    pub(in crate::cli) bytes: u64,
}

/// Notes a backup. A note that cannot be written spoils no backup: it is only told.
pub(super) fn write(data_dir: &Path, dir: &Path, manifest: &Manifest, bytes: u64) {
    let note = LastBackup {
        made_at: manifest.made_at.clone(),
        dir: dir.to_owned(),
        bytes,
    };
    let path = data_dir.join(LAST_BACKUP_FILE);
    let aside = data_dir.join(format!("{LAST_BACKUP_FILE}.tmp"));
    let written = serde_json::to_vec(&note)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&aside, text))
        .and_then(|()| std::fs::rename(&aside, &path));
    if let Err(error) = written {
        eprintln!(
            "waylog: the backup is whole, but {} cannot be written ({error}): the alert on old \
             backups will not know of it",
            path.display()
        );
    }
}

/// The newest whole backup that was noted in `data_dir`.
pub(in crate::cli) fn last_backup(data_dir: &Path) -> Option<LastBackup> {
    let text = std::fs::read(data_dir.join(LAST_BACKUP_FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}
