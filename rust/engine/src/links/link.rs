//! One Unix-socket connection between two workers: numbering, buffering, and when it is broken.

use super::frame::{self, Frame, Kind};
use crate::origin::Origin;
use crate::query::Query;
use crate::system::{Socket, socket};
use imfast_faults::{Fault, on};
use rustix::io::Errno;
use std::collections::VecDeque;

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// We dialled, to reach the partitions of the peer.
    Gateway,
    /// The peer dialled, to reach ours.
    Owner,
}

/// Why a link is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Closed,
    /// A frame between the last and this one was lost.
    Gap {
        expected: u64,
        found: u64,
    },
    Malformed,
    /// A frame of a former owner, or for one.
    StaleEpoch,
    /// Nothing was heard for too long.
    Silent,
    /// The peer's process was replaced, or it dialled again.
    Replaced,
}

impl Broken {
    /// For a crash report, where there is room for numbers only.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Gap { .. } => 1,
            Self::Malformed => 2,
            Self::StaleEpoch => 3,
            Self::Silent => 4,
            Self::Replaced => 5,
        }
    }
}

/// State of one connection.
pub(super) struct Link {
    pub fd: Socket,
    pub side: Side,
    /// The worker at the other end; unknown to an owner until `Hello`.
    pub peer: Option<u8>,
    /// `Hello` and `Welcome` were exchanged.
    pub open: bool,
    /// When the last bytes came, in engine milliseconds.
    pub heard_ms: u64,
    /// Whether epoll reports that the socket takes more.
    pub writing: bool,
    /// Partitions of which the peer gets rows from memory, and from which position on, because
    /// it dialled late or reads slowly.
    pub behind: Vec<(u16, u64)>,
    /// Catch-up pages asked for meanwhile.
    pub deferred: VecDeque<(u16, Query, Origin)>,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
    next_out: u64,
    next_in: u64,
}

impl Link {
    pub(super) fn new(fd: Socket, side: Side, peer: Option<u8>, now_ms: u64) -> Self {
        Self {
            fd,
            side,
            peer,
            open: false,
            heard_ms: now_ms,
            writing: false,
            behind: Vec::new(),
            deferred: VecDeque::new(),
            outgoing: Vec::new(),
            sent: 0,
            incoming: Vec::new(),
            next_out: 1,
            next_in: 1,
        }
    }

    /// Bytes that wait for the peer.
    pub(super) fn pending(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether live rows of `partition` are held back.
    pub(super) fn is_behind(&self, partition: u16) -> bool {
        self.behind.iter().any(|(behind, _)| *behind == partition)
    }

    /// Queues a frame.
    pub(super) fn queue(
        &mut self,
        kind: Kind,
        partition: u16,
        epoch: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        frame::write(
            &mut self.outgoing,
            kind,
            partition,
            epoch,
            self.next_out,
            write,
        );
        self.next_out += 1;
    }

    /// Writes what is queued. `Ok(false)`: the socket is full.
    pub(super) fn flush(&mut self) -> Result<bool, Broken> {
        while self.sent < self.outgoing.len() {
            match socket::send(&self.fd, &self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => {
                    // Do not let a long-lived backlog keep what was sent already.
                    if self.sent > 1 << 20 {
                        self.outgoing.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Broken::Closed),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        if self.outgoing.capacity() > KEEP_BYTES {
            self.outgoing = Vec::new();
        }
        Ok(true)
    }

    /// Bytes that wait for the peer to read them.
    pub(super) fn queued_bytes(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Takes received bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], now_ms: u64) {
        self.heard_ms = now_ms;
        self.incoming.extend_from_slice(bytes);
    }

    /// Takes the received bytes out, to be walked with [`Link::next_frame`] while the engine is free to
    /// use the link; give the rest back with [`Link::restore`].
    pub(super) fn take_incoming(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.incoming)
    }

    /// Gives back what was not consumed of [`Link::take_incoming`].
    pub(super) fn restore(&mut self, mut bytes: Vec<u8>, consumed: usize) {
        bytes.drain(..consumed);
        if bytes.is_empty() && bytes.capacity() > KEEP_BYTES {
            bytes = Vec::new();
        }
        self.incoming = bytes;
    }

    /// The frame at the start of `bytes` and its length, checked for its number.
    pub(super) fn next_frame<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<Option<(Frame<'a>, usize)>, Broken> {
        let Some((frame, length)) = frame::read(bytes).map_err(|_| Broken::Malformed)? else {
            return Ok(None);
        };
        if frame.number != self.next_in && !on(Fault::LinkGapIgnored) {
            return Err(Broken::Gap {
                expected: self.next_in,
                found: frame.number,
            });
        }
        self.next_in = frame.number + 1;
        Ok(Some((frame, length)))
    }
}

/// Capacity that an empty buffer may keep.
const KEEP_BYTES: usize = 1 << 20;

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (Link, Link) {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            None,
        )
        .expect("pair");
        (
            Link::new(a, Side::Gateway, Some(1), 0),
            Link::new(b, Side::Owner, None, 0),
        )
    }

    fn receive(link: &mut Link) -> Result<Vec<(Kind, Vec<u8>)>, Broken> {
        let mut buffer = [0; 8192];
        while let Ok(count) = rustix::io::read(&link.fd, &mut buffer) {
            if count == 0 {
                break;
            }
            link.feed(&buffer[..count], 1);
        }
        let bytes = link.take_incoming();
        let mut consumed = 0;
        let mut out = Vec::new();
        while let Some((frame, length)) = link.next_frame(&bytes[consumed..])? {
            out.push((frame.kind, frame.payload.to_vec()));
            consumed += length;
        }
        link.restore(bytes, consumed);
        Ok(out)
    }

    #[test]
    fn frames_arrive_in_order_over_a_socket_that_fills() {
        let (mut near, mut far) = pair();
        let mut received = Vec::new();
        for n in 0..2_000u32 {
            near.queue(Kind::Command, 0, 1, |o| {
                o.extend_from_slice(&n.to_le_bytes());
                o.resize(o.len() + 1000, 0);
            });
        }
        while !near.flush().expect("peer is there") {
            received.extend(receive(&mut far).expect("no gap"));
        }
        received.extend(receive(&mut far).expect("no gap"));
        let numbers: Vec<u32> = received
            .iter()
            .map(|(_, p)| u32::from_le_bytes([p[0], p[1], p[2], p[3]]))
            .collect();
        assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_lost_frame_breaks_the_link_at_the_next_one() {
        let (mut near, mut far) = pair();
        near.queue(Kind::Beat, 0, 0, |_| {});
        near.outgoing.clear();
        near.queue(Kind::Beat, 0, 0, |_| {});
        near.flush().expect("peer is there");
        assert_eq!(
            receive(&mut far),
            Err(Broken::Gap {
                expected: 1,
                found: 2
            })
        );
    }
}
