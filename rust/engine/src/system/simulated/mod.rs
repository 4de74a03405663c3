//! An operating system in memory: nothing happens in it but what its owner lets happen.
//!
//! Bytes that are sent stay in transit until [`World::deliver`] moves them; a log writes when
//! [`crate::Engine::step_log`] says so; time stands still until [`World::advance_to`]. Everything
//! follows from the seed and the calls, whatever the machine.

mod archive;
mod archiver;
mod network;
mod poller;
pub(crate) mod socket;
mod writer;

use archive::Shelf;
pub(crate) use archiver::Archiver;
pub use network::{LinkEnds, Port};
pub(crate) use poller::Poller;
pub use socket::Socket;
pub(crate) use writer::{Completions, Writer};

use crate::archiving::LogBehind;
use imfast_log::sim::SimFs;
use imfast_log::{FileSystem, Log};
use imfast_partition::archive::Archive;
use imfast_warm::OpenOptions;
use network::Network;
use rustix::io::Errno;
use std::cell::{Ref, RefCell, RefMut};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What the wall clock shows when a world begins: 2026-01-01T00:00:00Z, in milliseconds.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// A node's operating system, shared by its workers and by the test that drives it.
#[derive(Clone)]
pub struct World(Rc<RefCell<State>>);

pub(crate) struct State {
    now_ns: u64,
    wall_offset_ms: i64,
    random: Random,
    network: Network,
    /// By partition.
    disks: Vec<SimFs>,
    /// By partition.
    archives: Vec<Shelf>,
}

impl World {
    /// A world with a disk for each partition.
    pub fn new(seed: u64, partitions: u16) -> Self {
        Self(Rc::new(RefCell::new(State {
            now_ns: 0,
            wall_offset_ms: WALL_START_MS,
            random: Random(seed),
            network: Network::default(),
            disks: (0..partitions).map(|_| SimFs::new()).collect(),
            archives: (0..partitions).map(|_| Shelf::default()).collect(),
        })))
    }

    /// The system as `worker` sees it.
    pub fn system(&self, worker: u8) -> System {
        System {
            world: self.clone(),
            worker,
        }
    }

    fn state(&self) -> Ref<'_, State> {
        self.0.borrow()
    }

    fn state_mut(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Nanoseconds since the world began.
    pub fn now_ns(&self) -> u64 {
        self.state().now_ns
    }

    /// Lets time pass; it never goes back.
    pub fn advance_to(&self, now_ns: u64) {
        let mut state = self.state_mut();
        state.now_ns = state.now_ns.max(now_ns);
    }

    /// Sets the wall clock forward or back, as an operator or a time service does.
    pub fn jump_wall(&self, ms: i64) {
        self.state_mut().wall_offset_ms += ms;
    }

    /// The disk that holds a partition, as of its last crash or kill.
    pub fn disk(&self, partition: u16) -> SimFs {
        self.state().disks[partition as usize].clone()
    }

    /// Whether a partition's archive cannot be written or read from now on.
    pub fn set_archive_trouble(&self, partition: u16, writes: bool, reads: bool) {
        self.state().archives[partition as usize].set_trouble(writes, reads);
    }

    /// What a crash or kill left of a partition's disk.
    pub fn replace_disk(&self, partition: u16, disk: SimFs) {
        self.state_mut().disks[partition as usize] = disk;
    }
}

/// One worker's share of a [`World`].
#[derive(Clone)]
pub struct System {
    world: World,
    worker: u8,
}

#[expect(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "the kernel's may fail"
)]
impl System {
    pub(crate) fn poller(&self, tick: std::time::Duration, events: usize) -> Result<Poller, Errno> {
        Ok(Poller::new(self.world.clone(), tick, events))
    }

    pub(crate) fn completions(&self, poller: &Poller) -> Result<Completions, Errno> {
        Ok(Completions::new(poller.waker()))
    }

    pub(crate) fn start(&self, log: Log, completions: Completions) -> std::io::Result<Writer> {
        Ok(Writer::new(log, completions))
    }

    pub(crate) fn archive(
        &self,
        partition: u16,
        _dir: &Path,
        options: OpenOptions,
    ) -> std::io::Result<Arc<dyn Archive>> {
        let archive = self.world.state().archives[partition as usize].clone();
        archive.set_key_budget(options.keys);
        Ok(Arc::new(archive))
    }

    pub(crate) fn put_archive_aside(
        &self,
        partition: u16,
        _dir: &Path,
        _epoch: u64,
    ) -> std::io::Result<()> {
        self.world.state_mut().archives[partition as usize] = Shelf::default();
        Ok(())
    }

    pub(crate) fn archiver(
        &self,
        _partition: u16,
        archive: Arc<dyn Archive>,
        log: LogBehind,
        poller: &Poller,
    ) -> std::io::Result<Archiver> {
        Ok(Archiver::new(
            self.world.clone(),
            archive,
            log,
            poller.waker(),
        ))
    }

    pub(crate) fn file_system(&self, partition: u16) -> Arc<dyn FileSystem> {
        Arc::new(self.world.disk(partition))
    }

    pub(crate) fn nonce(&self) -> Result<u64, Errno> {
        Ok(self.world.state_mut().random.next())
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock {
            started_ns: self.world.now_ns(),
            world: self.world.clone(),
        }
    }

    /// `path` is the number of the worker to reach.
    pub(crate) fn connect(&self, path: &str) -> Result<Socket, Errno> {
        let to = path.parse().map_err(|_| Errno::NOENT)?;
        let ends = LinkEnds {
            gateway: self.worker,
            owner: to,
        };
        let mut state = self.world.state_mut();
        let stream = state.network.open(to, Port::Links, Some(ends));
        drop(state);
        Ok(Socket::end(&self.world, stream, 0))
    }

    /// A listening socket of this worker.
    pub fn listener(&self, port: Port) -> Socket {
        Socket::listener(&self.world, self.worker, port)
    }
}

/// Both clocks of one engine.
pub(crate) struct Clock {
    world: World,
    started_ns: u64,
}

impl Clock {
    pub(crate) fn now_ms(&self) -> u64 {
        (self.world.now_ns() - self.started_ns) / 1_000_000
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        let state = self.world.state();
        let wall = state.wall_offset_ms + (state.now_ns / 1_000_000) as i64;
        wall.max(0) as u64
    }
}

/// `SplitMix64`, as described by Steele, Lea and Flood (2014): small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
