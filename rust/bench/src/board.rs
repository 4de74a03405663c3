//! What the processes of one run tell each other while it lasts: a file of counters in memory.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::failure::{Doing as _, Failure};

/// A counter for each process, and one for when nothing is sent any more.
pub(crate) struct Board {
    file: File,
    own: usize,
    processes: usize,
}

const BYTES: usize = size_of::<u64>();

impl Board {
    /// A board for that many processes, and the path by which they open it while this one lives.
    pub(crate) fn create(processes: usize) -> Result<(Self, PathBuf), Failure> {
        let file = File::from(memfd_create("board", MemfdFlags::CLOEXEC).doing("memfd_create")?);
        file.set_len(((processes + 1) * BYTES) as u64)
            .map_err(|error| Failure::Said(format!("board: {error}")))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let board = Self {
            file,
            own: 0,
            processes,
        };
        Ok((board, path.into()))
    }

    /// The board at `path`, for process `own`.
    pub(crate) fn open(path: &Path, own: usize, processes: usize) -> Result<Self, Failure> {
        let file = File::options().read(true).write(true).open(path);
        Ok(Self {
            file: file.map_err(|error| Failure::Said(format!("{}: {error}", path.display())))?,
            own,
            processes,
        })
    }

    /// Says how far this process is.
    pub(crate) fn tell(&self, progress: u64) -> Result<(), Failure> {
        self.set(self.own, progress)
    }

    /// How far the process is that is the least far.
    pub(crate) fn least(&self) -> Result<u64, Failure> {
        let all = (0..self.processes).map(|index| self.get(index));
        Ok(all
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .min()
            .unwrap_or(0))
    }

    /// Says that `sent` were sent and no more will be.
    pub(crate) fn tell_last(&self, sent: u64) -> Result<(), Failure> {
        self.set(self.processes, sent + 1)
    }

    /// How many were sent, once no more will be.
    pub(crate) fn last(&self) -> Result<Option<u64>, Failure> {
        Ok(self.get(self.processes)?.checked_sub(1))
    }

    fn set(&self, index: usize, value: u64) -> Result<(), Failure> {
        let written = self
            .file
            .write_all_at(&value.to_ne_bytes(), (index * BYTES) as u64);
        written.map_err(|error| Failure::Said(format!("board: {error}")))
    }

    fn get(&self, index: usize) -> Result<u64, Failure> {
        let mut bytes = [0; BYTES];
        let read = self.file.read_exact_at(&mut bytes, (index * BYTES) as u64);
        read.map_err(|error| Failure::Said(format!("board: {error}")))?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_see_who_is_the_least_far_and_when_the_last_was_sent() {
        let (board, path) = Board::create(2).expect("a file in memory");
        let [first, second] = [0, 1].map(|own| Board::open(&path, own, 2).expect("open"));
        first.tell(7).expect("room");
        assert_eq!(second.least().expect("readable"), 0);
        second.tell(5).expect("room");
        assert_eq!((first.least().ok(), board.least().ok()), (Some(5), Some(5)));
        assert_eq!(second.last().expect("readable"), None);
        first.tell_last(0).expect("room");
        assert_eq!(second.last().expect("readable"), Some(0));
    }
}
