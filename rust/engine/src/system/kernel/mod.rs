//! The kernel, the real disk, and a thread a log.

mod poller;
pub(crate) mod socket;

pub(crate) use poller::Poller;

use crate::archiving::LogBehind;
use imfast_log::{FileSystem, Log, StdFs};
use imfast_partition::archive::Archive;
use imfast_warm::{FjallArchive, OpenOptions};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A connection, or a listening socket.
pub type Socket = OwnedFd;
/// Where the threads of logs leave outcomes.
pub(crate) type Completions = Arc<imfast_log::Completions>;
/// The writing side of one partition's log.
pub(crate) type Writer = imfast_log::Writer;
/// What writes one partition's archive.
pub(crate) type Archiver = imfast_warm::Applier;

/// The system that this process runs on.
#[derive(Debug, Clone, Default)]
pub struct System;

#[expect(clippy::unused_self, reason = "the simulated system has state")]
impl System {
    /// What reports which sockets are ready; `tick` is the period of its timer, and one poll takes
    /// `events` of them at most.
    pub(crate) fn poller(&self, tick: Duration, events: usize) -> Result<Poller, Errno> {
        Poller::new(tick, events)
    }

    /// Outcomes of logs, which wake `poller`.
    pub(crate) fn completions(&self, poller: &Poller) -> Result<Completions, Errno> {
        let waker = poller.waker()?;
        Ok(imfast_log::Completions::new(move || {
            poller::notify(waker.as_fd());
        }))
    }

    /// Moves the writing side of a log to a thread of its own.
    pub(crate) fn start(&self, log: Log, completions: Completions) -> std::io::Result<Writer> {
        log.start(completions)
    }

    /// Opens the archive of a partition below its log's directory.
    pub(crate) fn archive(
        &self,
        _partition: u16,
        dir: &Path,
        options: OpenOptions,
    ) -> std::io::Result<Arc<dyn Archive>> {
        Ok(Arc::new(FjallArchive::open_with(dir, options)?))
    }

    /// Moves an archive out of the way: a person may want to look at it.
    pub(crate) fn put_archive_aside(
        &self,
        _partition: u16,
        dir: &Path,
        epoch: u64,
    ) -> std::io::Result<()> {
        std::fs::rename(dir, dir.with_extension(format!("aside-{epoch}")))
    }

    /// Starts the thread that writes an archive; what it ends wakes `poller`.
    pub(crate) fn archiver(
        &self,
        partition: u16,
        archive: Arc<dyn Archive>,
        log: LogBehind,
        poller: &Poller,
    ) -> std::io::Result<Archiver> {
        let waker = poller.waker()?;
        Archiver::start(u32::from(partition), archive, log, move || {
            poller::notify(waker.as_fd());
        })
    }

    /// The disk that holds a partition.
    pub(crate) fn file_system(&self, _partition: u16) -> Arc<dyn FileSystem> {
        Arc::new(StdFs)
    }

    /// Random bits.
    pub(crate) fn nonce(&self) -> Result<u64, Errno> {
        let mut nonce = [0; 8];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty())?;
        Ok(u64::from_le_bytes(nonce))
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock {
            started: Instant::now(),
        }
    }

    /// Connects to the Unix socket at `path`.
    pub(crate) fn connect(&self, path: &str) -> Result<Socket, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }
}

/// Both clocks of one engine.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// Milliseconds since the engine's start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Milliseconds since 1970; it may go backwards.
    #[expect(clippy::unused_self, reason = "the simulated clock has one of its own")]
    pub(crate) fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64)
    }
}
