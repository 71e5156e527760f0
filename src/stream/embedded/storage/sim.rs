//! A simulated disk that forgets, tears and refuses as real ones may, from a seed.
//!
//! - Bytes written and not synced live in 512-byte sectors that persist or vanish one by one at a
//!   power cut; a changed length persists or vanishes too.
//! - A name that was created, renamed or removed without a sync of its folder is, after a power
//!   cut, the old one or the new one, each name for itself.
//! - A sync may fail: some sectors reach the disk, all are called clean, and the cache may drop
//!   what never arrived at the next restart.
//! - Writes may be short; space may run out, also in the middle of a write.
//! - Any single step may be the last one before a crash, done in part.

mod chance;
mod files;
mod inode;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use chance::Chance;
use files::SimFile;
use inode::Inode;

use super::StorageFile;

const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug)]
struct State {
    chance: Chance,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    inodes: Vec<Inode>,
    capacity: u64,
    steps: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// Handles of an earlier process do nothing.
    process: u64,
    locked: bool,
    failing_syncs: u32,
    failing_writes: u32,
    short_writes: bool,
}

/// The disk. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// kill -9: the page cache stays.
    Kill,
    /// Power cut: only what was synced is certain.
    PowerCut,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            chance: Chance::new(seed),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            inodes: Vec::new(),
            capacity: u64::MAX,
            steps: 0,
            crash_at: None,
            crashed: false,
            process: 0,
            locked: false,
            failing_syncs: 0,
            failing_writes: 0,
            short_writes: true,
        })))
    }

    /// Steps done so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Lets the process die at the `n`th step from now, 1 being the next.
    pub(crate) fn crash_in(&self, n: u64) {
        let mut state = self.0.lock();
        state.crash_at = Some(state.steps + n);
    }

    /// Whether the process has died.
    pub(crate) fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Lets the next `n` syncs fail.
    pub(crate) fn fail_syncs(&self, n: u32) {
        self.0.lock().failing_syncs = n;
    }

    /// Lets the next `n` writes run out of space half-way, as file systems without real
    /// preallocation do.
    pub(crate) fn fail_writes(&self, n: u32) {
        self.0.lock().failing_writes = n;
    }

    /// Bytes that all files together may take.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes that all files take.
    pub(crate) fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The machine, or the process, comes back.
    pub(crate) fn restart(&self, end: End) {
        let mut state = self.0.lock();
        let state = &mut *state;
        let chance = &mut state.chance;
        // Sometimes all of it, sometimes nothing, mostly some.
        let luck = [0, 1, 2, 3, 4][chance.below(5) as usize];
        for inode in &mut state.inodes {
            if end == End::PowerCut {
                inode.cut_power(chance, luck);
            } else {
                inode.drop_cache(chance);
            }
        }
        if end == End::PowerCut {
            let names: BTreeSet<PathBuf> = state
                .live
                .keys()
                .chain(state.durable.keys())
                .cloned()
                .collect();
            let mut kept = BTreeMap::new();
            for name in names {
                let (old, new) = (state.durable.get(&name), state.live.get(&name));
                let node = if chance.hits(luck, 4) { new } else { old };
                let parent = name.parent().map(Path::to_owned);
                let orphan = parent.is_some_and(|p| !is_root(&p) && !kept.contains_key(&p));
                if let Some(node) = node.filter(|_| !orphan) {
                    kept.insert(name, *node);
                }
            }
            state.live = kept.clone();
            state.durable = kept;
        }
        state.crash_at = None;
        state.crashed = false;
        state.failing_syncs = 0;
        state.failing_writes = 0;
        state.process += 1;
        state.locked = false;
    }

    /// Every file with its bytes, as a reader sees them.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        let files = state.live.iter().filter_map(|(path, node)| match node {
            Node::File(at) => Some((path.clone(), state.inodes[*at].live.clone())),
            Node::Dir => None,
        });
        files.collect()
    }

    /// A disk of its own that holds the same, all of it durable, nothing injected.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new(0);
        {
            let (from, mut to) = (self.0.lock(), copy.0.lock());
            to.live = from.live.clone();
            to.durable = from.live.clone();
            to.short_writes = false;
            for inode in &from.inodes {
                let (live, durable) = (inode.live.clone(), inode.live.clone());
                to.inodes.push(Inode {
                    live,
                    durable,
                    ..Inode::default()
                });
            }
        }
        copy
    }

    /// Changes a file behind the log's back.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let Some(Node::File(at)) = state.live.get(path).copied() else {
            panic!("no file {}", path.display());
        };
        let inode = &mut state.inodes[at];
        change(&mut inode.live);
        inode.durable = inode.live.clone();
    }

    /// Takes a file away behind the log's back.
    pub(crate) fn lose(&self, path: &Path) {
        let mut state = self.0.lock();
        state.live.remove(path).expect("a file");
        state.durable.remove(path);
    }

    fn file(&self, at: usize) -> Arc<dyn StorageFile> {
        let process = self.0.lock().process;
        Arc::new(SimFile {
            disk: self.clone(),
            at,
            process,
        })
    }
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

fn died() -> io::Error {
    io::Error::other("the simulated process has died")
}

impl State {
    fn used(&self) -> u64 {
        let files = self.live.values().filter_map(|node| match node {
            Node::File(at) => Some(self.inodes[*at].live.len() as u64),
            Node::Dir => None,
        });
        files.sum()
    }

    /// Counts a step; an error if the process is dead, `true` if it dies in this very step.
    fn step(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(died());
        }
        self.steps += 1;
        self.crashed = self.crash_at == Some(self.steps);
        Ok(self.crashed)
    }

    /// A step on names that is done wholly, or not at all if the process dies in it.
    fn name_step(&mut self, change: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let dies = self.step()?;
        if dies {
            if self.chance.hits(1, 2) {
                change(self)?;
            }
            return Err(died());
        }
        change(self)
    }

    fn room_for(&self, more: u64) -> u64 {
        self.capacity.saturating_sub(self.used()).min(more)
    }
}
