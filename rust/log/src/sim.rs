//! A file system in memory that forgets like a disk: for tests and simulations.
//!
//! What was not synced is lost at a crash, directory entries included, save for the part that a [`Tear`]
//! lets through. Nothing depends on threads, addresses or the wall clock: the same calls give the same bytes.

mod disk;
mod handles;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file_system::{File, FileSystem, Lock};
use disk::{Directory, Entry, Inode, Random};
use handles::{SimFile, SimLock};

/// What a power cut leaves of the bytes and directory entries that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Nothing.
    Lost,
    /// Everything: it had been written back just before.
    Kept,
    /// All directory entries, and of each file the first so many unsynced bytes.
    At(u64),
    /// Per directory and file, as the seed chooses: some of the changes in their order, of the next write some
    /// bytes, and sometimes zeros in place of its others.
    Seeded(u64),
}

/// Kinds of operation that faults are injected into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Writing.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Setting a length.
    Truncate,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// What happens in place of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error number. A failed sync of a file also drops its unsynced bytes, as Linux does: the
    /// cache goes on showing them until it is evicted, the disk never gets them, and the next sync succeeds.
    Error(i32),
    /// A sync brings everything to the disk and reports this error number all the same.
    Late(i32),
    /// A write stops after so many bytes and says so.
    Short(usize),
}

/// A handle of a simulated machine's file system; clones share it. A crash or kill ends all handles and files
/// of before and gives a new handle.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
    boot: u64,
}

#[derive(Default)]
struct State {
    boot: u64,
    directories: BTreeMap<PathBuf, Directory>,
    inodes: Vec<Inode>,
    locks: BTreeMap<PathBuf, LockState>,
    holders: u64,
    operations: u64,
    stop_after: Option<u64>,
    faults: Vec<(Operation, u32, Fault)>,
    capacity: Option<u64>,
    data_syncs_ignored: bool,
    sync_ns: u64,
    now_ns: u64,
}

#[derive(Default)]
struct LockState {
    holder: Option<u64>,
    epoch: u64,
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFs {
    /// An empty file system without a limit.
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            boot: 0,
        }
    }

    /// Cuts the power: only synced data and what `tear` lets through remains; locks are free.
    #[must_use]
    pub fn crash(&self, tear: Tear) -> Self {
        let mut state = self.state();
        let mut random = Random::new(if let Tear::Seeded(seed) = tear {
            seed
        } else {
            0
        });
        for directory in state.directories.values_mut() {
            directory.crash(tear, &mut random);
        }
        for inode in &mut state.inodes {
            inode.crash(tear, &mut random);
        }
        state.locks.clear();
        self.restart(state)
    }

    /// Kills the processes: the system's cache survives, locks are free.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        for lock in state.locks.values_mut() {
            lock.holder = None;
        }
        self.restart(state)
    }

    fn restart(&self, mut state: MutexGuard<'_, State>) -> Self {
        state.boot += 1;
        state.stop_after = None;
        state.faults.clear();
        Self {
            state: Arc::clone(&self.state),
            boot: state.boot,
        }
    }

    /// Frees a lock while its holder lives, as a network file system may.
    pub fn break_lock(&self, path: &Path) {
        if let Some(lock) = self.state().locks.get_mut(path) {
            lock.holder = None;
        }
    }

    /// Changing operations so far: create, write, sync, truncate, rename, remove.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets so many further changing operations through; then every call fails until a crash or kill.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_after = Some(state.operations + operations);
    }

    /// Puts a fault in place of the operation of this kind that follows `skip` others of it. Faults that were
    /// not met are forgotten at a crash or kill.
    pub fn inject(&self, operation: Operation, skip: u32, fault: Fault) {
        self.state().faults.push((operation, skip, fault));
    }

    /// Forgets the faults that were not met.
    pub fn mend(&self) {
        self.state().faults.clear();
    }

    /// Bytes that all files together may have; a write beyond ends short, then fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Makes `sync_data` say yes and do nothing, as in a program that forgot it.
    pub fn ignore_data_syncs(&self, ignored: bool) {
        self.state().data_syncs_ignored = ignored;
    }

    /// Time each sync takes on the simulated clock, ns.
    pub fn set_sync_ns(&self, ns: u64) {
        self.state().sync_ns = ns;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        alive(&self.state, self.boot)
    }

    fn file(&self, inode: usize) -> Arc<dyn File> {
        Arc::new(SimFile {
            state: Arc::clone(&self.state),
            boot: self.boot,
            inode,
        })
    }
}

impl State {
    /// Counts a changing operation and yields the fault that takes its place.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        if self.stop_after.is_some_and(|last| self.operations >= last) {
            return Err(down());
        }
        self.operations += 1;
        let Some(index) = self.faults.iter().position(|fault| fault.0 == operation) else {
            return Ok(None);
        };
        if self.faults[index].1 > 0 {
            self.faults[index].1 -= 1;
            return Ok(None);
        }
        Ok(Some(self.faults.remove(index).2))
    }

    /// As `begin`, for operations in which only an error makes sense.
    fn begin_whole(&mut self, operation: Operation) -> io::Result<()> {
        match self.begin(operation)? {
            Some(Fault::Error(number) | Fault::Late(number)) => {
                Err(io::Error::from_raw_os_error(number))
            }
            _ => Ok(()),
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<(&mut Directory, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let parent = path
            .parent()
            .and_then(|parent| self.directories.get_mut(parent));
        match (parent, name) {
            (Some(directory), Some(name)) => Ok((directory, name.to_owned())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn used(&self) -> u64 {
        let linked = self
            .directories
            .values()
            .flat_map(|directory| directory.live.values());
        linked
            .map(|&inode| self.inodes[inode].cache.len() as u64)
            .sum()
    }
}

impl FileSystem for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        for dir in dir.ancestors() {
            state.directories.entry(dir.to_owned()).or_default();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match self.alive()?.directories.get(dir) {
            Some(directory) => Ok(directory.live.keys().cloned().collect()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.alive()?;
        state.begin_whole(Operation::Create)?;
        let inode = state.inodes.len();
        let (directory, name) = state.directory(path)?;
        if directory.live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.change(Entry::Link(name, inode));
        state.inodes.push(Inode::default());
        Ok(self.file(inode))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.alive()?;
        let (directory, name) = state.directory(path)?;
        match directory.live.get(&name) {
            Some(&inode) => Ok(self.file(inode)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_read(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.begin_whole(Operation::SyncDir)?;
        match state.directories.get_mut(dir) {
            Some(directory) => directory.sync(),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        state.begin_whole(Operation::Rename)?;
        let to = state.directory(to)?.1;
        let (directory, from) = state.directory(from)?;
        if !directory.live.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        directory.change(Entry::Rename(from, to));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.alive()?;
        let (directory, name) = state.directory(path)?;
        if !directory.live.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.begin_whole(Operation::Remove)?;
        state.directory(path)?.0.change(Entry::Unlink(name));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.alive()?;
        state.holders += 1;
        let holder = state.holders;
        let lock = state.locks.entry(path.to_owned()).or_default();
        if lock.holder.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        lock.holder = Some(holder);
        let (fs, path) = (self.clone(), path.to_owned());
        Ok(Box::new(SimLock { fs, path, holder }))
    }

    fn now_ns(&self) -> u64 {
        self.state().now_ns
    }
}

fn alive(state: &Mutex<State>, boot: u64) -> io::Result<MutexGuard<'_, State>> {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let stopped = state
        .stop_after
        .is_some_and(|last| state.operations >= last);
    if state.boot == boot && !stopped {
        Ok(state)
    } else {
        Err(down())
    }
}

fn down() -> io::Error {
    io::Error::other("the simulated machine is down")
}
