//! The real file system, on Linux.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::file_system::{File, FileSystem, Lock};

/// `FileSystem` over the standard library and libc.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdFs;

impl FileSystem for StdFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?,
        ))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            OpenOptions::new().read(true).write(true).open(path)?,
        ))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Somebody may have removed the file between opening and locking: then nobody else meets this lock.
            match fs::metadata(path) {
                Ok(named) if named.ino() == file.metadata()?.ino() => {
                    return Ok(Box::new(FileLock { file }));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    fn now_ns(&self) -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| FileExt::read_at(self, buffer, offset))
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        retry_interrupted(|| {
            // SAFETY: `IoSlice` has the layout of `iovec`; the descriptor and the slices outlive the call, which
            // only reads through them.
            let written = unsafe {
                libc::pwritev(
                    self.as_raw_fd(),
                    parts.as_ptr().cast(),
                    parts.len() as libc::c_int,
                    offset,
                )
            };
            if written < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(written as usize)
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        fs::File::sync_all(self)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn evict(&self) -> io::Result<()> {
        // SAFETY: takes numbers only; the descriptor is open.
        let code =
            unsafe { libc::posix_fadvise(self.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(code))
        }
    }
}

/// An open file with an exclusive `flock`. Closing it frees the lock, also when the process is killed. Children
/// that the process forks share it: a partition is opened only after the last fork.
struct FileLock {
    file: fs::File,
}

impl Lock for FileLock {
    fn publish(&self, epoch: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.file, &epoch.to_le_bytes(), 0)
    }

    fn published(&self) -> io::Result<Option<u64>> {
        if self.file.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        let read = File::read_at(&self.file, 0, &mut bytes)?;
        Ok(Some(if read == bytes.len() {
            u64::from_le_bytes(bytes)
        } else {
            0
        }))
    }
}

fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_one_behind_the_other_at_the_offset() {
        let dir = tempfile::tempdir().unwrap();
        let file = StdFs.create(&dir.path().join("file")).unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(file.write_at(3, &parts).unwrap(), 5);
        file.sync_data().unwrap();
        file.evict().unwrap();
        let mut read = [9; 10];
        assert_eq!(file.read_at(0, &mut read).unwrap(), 8);
        assert_eq!(&read[..8], b"\0\0\0abcde");
    }

    #[test]
    fn lock_is_exclusive_until_dropped_and_shows_a_removed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = StdFs.lock(&path).unwrap();
        assert_eq!(first.published().unwrap(), Some(0));
        first.publish(5).unwrap();
        let Err(refused) = StdFs.lock(&path) else {
            panic!("locked twice")
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        fs::remove_file(&path).unwrap();
        assert_eq!(first.published().unwrap(), None);
        let second = StdFs.lock(&path).unwrap();
        assert_eq!(
            second.published().unwrap(),
            Some(0),
            "a new file knows no epoch"
        );
        drop(second);
        assert!(StdFs.lock(&path).is_ok());
    }

    #[test]
    fn missing_parents_are_created() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        StdFs.create_dir_all(&deep).unwrap();
        StdFs.create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
    }
}
