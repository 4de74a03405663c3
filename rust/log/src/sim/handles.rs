//! Open files and held locks of the simulated machine.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Fault, Operation, SimFs, State, alive};
use crate::file_system::{File, Lock};

pub(super) struct SimFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) boot: u64,
    pub(super) inode: usize,
}

impl SimFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        alive(&self.state, self.boot)
    }

    fn sync(&self, ignored: bool) -> io::Result<()> {
        let mut state = self.alive()?;
        let fault = state.begin(Operation::Sync)?;
        state.now_ns += state.sync_ns;
        let inode = &mut state.inodes[self.inode];
        if let Some(Fault::Error(number)) = fault {
            inode.forget_unsynced();
            return Err(io::Error::from_raw_os_error(number));
        }
        if !ignored {
            inode.sync();
        }
        if let Some(Fault::Late(number)) = fault {
            return Err(io::Error::from_raw_os_error(number));
        }
        Ok(())
    }
}

impl File for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.alive()?.inodes[self.inode].cache.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.alive()?;
        let rest = state.inodes[self.inode]
            .cache
            .get(offset as usize..)
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.alive()?;
        let fault = state.begin(Operation::Write)?;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        match fault {
            Some(Fault::Error(number) | Fault::Late(number)) => {
                return Err(io::Error::from_raw_os_error(number));
            }
            Some(Fault::Short(count)) => bytes.truncate(count),
            None => {}
        }
        if let Some(capacity) = state.capacity {
            let length = state.inodes[self.inode].cache.len() as u64;
            let end = length + capacity.saturating_sub(state.used());
            bytes.truncate(end.saturating_sub(offset) as usize);
            if bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        state.now_ns += 1_000;
        let count = bytes.len();
        state.inodes[self.inode].write(offset, bytes);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let ignored = self.alive()?.data_syncs_ignored;
        self.sync(ignored)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(false)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        state.begin_whole(Operation::Truncate)?;
        state.inodes[self.inode].truncate(length);
        Ok(())
    }

    fn evict(&self) -> io::Result<()> {
        self.alive()?.inodes[self.inode].evict();
        Ok(())
    }
}

pub(super) struct SimLock {
    pub(super) fs: SimFs,
    pub(super) path: PathBuf,
    pub(super) holder: u64,
}

impl Lock for SimLock {
    fn publish(&self, epoch: u64) -> io::Result<()> {
        self.fs
            .alive()?
            .locks
            .entry(self.path.clone())
            .or_default()
            .epoch = epoch;
        Ok(())
    }

    fn published(&self) -> io::Result<Option<u64>> {
        Ok(Some(
            self.fs
                .alive()?
                .locks
                .get(&self.path)
                .map_or(0, |lock| lock.epoch),
        ))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.fs.alive()
            && let Some(lock) = state.locks.get_mut(&self.path)
            && lock.holder == Some(self.holder)
        {
            lock.holder = None;
        }
    }
}
