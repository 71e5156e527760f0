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

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{LockError, Storage, StorageFile, StorageLock};

const SECTOR: usize = 512;

/// A small generator, so that a seed means the same on every machine and with every library.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Yes in `n` of `of` cases.
    pub(crate) fn hits(&mut self, n: u64, of: u64) -> bool {
        self.below(of) < n
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since the last sync that the system knows of.
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync called clean although the disk does not have them.
    lost: BTreeSet<usize>,
    /// The shortest that the file was since its length was durable.
    cut_to: Option<usize>,
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

impl Inode {
    fn write(&mut self, bytes: &[u8], pos: usize) {
        let end = pos + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[pos..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            for sector in pos / SECTOR..=(end - 1) / SECTOR {
                self.dirty.insert(sector);
                self.lost.remove(&sector);
            }
        }
    }

    fn set_len(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        if len < old {
            self.cut_to = Some(self.cut_to.map_or(len, |cut| cut.min(len)));
        }
        // The rest of the last sector reads as zeros from now on.
        if len < old && !len.is_multiple_of(SECTOR) {
            self.dirty.insert(len / SECTOR);
        }
        self.dirty.retain(|sector| sector * SECTOR < len);
        self.lost.retain(|sector| sector * SECTOR < len);
    }

    /// Brings one sector of `live` to `durable`, as far as both reach.
    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR)
            .min(self.live.len())
            .min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.live[start..end]);
        }
    }

    fn persist_len(&mut self) {
        // Space that was cut off and allocated again reads as zeros, whatever it held.
        self.durable
            .truncate(self.cut_to.take().unwrap_or(usize::MAX));
        self.durable.resize(self.live.len(), 0);
    }

    fn sync(&mut self) {
        self.persist_len();
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
    }

    /// Some of it arrives, in no order.
    fn sync_partly(&mut self, chance: &mut Chance) {
        if chance.hits(1, 2) {
            self.persist_len();
        }
        for sector in self.dirty.clone() {
            if chance.hits(1, 2) {
                self.persist(sector);
            }
        }
    }

    fn cut_power(&mut self, chance: &mut Chance, luck: u64) {
        if chance.hits(luck, 4) {
            self.persist_len();
        }
        self.cut_to = None;
        for sector in std::mem::take(&mut self.dirty) {
            if chance.hits(luck, 4) {
                self.persist(sector);
            }
        }
        self.lost.clear();
        self.live = self.durable.clone();
    }

    /// What a failed sync called clean may be read from the disk again.
    fn drop_cache(&mut self, chance: &mut Chance) {
        for sector in std::mem::take(&mut self.lost) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.live.len());
            if start < end && chance.hits(1, 2) {
                for at in start..end {
                    self.live[at] = self.durable.get(at).copied().unwrap_or(0);
                }
            } else {
                self.lost.insert(sector);
            }
        }
    }
}

impl Storage for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().name_step(|state| {
            let mut parents: Vec<&Path> = dir.ancestors().filter(|p| !is_root(p)).collect();
            parents.reverse();
            for parent in parents.into_iter().filter(|p| !p.as_os_str().is_empty()) {
                state.live.entry(parent.to_owned()).or_insert(Node::Dir);
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        if state.crashed {
            return Err(died());
        }
        if state.live.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.live.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut at = 0;
        self.0.lock().name_step(|state| {
            let parent = path.parent().and_then(|parent| state.live.get(parent));
            if parent != Some(&Node::Dir) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if let Some(Node::File(old)) = state.live.get(path) {
                at = *old;
                state.inodes[at].set_len(0);
            } else {
                at = state.inodes.len();
                state.inodes.push(Inode::default());
                state.live.insert(path.to_owned(), Node::File(at));
            }
            Ok(())
        })?;
        Ok(self.file(at))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let at = {
            let state = self.0.lock();
            if state.crashed {
                return Err(died());
            }
            match state.live.get(path) {
                Some(Node::File(at)) => *at,
                Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        };
        Ok(self.file(at))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().name_step(|state| {
            let node = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.live.insert(to.to_owned(), node);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.lock().name_step(|state| {
            state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let dies = state.step()?;
        if !is_root(dir) && state.live.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let state = &mut *state;
        let inside: BTreeSet<PathBuf> = state
            .live
            .keys()
            .chain(state.durable.keys())
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect();
        for path in inside {
            if dies && state.chance.hits(1, 2) {
                continue;
            }
            match state.live.get(&path) {
                Some(node) => state.durable.insert(path, *node),
                None => state.durable.remove(&path),
            };
        }
        if dies { Err(died()) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn StorageLock>, LockError> {
        let mut state = self.0.lock();
        if state.locked {
            return Err(LockError::Held(Some("pid 1".to_owned())));
        }
        if state.live.get(path.parent().unwrap_or(path)) != Some(&Node::Dir) {
            return Err(LockError::Io(io::ErrorKind::NotFound.into()));
        }
        state.locked = true;
        Ok(Box::new(SimLock {
            disk: self.clone(),
            process: state.process,
        }))
    }
}

struct SimLock {
    disk: SimDisk,
    process: u64,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.process == self.process {
            state.locked = false;
        }
    }
}

struct SimFile {
    disk: SimDisk,
    at: usize,
    process: u64,
}

impl SimFile {
    /// The disk's state, if this handle's process is alive.
    fn state(&self) -> io::Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.disk.0.lock();
        if state.process == self.process && !state.crashed {
            Ok(state)
        } else {
            Err(died())
        }
    }
}

impl StorageFile for SimFile {
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let dies = state.step()?;
        let state = &mut *state;
        let pos = usize::try_from(pos).unwrap();
        let len = state.inodes[self.at].live.len();
        let grows = (pos + bytes.len()).saturating_sub(len) as u64;
        let missing = usize::try_from(grows - state.room_for(grows)).unwrap();
        let mut part = bytes.len() - missing.min(bytes.len());
        let mut full = missing > 0;
        if state.failing_writes > 0 {
            state.failing_writes -= 1;
            full = true;
            part = part.min(state.chance.below(bytes.len() as u64 + 1) as usize);
        }
        if dies || (state.short_writes && state.chance.hits(1, 8)) {
            part = part.min(1 + state.chance.below(bytes.len() as u64) as usize);
        }
        state.inodes[self.at].write(&bytes[..part], pos);
        if dies {
            return Err(died());
        }
        if full && part == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if full {
            // The rest of this write finds no room either.
            state.failing_writes += 1;
        }
        Ok(part)
    }

    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        let state = self.state()?;
        let live = &state.inodes[self.at].live;
        let pos = usize::try_from(pos).unwrap().min(live.len());
        let len = buf.len().min(live.len() - pos);
        buf[..len].copy_from_slice(&live[pos..pos + len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let dies = state.step()?;
        let state = &mut *state;
        let inode = &mut state.inodes[self.at];
        if dies {
            inode.sync_partly(&mut state.chance);
            return Err(died());
        }
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            inode.sync_partly(&mut state.chance);
            // Called clean, arrived or not.
            let lost = std::mem::take(&mut inode.dirty);
            inode.lost.extend(lost);
            return Err(io::Error::from_raw_os_error(5));
        }
        inode.sync();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let dies = state.step()?;
        let now = state.inodes[self.at].live.len() as u64;
        let more = len.saturating_sub(now);
        if state.room_for(more) < more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !dies || state.chance.hits(1, 2) {
            state.inodes[self.at].set_len(usize::try_from(len.max(now)).unwrap());
        }
        if dies { Err(died()) } else { Ok(()) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let dies = state.step()?;
        if !dies || state.chance.hits(1, 2) {
            let inode = &mut state.inodes[self.at];
            inode.set_len(usize::try_from(len).unwrap());
        }
        if dies { Err(died()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.at].live.len() as u64)
    }

    fn next_data(&self, pos: u64) -> io::Result<Option<u64>> {
        let state = self.state()?;
        let live = &state.inodes[self.at].live;
        let pos = usize::try_from(pos).unwrap();
        let found = live
            .get(pos..)
            .and_then(|rest| rest.iter().position(|byte| *byte != 0));
        // As on a file system that knows holes by the block only.
        Ok(found.map(|at| ((pos + at) / SECTOR * SECTOR).max(pos) as u64))
    }
}
