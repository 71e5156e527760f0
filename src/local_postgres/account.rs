//! Who runs the cluster: we ourselves, or, if we are root, an ordinary user.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Accounts that are taken for it, in this order.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The account of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Account {
    /// We ourselves.
    Own,
    /// Another user, because we are root.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account for the cluster in `dir`: who owns it already, else the first candidate.
    ///
    /// # Errors
    /// If we are root and there is no ordinary user, or that user cannot get to the folder.
    pub(super) fn for_folder(dir: &Path) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let owner = std::fs::metadata(dir)?.uid();
        let account = Self::choose(&users, owner).with_context(|| {
            format!("Postgres does not run as root, and /etc/passwd has no user {CANDIDATES:?}")
        })?;
        if let Self::Other { name, uid, gid } = &account
            && let Some(closed) = closed_parent(dir, *uid, *gid)
        {
            bail!(
                "Postgres does not run as root but as {name}, who may not enter {}: allow it \
                 (chmod o+x {}), or set data_dir to a folder that others may enter",
                closed.display(),
                closed.display()
            );
        }
        Ok(account)
    }

    /// The user with id `owner` (unless that is root), else the first candidate that exists.
    pub(super) fn choose(users: &str, owner: u32) -> Option<Self> {
        let parse = |line: &str| {
            let mut fields = line.split(':');
            let (name, _) = (fields.next()?.to_owned(), fields.next()?);
            let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (uid != 0).then_some((name, uid, gid))
        };
        let users: Vec<(String, u32, u32)> = users.lines().filter_map(parse).collect();
        let by_name = |name: &&str| users.iter().find(|user| user.0 == **name);
        let owner = users.iter().find(|user| user.1 == owner);
        let (name, uid, gid) = owner
            .or_else(|| CANDIDATES.iter().find_map(by_name))?
            .clone();
        Some(Self::Other { name, uid, gid })
    }

    /// Makes a file or folder the account's.
    pub(super) fn give(&self, path: &Path) -> anyhow::Result<()> {
        if let Self::Other { name, uid, gid } = self {
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .with_context(|| format!("give {} to {name}", path.display()))?;
        }
        Ok(())
    }

    /// Makes a command run as the account.
    pub(super) fn run_as(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }
}

/// The first folder above `dir` that a user may not enter.
pub(super) fn closed_parent(dir: &Path, uid: u32, gid: u32) -> Option<PathBuf> {
    let mut parents: Vec<&Path> = dir.ancestors().skip(1).collect();
    parents.reverse();
    let may_enter = |parent: &&&Path| {
        std::fs::metadata(parent).is_ok_and(|folder| {
            let mode = folder.permissions().mode();
            let bit = match (folder.uid() == uid, folder.gid() == gid) {
                (true, _) => 0o100,
                (_, true) => 0o010,
                _ => 0o001,
            };
            mode & bit != 0
        })
    };
    parents
        .iter()
        .find(|parent| !may_enter(parent))
        .map(|parent| parent.to_path_buf())
}
