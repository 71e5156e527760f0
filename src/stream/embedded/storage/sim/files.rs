//! The simulated disk behind the seam that the log uses.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Inode, Node, SECTOR, SimDisk, State, died, is_root};
use crate::stream::embedded::storage::{LockError, Storage, StorageFile, StorageLock};

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
            return Err(LockError::Held(Some("process 1".to_owned())));
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

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) at: usize,
    pub(super) process: u64,
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
