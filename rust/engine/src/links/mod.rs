//! Links between the workers of a node: a gateway dials the owner of a partition when it first
//! needs it, over the owner's Unix socket.
//!
//! Requests go one way; answers, committed rows and watermarks come back on one numbered stream.
//! Whatever is lost, the stream is made good: a gap, a stale epoch or silence breaks the link, the
//! gateway dials again and names its watermarks, the owner sends what it committed since, and the
//! gateway repeats the requests that were not answered, in their order. A frame lost at the very
//! end of the stream shows at the next beat.

mod frame;
#[cfg(all(feature = "fuzzing", not(feature = "simulation")))]
pub(crate) mod fuzzing;
mod gateway_side;
mod link;
mod owner_side;

pub(crate) use frame::Kind;

use crate::config::EngineConfig;
use crate::crash::{self, Event};
use crate::engine::Engine;
use crate::origin::Waiter;
use crate::slab::{Handle, Slab};
use crate::system::{Accepted, Read, Socket, Source, socket};
use frame::NO_PARTITION;
use imfast_wire::frames::codes;
use imfast_wire::frames::server::ServerBody;
use link::{Broken, Link, Side};
use rustix::io::Errno;
use std::collections::VecDeque;

/// Engine milliseconds without a sign of life after which a link is given up.
const SILENCE_MS: u64 = 3_000;
/// How long a client waits for an owner before it is told that the outcome is not known.
const PATIENCE_MS: u64 = 10_000;
/// Pause between attempts to reach an owner.
const REDIAL_MS: u64 = 50;

/// A request that its owner has not answered.
struct Pending {
    kind: Kind,
    partition: u16,
    payload: Vec<u8>,
    /// None once the client was told or went; the request itself is still repeated after a break.
    waiter: Option<Waiter>,
    answered: bool,
    asked_ms: u64,
}

/// The way to one other worker's partitions.
#[derive(Default)]
struct Remote {
    link: Option<Handle>,
    /// `Welcome` came: requests flow.
    open: bool,
    /// Number of the first request in `unanswered`.
    first: u64,
    unanswered: VecDeque<Pending>,
    bytes: usize,
    redial_at_ms: u64,
    wanted: bool,
}

/// All links of this worker.
pub(crate) struct Links {
    listener: Option<Socket>,
    /// No descriptor was left to accept with: epoll does not watch the listener, or it would spin.
    resting: bool,
    slab: Slab<Link>,
    /// By worker: our way to its partitions.
    remotes: Vec<Remote>,
    /// By worker: its way to ours.
    accepted: Vec<Option<Handle>>,
    /// Per partition, as the owner told: its epoch, 0 before it did.
    epochs: Vec<u64>,
    dirty: Vec<u32>,
    queue_bytes: usize,
}

impl Links {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let workers = config.workers as usize;
        Self {
            listener: None,
            resting: false,
            slab: Slab::default(),
            remotes: (0..workers)
                .map(|_| Remote {
                    first: 1,
                    ..Remote::default()
                })
                .collect(),
            accepted: vec![None; workers],
            epochs: vec![0; config.owners.len()],
            dirty: Vec::new(),
            queue_bytes: config.link_queue_bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Bytes that wait for other workers to read them.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.slab.iter().map(|(_, link)| link.queued_bytes()).sum()
    }

    /// Whether every wanted link stands: nobody has to be dialled or accepted.
    pub(crate) fn settled(&self) -> bool {
        !self.resting && self.remotes.iter().all(|r| r.open || !r.wanted)
    }

    fn touch(&mut self, slot: u32) {
        if !self.dirty.contains(&slot) {
            self.dirty.push(slot);
        }
    }
}

impl Engine {
    /// Serves the Unix socket on which other workers dial this one.
    pub fn listen_links(&mut self, fd: Socket) -> Result<(), Errno> {
        socket::prepare_listener(&fd)?;
        self.io.poller.add(&fd, Source::LinkListener, false)?;
        self.links.listener = Some(fd);
        Ok(())
    }

    pub(crate) fn accept_links(&mut self) {
        while let Some(listener) = &self.links.listener {
            match socket::accept(listener) {
                Accepted::Connection(fd, _) => {
                    self.adopt_link(fd, Side::Owner, None);
                }
                Accepted::Empty => {
                    let poller = &self.io.poller;
                    if self.links.resting
                        && poller.add(listener, Source::LinkListener, false).is_ok()
                    {
                        self.links.resting = false;
                    }
                    return;
                }
                // The peer waits in the queue; the next timer looks again.
                Accepted::Exhausted => {
                    if !self.links.resting {
                        self.links.resting = self.io.poller.remove(listener).is_ok();
                    }
                    return;
                }
            }
        }
    }

    fn adopt_link(&mut self, fd: Socket, side: Side, peer: Option<u8>) -> Option<Handle> {
        let now_ms = self.now_ms;
        let handle = self.links.slab.insert(Link::new(fd, side, peer, now_ms));
        let source = Source::Link {
            slot: handle.slot,
            generation: handle.generation,
        };
        let link = self.links.slab.get(handle.slot)?;
        if self.io.poller.add(&link.fd, source, false).is_err() {
            self.links.slab.remove(handle.slot);
            return None;
        }
        Some(handle)
    }

    pub(crate) fn link_ready(&mut self, handle: Handle, readable: bool, writable: bool) {
        if writable {
            self.links.touch(handle.slot);
        }
        if !readable {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let broken = self.read_link(handle, &mut buffer);
        self.buffer = buffer;
        if let Err(broken) = broken {
            self.break_link(handle, broken);
        }
    }

    fn read_link(&mut self, handle: Handle, buffer: &mut [u8]) -> Result<(), Broken> {
        let now_ms = self.now_ms;
        let Some(link) = self.links.slab.resolve_mut(handle) else {
            return Ok(());
        };
        match socket::read(&link.fd, buffer) {
            Read::Bytes(count) => link.feed(&buffer[..count], now_ms),
            Read::Empty => return Ok(()),
            Read::Closed => return Err(Broken::Closed),
        }
        let bytes = link.take_incoming();
        let mut consumed = 0;
        let mut result = Ok(());
        while let Some(link) = self.links.slab.resolve_mut(handle) {
            let side = link.side;
            let (frame, length) = match link.next_frame(&bytes[consumed..]) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(broken) => {
                    result = Err(broken);
                    break;
                }
            };
            consumed += length;
            self.io.stats.link_frames += 1;
            let served = match side {
                Side::Owner => self.owner_frame(handle, &frame),
                Side::Gateway => self.gateway_frame(handle, &frame),
            };
            if let Err(broken) = served {
                result = Err(broken);
                break;
            }
        }
        if let Some(link) = self.links.slab.resolve_mut(handle) {
            link.restore(bytes, consumed);
        }
        result
    }

    /// Gives a link up. A gateway dials again; an owner waits to be dialled.
    fn break_link(&mut self, handle: Handle, broken: Broken) {
        let Some(link) = self.links.slab.resolve(handle) else {
            return;
        };
        let (side, peer) = (link.side, link.peer);
        crash::note(
            Event::LinkBroken,
            self.now_ms,
            u64::from(peer.unwrap_or(u8::MAX)),
            broken.number(),
        );
        self.links.slab.remove(handle.slot);
        if broken != Broken::Closed {
            self.io.stats.link_breaks += 1;
        }
        let Some(peer) = peer.map(usize::from) else {
            return;
        };
        match side {
            Side::Gateway => {
                if let Some(remote) = self.links.remotes.get_mut(peer)
                    && remote.link == Some(handle)
                {
                    remote.link = None;
                    remote.open = false;
                    remote.redial_at_ms = self.now_ms;
                    // A second copy of an ephemeral message is worse than none.
                    let mut dropped = Vec::new();
                    for pending in &mut remote.unanswered {
                        if pending.kind == Kind::Ephemeral && !pending.answered {
                            pending.answered = true;
                            remote.bytes -= std::mem::take(&mut pending.payload).len();
                            dropped.extend(pending.waiter.take());
                        }
                    }
                    for waiter in dropped {
                        let body = ServerBody::error(&codes::PARTITION_UNAVAILABLE, 0, "");
                        self.answered(waiter, body);
                    }
                    self.dial(peer as u8);
                }
            }
            Side::Owner => {
                if self.links.accepted.get(peer) == Some(&Some(handle)) {
                    self.links.accepted[peer] = None;
                    self.presence_link_lost(peer as u8);
                }
            }
        }
    }

    /// Writes what links have to send.
    pub(crate) fn flush_links(&mut self) {
        while let Some(slot) = self.links.dirty.pop() {
            let Some(handle) = self.links.slab.handle(slot) else {
                continue;
            };
            self.flush_link(handle);
        }
    }

    fn flush_link(&mut self, handle: Handle) {
        loop {
            let Some(link) = self.links.slab.resolve_mut(handle) else {
                return;
            };
            let source = Source::Link {
                slot: handle.slot,
                generation: handle.generation,
            };
            match link.flush() {
                Ok(done) => {
                    if done == link.writing {
                        link.writing = !done;
                        let writing = link.writing;
                        let failed = self
                            .io
                            .poller
                            .modify(&link.fd, source, true, writing)
                            .is_err();
                        if failed {
                            return self.break_link(handle, Broken::Closed);
                        }
                    }
                    // A link that fell behind is fed from the rows in memory as it drains.
                    if !done || !self.feed_link(handle) {
                        return;
                    }
                }
                Err(broken) => return self.break_link(handle, broken),
            }
        }
    }

    /// Beats, silence and redialling; every engine tick.
    pub(crate) fn link_timer(&mut self) {
        if self.links.resting {
            self.accept_links();
        }
        let mut silent = Vec::new();
        let mut alive = Vec::new();
        for (slot, link) in self.links.slab.iter() {
            let Some(handle) = self.links.slab.handle(slot) else {
                continue;
            };
            if link.open && link.heard_ms + SILENCE_MS < self.now_ms {
                silent.push(handle);
            } else if link.open || link.side == Side::Gateway {
                // Also before `Welcome`: an owner that lost our `Hello` sees by the beat's number
                // that something is missing.
                alive.push((handle, link.side));
            }
        }
        for handle in silent {
            self.break_link(handle, Broken::Silent);
        }
        for (handle, side) in alive {
            match side {
                Side::Owner => self.beat_as_owner(handle),
                Side::Gateway => {
                    if let Some(link) = self.links.slab.resolve_mut(handle) {
                        link.queue(Kind::Beat, NO_PARTITION, 0, |_| {});
                        self.links.touch(handle.slot);
                    }
                }
            }
        }
        for worker in 0..self.links.remotes.len() {
            self.dial(worker as u8);
        }
    }
}
