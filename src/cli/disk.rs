//! Folders and space, for tools that write much or look at a dead server.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Bytes of a file system that an ordinary user may still use, and its size.
pub(super) fn space(dir: &Path) -> anyhow::Result<(u64, u64)> {
    let known = rustix::fs::statvfs(dir)
        .with_context(|| format!("ask for free space in {}", dir.display()))?;
    let unit = known.f_frsize;
    Ok((
        known.f_bavail.saturating_mul(unit),
        known.f_blocks.saturating_mul(unit),
    ))
}

/// Bytes that the files below `dir` take on disk.
pub(super) fn bytes_below(dir: &Path) -> anyhow::Result<u64> {
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            // A file that was deleted meanwhile takes no space.
            let Ok(known) = entry.metadata() else {
                continue;
            };
            if known.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += known.blocks() * BLOCK;
            }
        }
    }
    Ok(bytes)
}

/// Copies every file below `from` to the same place below `to`, durably; for their owner only.
pub(super) fn copy_below(from: &Path, to: &Path) -> anyhow::Result<()> {
    let make = |dir: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("make {}", dir.display()))
    };
    make(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_below(&source, &target)?;
            continue;
        }
        let copied = (|| {
            let mut read = File::open(&source)?;
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut write = options.open(&target)?;
            std::io::copy(&mut read, &mut write)?;
            write.sync_all()
        })();
        copied.with_context(|| format!("copy {} to {}", source.display(), target.display()))?;
    }
    let synced = File::open(to).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("sync {}", to.display()))
}

/// Makes `dir`, for its owner only; it may exist if it is empty. Answers its absolute path.
pub(super) fn make_empty(dir: &Path) -> anyhow::Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("make {}", dir.display()))?;
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    if entries.next().is_some() {
        bail!(
            "{} is not empty: give a folder that does not exist yet, as in {}/$(date +%F)",
            dir.display(),
            dir.display()
        );
    }
    dir.canonicalize()
        .with_context(|| format!("find {}", dir.display()))
}

/// A number of bytes for people.
pub(super) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_nearest_unit() {
        assert_eq!(human_bytes(0), "0 bytes");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(20 << 30), "20.0 GiB");
    }

    #[test]
    fn only_an_empty_folder_is_taken() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("a/b");
        let made = make_empty(&dir).expect("made");
        make_empty(&dir).expect("still empty");
        std::fs::write(made.join("x"), "y").expect("written");
        let error = make_empty(&dir).expect_err("not empty");
        assert!(error.to_string().contains("not empty"), "{error}");
    }
}
