//! The disk as the log uses it: the seam under which a simulated disk proves the log.
//!
//! Everything the log does to a file goes through [`Storage`] and [`StorageFile`], so that a test
//! can stop, tear, refuse or forget any single step. What the log relies on, and nothing more:
//! - a write is durable only after [`StorageFile::sync_data`] of that file answered Ok;
//! - a created, renamed or removed name is durable only after [`Storage::sync_dir`] of its folder;
//! - after a failed sync nothing is known about the bytes since the last one that succeeded.

mod disk;
#[cfg(test)]
pub(crate) mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use disk::Disk;

/// A place that holds the log's files.
pub trait Storage: Send + Sync + 'static {
    /// Creates `dir` and its parents; fine if it exists.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names in `dir`, sorted. An absent folder is [`io::ErrorKind::NotFound`].
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates an empty file, or empties the one there is.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;
    /// Gives a file another name; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of `path` until the guard is dropped.
    fn lock(&self, path: &Path) -> Result<Box<dyn StorageLock>, LockError>;
}

/// An open file.
pub trait StorageFile: Send + Sync + 'static {
    /// Writes some of `bytes` at `pos`; answers how many.
    fn write_at(&self, bytes: &[u8], pos: u64) -> io::Result<usize>;
    /// Reads into `buf` from `pos`; answers how many, 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize>;
    /// Makes the file's bytes and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the file `len` bytes long, with the space reserved and reading as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Length in bytes, preallocation included.
    fn len(&self) -> io::Result<u64>;
    /// The first position at or after `pos` that may hold anything but zeros.
    fn next_data(&self, pos: u64) -> io::Result<Option<u64>>;

    /// Writes all of `bytes` at `pos`. An error leaves an unknown part of them written.
    fn write_all_at(&self, mut bytes: &[u8], mut pos: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, pos) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    pos += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buf` from `pos` as far as the file goes; answers how many bytes that was.
    fn read_full_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], pos + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// Holds the lock of a log's folder; dropping it lets the next one in.
pub trait StorageLock: Send + Sync {}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another log of this one, holds it.
    #[error("held by {}", .0.as_deref().unwrap_or("another process"))]
    Held(Option<String>),
    /// The lock file cannot be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether `error` means that space has run out, which is no damage and passes by itself.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
