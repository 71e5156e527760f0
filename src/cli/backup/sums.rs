//! `SHA256SUMS`, as `sha256sum -c SHA256SUMS` reads it: what makes a folder a backup, and tells one
//! that was damaged since.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

pub(super) const SUMS: &str = "SHA256SUMS";
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;
/// Longest list that is read, bytes.
const MAX_SUMS: u64 = 64 << 20;

/// Sums every file below `dir`, makes all of them durable, and writes the list.
pub(super) fn write(dir: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for name in files_below(dir)? {
        let path = dir.join(&name);
        let file = File::open(&path).with_context(|| format!("read {}", path.display()))?;
        let sum = sum_of(&file).with_context(|| format!("read {}", path.display()))?;
        file.sync_all()
            .with_context(|| format!("sync {}", path.display()))?;
        text += &format!("{sum}  {name}\n");
    }
    let path = dir.join(SUMS);
    let aside = dir.join(format!("{SUMS}.tmp"));
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        sync_folders(dir)
    })();
    written.with_context(|| format!("write {}", path.display()))
}

/// Reads every file below `dir` and compares.
///
/// # Errors
/// With the first file that is damaged, missing or not in the list.
pub(super) fn check(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(SUMS);
    let Ok(length) = fs::metadata(&path).map(|list| list.len()) else {
        bail!(
            "{} holds no {SUMS}: it is no backup, or one that was not finished",
            dir.display()
        );
    };
    if length > MAX_SUMS {
        bail!("{} is damaged", path.display());
    }
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{} is damaged: read it", path.display()))?;
    let mut listed = BTreeMap::new();
    for line in text.lines() {
        let Some((sum, name)) = line.split_once("  ") else {
            bail!("{} is damaged: {line:?} is no sum", path.display());
        };
        listed.insert(name.to_owned(), sum.to_owned());
    }
    if listed.is_empty() {
        bail!("{} is damaged: it is empty", path.display());
    }
    for name in files_below(dir)? {
        let path = dir.join(&name);
        let Some(expected) = listed.remove(&name) else {
            bail!(
                "the backup holds a file that is not its own: {}",
                path.display()
            );
        };
        let file = File::open(&path).with_context(|| format!("read {}", path.display()))?;
        let sum = sum_of(&file).with_context(|| format!("read {}", path.display()))?;
        if sum != expected {
            bail!("the backup is damaged: {} has changed", path.display());
        }
    }
    match listed.keys().next() {
        None => Ok(()),
        Some(name) => bail!(
            "the backup is damaged: {} is missing",
            dir.join(name).display()
        ),
    }
}

/// Bytes of all files below `dir`.
pub(super) fn total_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for name in files_below(dir)? {
        bytes += fs::metadata(dir.join(name))?.len();
    }
    Ok(bytes)
}

/// Files below `dir`, by their paths from there, sorted; without the list itself.
fn files_below(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = dir.join(&folder);
        let entries = fs::read_dir(&here).with_context(|| format!("read {}", here.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let Some(name) = path.to_str() else {
                bail!("{} is not a file of a backup", dir.join(&path).display());
            };
            if name != SUMS {
                names.push(name.to_owned());
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn sync_folders(dir: &Path) -> std::io::Result<()> {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        File::open(&folder)?.sync_all()?;
    }
    File::open(dir.parent().unwrap_or(dir))?.sync_all()
}

fn sum_of(mut file: &File) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut window = vec![0; CHUNK];
    loop {
        match file.read(&mut window)? {
            0 => break,
            read => hash.update(&window[..read]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("log")).expect("made");
        fs::write(dir.path().join("a"), "one").expect("written");
        fs::write(dir.path().join("log/b"), "two").expect("written");
        write(dir.path()).expect("summed");
        dir
    }

    fn refusal(dir: &Path) -> String {
        check(dir).expect_err("refused").to_string()
    }

    #[test]
    fn an_untouched_backup_passes() {
        check(backup().path()).expect("as it was");
    }

    #[test]
    fn whatever_changes_is_named() {
        let dir = backup();
        fs::write(dir.path().join("log/b"), "twp").expect("written");
        assert!(refusal(dir.path()).contains("log/b has changed"));
        let dir = backup();
        fs::remove_file(dir.path().join("a")).expect("removed");
        assert!(refusal(dir.path()).contains("a is missing"));
        let dir = backup();
        fs::write(dir.path().join("log/c"), "mine").expect("written");
        assert!(refusal(dir.path()).contains("not its own"));
        let dir = backup();
        fs::remove_file(dir.path().join(SUMS)).expect("removed");
        assert!(refusal(dir.path()).contains("not finished"));
        let dir = backup();
        fs::write(dir.path().join(SUMS), "").expect("emptied");
        assert!(refusal(dir.path()).contains("damaged"));
    }

    #[test]
    fn the_list_is_what_coreutils_reads() {
        let dir = backup();
        let said = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", SUMS])
            .current_dir(dir.path())
            .output()
            .expect("coreutils");
        assert!(said.status.success(), "{said:?}");
    }
}
