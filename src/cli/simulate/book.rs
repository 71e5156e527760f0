//! What a simulation keeps on disk, so that the next one goes on with the same couriers.
//!
//! `DIR/simulate-{seed}.json`, readable by its owner alone: it holds device tokens. Written aside
//! and renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::domain::{CourierId, DeliveryId};

/// The state of a simulation.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Book {
    /// When the couriers' lives began, Unix milliseconds.
    pub(super) epoch_ms: i64,
    /// Device tokens.
    pub(super) tokens: BTreeMap<CourierId, String>,
    /// Deliveries that the server holds open.
    pub(super) open: BTreeSet<DeliveryId>,
}

/// Where the state is kept.
pub(super) fn path(dir: &Path, seed: u64) -> PathBuf {
    dir.join(format!("simulate-{seed}.json"))
}

impl Book {
    /// Reads the state, if there is one.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    pub(super) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let book = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: remove it to start with new devices",
                path.display()
            )
        })?;
        Ok(Some(book))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let aside = path.with_extension("tmp");
        let text = serde_json::to_vec_pretty(self)?;
        let options = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .clone();
        let mut file = options
            .open(&aside)
            .with_context(|| format!("write {}", aside.display()))?;
        file.write_all(&text)?;
        fs::rename(&aside, path).with_context(|| format!("rename to {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = path(&dir.path().join("new"), 7);
        assert_eq!(Book::read(&path).expect("none yet"), None);
        let id = CourierId::try_from("sim-001").expect("an id");
        let book = Book {
            epoch_ms: 5,
            tokens: [(id, "secret".to_owned())].into(),
            open: [DeliveryId::try_from("d").expect("an id")].into(),
        };
        for _ in 0..2 {
            book.write(&path).expect("written");
            assert_eq!(Book::read(&path).expect("readable"), Some(book.clone()));
        }
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "{").expect("damage it");
        assert!(
            Book::read(&path)
                .expect_err("damaged")
                .to_string()
                .contains("remove it")
        );
    }
}
