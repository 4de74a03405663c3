//! The port to disk, locks and time: everything the log asks of an operating system.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A file system as the log needs it. `StdFs` is the real one, `sim::SimFs` the simulated one.
pub trait FileSystem: Send + Sync {
    /// Creates `dir` and its missing parents, durably: the parents' entries are synced too.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in `dir`, sorted; names that are not UTF-8 are left out (none of ours).
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a file that must not exist yet, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Makes created, renamed and removed entries of `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames within one directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that `path` stands for, without waiting: `WouldBlock` when it is held.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Monotonic time in nanoseconds from an arbitrary origin; for durations only.
    fn now_ns(&self) -> u64;
}

/// An open file. Offsets and lengths are in bytes.
pub trait File: Send + Sync {
    /// The file's present length.
    fn length(&self) -> io::Result<u64>;
    /// Reads at `offset`; fewer bytes than asked only before the end of the file, 0 at it.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes the parts one behind the other at `offset` with one call; may write fewer bytes than given.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Makes data and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes data and all metadata durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
    /// Sets the length.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Forgets cached pages that are not dirty, so that what is read next comes from the disk. After a failed
    /// sync Linux keeps pages in its cache, marked clean, that the disk never got.
    fn evict(&self) -> io::Result<()>;
}

/// A held lock, free again when dropped, with one number beside it that everyone who holds or held it sees.
pub trait Lock: Send {
    /// Publishes the holder's epoch. Needs no durability: a power cut ends all writers.
    fn publish(&self, epoch: u64) -> io::Result<()>;
    /// The epoch published last, 0 if none; `None` when the lock's file was removed under its holder.
    fn published(&self) -> io::Result<Option<u64>>;
}
