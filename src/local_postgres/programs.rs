//! Where the Postgres programs are.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Folders that distributions and builds from source use, besides the search path; `*` is a version.
const USUAL: [&str; 3] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
];

/// The programs of one Postgres version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Programs {
    /// Their folder.
    dir: PathBuf,
    /// Major version.
    pub(super) major: u32,
}

impl Programs {
    /// The folders to look in: those of `PATH`, then the usual ones.
    pub(super) fn search_path() -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        dirs.extend(USUAL.iter().flat_map(|pattern| expand(pattern)));
        dirs
    }

    /// The programs of the version `wanted`, else the newest ones.
    ///
    /// # Errors
    /// If there are none, with the package that is missing.
    pub(super) fn find(dirs: &[PathBuf], wanted: Option<u32>) -> anyhow::Result<Self> {
        let mut found: Vec<Self> = Vec::new();
        for dir in dirs {
            if let Some(major) = version(dir)
                && !found.iter().any(|programs| programs.major == major)
            {
                found.push(Self {
                    dir: dir.clone(),
                    major,
                });
            }
        }
        let newest = found.iter().max_by_key(|programs| programs.major).cloned();
        match (wanted, newest) {
            (_, None) => bail!(
                "no database.url is set, and the programs of PostgreSQL (initdb, postgres) are \
                 neither in PATH nor in /usr/lib/postgresql: install the Debian package \
                 `postgresql` (apt-get install postgresql), or set database.url"
            ),
            (None, Some(newest)) => Ok(newest),
            (Some(wanted), Some(newest)) => {
                let same = found.into_iter().find(|programs| programs.major == wanted);
                let Some(same) = same else {
                    bail!(
                        "the cluster was made by PostgreSQL {wanted}, and only PostgreSQL {} is \
                         installed: install the Debian package `postgresql-{wanted}`, or move the \
                         cluster to the new version with pg_upgrade",
                        newest.major
                    );
                };
                Ok(same)
            }
        }
    }

    /// A client's program, as `pg_dump`, of a version that can speak to a server of `at_least`: the
    /// oldest of those.
    ///
    /// # Errors
    /// If there is none, with the package that is missing.
    pub(super) fn client(dirs: &[PathBuf], name: &str, at_least: u32) -> anyhow::Result<PathBuf> {
        let found = dirs
            .iter()
            .map(|dir| dir.join(name))
            .filter_map(|program| Some((version_of(&program)?, program)))
            .filter(|(major, _)| *major >= at_least)
            .min_by_key(|(major, _)| *major);
        match found {
            Some((_, program)) => Ok(program),
            None => bail!(
                "there is no {name} of PostgreSQL {at_least} or newer in PATH or in \
                 /usr/lib/postgresql: install the Debian package `postgresql-client-{at_least}`"
            ),
        }
    }

    /// A program by its name.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The folders that a pattern with one `*` stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![pattern.into()];
    };
    let (dir, prefix) = before.rsplit_once('/').unwrap_or((before, ""));
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(prefix))
        .map(|name| PathBuf::from(format!("{dir}/{name}{after}")))
        .collect()
}

/// Major version of the programs in a folder, if they are there and run.
fn version(dir: &Path) -> Option<u32> {
    if !dir.join("initdb").is_file() {
        return None;
    }
    version_of(&dir.join("postgres"))
}

/// Major version that a program tells, if it is there and runs.
fn version_of(program: &Path) -> Option<u32> {
    let said = std::process::Command::new(program)
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let number = said
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
