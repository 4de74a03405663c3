//! Ways into hot paths that are nobody's business outside, for `imfast-micro` to count their
//! instructions. Only with the feature `micro`, which no product build has.

use crate::connection::{Connection, Phase};
use crate::groups::{Groups, Slice};
use crate::io::{Io, IoLimits};
use crate::run::Class;
use crate::send_queue::{BufferPool, SendQueue, Shared};
use crate::system::Poller;
use imfast_session::Session;
use imfast_wire::frames::server::{Row, ServerBody, ServerFrame};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The send queue of one connection, which is never written out.
#[derive(Default)]
pub struct Queue {
    pool: BufferPool,
    queue: Box<SendQueue>,
}

/// Encoded frames that several queues send.
pub struct Run(Shared);

impl Queue {
    /// Makes a run of `bytes`.
    pub fn shared(bytes: Vec<u8>) -> Run {
        Run(Rc::new(bytes))
    }

    pub fn append(&mut self, frame: &[u8]) {
        self.queue
            .append_with(&mut self.pool, |out| out.extend_from_slice(frame));
    }

    pub fn append_shared(&mut self, run: &Run, frames: u32) {
        self.queue.append_shared(&run.0, 0, run.0.len(), frames);
    }

    /// Throws away what waits, as for a connection that went.
    pub fn clear(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        self.pool.give_queue(queue);
        self.queue = self.pool.take_queue();
    }
}

/// One group whose subscribers' sockets lead nowhere: nobody reads them.
pub struct FanOut {
    io: Io,
    groups: Groups,
    group: u32,
    due: Vec<u32>,
    position: u64,
    _peers: Vec<OwnedFd>,
}

impl FanOut {
    /// # Errors
    /// What making the sockets reports.
    pub fn new(subscribers: usize) -> Result<Self, Errno> {
        let poller = Poller::new(Duration::from_hours(1), 8)?;
        let limits = IoLimits {
            send_queue_bytes: 1 << 20,
            send_queue_frames: 8192,
            connections_max: subscribers,
        };
        let mut io = Io::new(poller, limits);
        let mut groups = Groups::default();
        let group = groups.insert("default\0g.x", 0, 1, 0);
        let mut peers = Vec::new();
        for _ in 0..subscribers {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::NONBLOCK,
                None,
            )?;
            peers.push(theirs);
            let mut connection = Connection::new(Some(ours), Session::tcp());
            connection.phase = Phase::Connected;
            let handle = io.connections.insert(connection);
            groups.subscribe(&mut io, group, handle.slot);
        }
        Ok(Self {
            io,
            groups,
            group,
            due: Vec::with_capacity(subscribers),
            position: 0,
            _peers: peers,
        })
    }

    /// Encodes a stored message for the group.
    pub fn append(&mut self, row: &[u8]) {
        self.position += 1;
        let frame = ServerFrame::push(ServerBody::Row(Row::Message(row)));
        self.groups
            .append(self.group, &frame, Class::Durable(self.position));
    }

    /// Gives the run to all subscribers; returns the deliveries that this made.
    pub fn slice(&mut self) -> usize {
        let before = self.deliveries();
        let slice = Slice {
            sockets: usize::MAX,
            // Passed already: one slice is worked off, and no more.
            deadline: Instant::now(),
            now_ms: 0,
            wall_ms: 0,
            answers_first: false,
        };
        self.groups
            .run(&mut self.io, slice, &mut self.due, || false);
        self.deliveries() - before
    }

    /// Frames given to subscribers so far.
    pub fn deliveries(&self) -> usize {
        self.io.stats.deliveries as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imfast_wire::frames::row::write_row_prefix;

    #[test]
    fn a_slice_gives_every_subscriber_every_frame() {
        let mut row = Vec::new();
        write_row_prefix(&mut row, "g.x", 1, 1, "alice", 1);
        let mut group = FanOut::new(5).expect("sockets");
        for _ in 0..3 {
            group.append(&row);
        }
        assert_eq!((group.slice(), group.slice()), (15, 0));
    }
}
