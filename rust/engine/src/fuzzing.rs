//! Ways into state machines and decoders that are nobody's business outside, for `rust/fuzz`. Only
//! with the feature `fuzzing`, which no product build has.

use crate::delivery::Arrival;
use crate::ephemeral::Ephemeral;
use crate::query::{From, Page, Query};
use crate::send_queue::{Bounds, BufferPool, Newest, SendQueue};
use crate::wheel::Wheel;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use std::rc::Rc;

pub use crate::links::fuzzing::Gateway;

/// A send queue before a socket that takes a few kilobytes.
pub struct Queue {
    near: OwnedFd,
    far: OwnedFd,
    pool: BufferPool,
    inner: SendQueue,
    bounds: Bounds,
}

impl Queue {
    /// # Errors
    /// What making the sockets reports.
    pub fn new(bytes: usize, frames: usize) -> Result<Self, Errno> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )?;
        // The kernel makes it the least that it allows.
        sockopt::set_socket_send_buffer_size(&near, 1)?;
        Ok(Self {
            near,
            far,
            pool: BufferPool::default(),
            inner: SendQueue::default(),
            bounds: Bounds { bytes, frames },
        })
    }

    /// Appends a frame of the connection's own.
    pub fn own(&mut self, frame: &[u8]) {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
        self.inner.append_with(&mut self.pool, write);
    }

    /// Appends `frames` frames that others send too: `start..end` of a buffer.
    pub fn shared(&mut self, buffer: Vec<u8>, start: usize, end: usize, frames: u32) {
        self.inner
            .append_shared(&Rc::new(buffer), start, end, frames);
    }

    /// Appends or replaces an ephemeral frame. `None`: there was no room; else whether it replaced one.
    pub fn newest(&mut self, key: u64, frame: &[u8]) -> Option<bool> {
        match self.inner.append_newest(key, frame, self.bounds) {
            Newest::Added => Some(false),
            Newest::Replaced => Some(true),
            Newest::Refused => None,
        }
    }

    pub fn drop_newest(&mut self) -> usize {
        self.inner.drop_newest()
    }

    pub fn keep_begun(&mut self) {
        self.inner.keep_begun(&mut self.pool);
    }

    /// Writes what the socket takes; returns how many bytes that were.
    ///
    /// # Errors
    /// What `sendmsg(2)` reports.
    pub fn write(&mut self) -> Result<usize, Errno> {
        let before = self.inner.bytes();
        self.inner.write_to(&mut &self.near, &mut self.pool)?;
        Ok(before - self.inner.bytes())
    }

    /// Reads at the other end, `limit` bytes at most.
    pub fn read(&mut self, limit: usize, out: &mut Vec<u8>) {
        let mut buffer = vec![0; limit];
        if let Ok(count) = rustix::io::read(&self.far, &mut buffer) {
            out.extend_from_slice(&buffer[..count]);
        }
    }

    /// Bytes and frames that wait.
    pub fn waiting(&self) -> (usize, usize) {
        (self.inner.bytes(), self.inner.frames())
    }

    /// Gives the queue to the pool and takes one from it, as for a connection that went and one that
    /// came.
    pub fn renew(&mut self) -> Result<(), Errno> {
        let (bytes, frames) = (self.bounds.bytes, self.bounds.frames);
        let old = std::mem::replace(self, Self::new(bytes, frames)?);
        self.pool = old.pool;
        self.pool.give_queue(Box::new(old.inner));
        self.inner = *self.pool.take_queue();
        Ok(())
    }
}

/// Decodes what frames between workers carry. What is read must say the same once written.
///
/// # Panics
/// It says something else.
pub fn link_payload(bytes: &[u8]) {
    if let Ok(arrival) = Arrival::decode(1, bytes) {
        let mut again = Vec::new();
        arrival.encode(&mut again);
        assert_eq!(Arrival::decode(1, &again).as_ref(), Ok(&arrival));
    }
    if let Ok(page) = Page::decode(bytes) {
        let mut again = Vec::new();
        page.encode(&mut again);
        assert_eq!(Page::decode(&again).as_ref(), Ok(&page));
    }
    if let Ok(query) = Query::decode(bytes) {
        let mut again = Vec::new();
        query.encode(&mut again);
        assert_eq!(Query::decode(&again).as_ref(), Ok(&query));
    }
    if let Some(from) = From::decode(bytes) {
        let again = from.encode();
        assert_eq!(From::decode(&again).map(From::encode), Some(again));
    }
    let message = Ephemeral::parse(bytes);
    let parts = [
        message.tenant.len(),
        message.user.len(),
        message.content.len(),
    ];
    assert!(parts.into_iter().all(|length| length <= bytes.len()));
}

/// The wheel of time-outs.
#[derive(Default)]
pub struct Timeouts(Wheel);

impl Timeouts {
    pub fn set(&mut self, slot: u32, now: u32, delay: u32) {
        self.0.set(slot, now, delay);
    }

    pub fn clear(&mut self, slot: u32) {
        self.0.clear(slot);
    }

    /// The slots that became due, in order.
    pub fn sweep(&mut self, now: u32) -> Vec<u32> {
        let mut due = Vec::new();
        self.0.sweep(now, &mut due);
        due.sort_unstable();
        due
    }
}
