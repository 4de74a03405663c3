//! What the engine asks of the operating system: sockets and their readiness, clocks, random bytes,
//! disks and the threads of logs. Nothing else in this crate reaches outside, but for crash reports.
//!
//! There are two: the kernel's, and, with the feature `simulation`, one in memory in which a test
//! decides what happens when. Both offer the same names; no product build has that feature.

#[cfg(not(feature = "simulation"))]
mod kernel;
#[cfg(feature = "simulation")]
mod simulated;

#[cfg(not(feature = "simulation"))]
pub(crate) use kernel::{Archiver, Clock, Completions, Poller, Writer, socket};
#[cfg(not(feature = "simulation"))]
pub use kernel::{Socket, System};
#[cfg(feature = "simulation")]
pub(crate) use simulated::{Archiver, Clock, Completions, Poller, Writer, socket};
#[cfg(feature = "simulation")]
pub use simulated::{LinkEnds, Port, Socket, System, World};

use std::net::IpAddr;

/// What a descriptor in the epoll belongs to. 4 bits kind, 24 bits generation, 32 bits index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Connection {
        slot: u32,
        generation: u32,
    },
    Listener {
        index: u32,
    },
    LinkListener,
    Link {
        slot: u32,
        generation: u32,
    },
    /// Work was left in user space, or another thread has something for us.
    Wake,
    Timer,
}

impl Source {
    #[cfg_attr(feature = "simulation", allow(dead_code))]
    fn to_bits(self) -> u64 {
        let pack = |kind: u64, generation: u32, index: u32| {
            kind << 60 | u64::from(generation & 0x00ff_ffff) << 32 | u64::from(index)
        };
        match self {
            Self::Connection { slot, generation } => pack(0, generation, slot),
            Self::Listener { index } => pack(1, 0, index),
            Self::LinkListener => pack(2, 0, 0),
            Self::Link { slot, generation } => pack(3, generation, slot),
            Self::Wake => pack(4, 0, 0),
            Self::Timer => pack(5, 0, 0),
        }
    }

    #[cfg_attr(feature = "simulation", allow(dead_code))]
    fn from_bits(bits: u64) -> Self {
        let index = bits as u32;
        let generation = (bits >> 32) as u32 & 0x00ff_ffff;
        match bits >> 60 {
            0 => Self::Connection {
                slot: index,
                generation,
            },
            1 => Self::Listener { index },
            2 => Self::LinkListener,
            3 => Self::Link {
                slot: index,
                generation,
            },
            4 => Self::Wake,
            _ => Self::Timer,
        }
    }
}

/// One readiness report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub source: Source,
    pub readable: bool,
    pub writable: bool,
    /// The peer closed or the socket failed; a read tells which.
    pub hang_up: bool,
}

/// What an accept found.
pub(crate) enum Accepted {
    /// With the peer's address, where it has one.
    Connection(Socket, Option<IpAddr>),
    /// Nobody waits.
    Empty,
    /// No descriptor or memory is left: the listener must rest until one is freed.
    #[cfg_attr(feature = "simulation", expect(dead_code, reason = "a kernel's limit"))]
    Exhausted,
}

/// What a read found.
pub(crate) enum Read {
    Bytes(usize),
    Empty,
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_survives_its_packing() {
        for source in [
            Source::Connection {
                slot: u32::MAX,
                generation: 0x00ff_ffff,
            },
            Source::Listener { index: 3 },
            Source::LinkListener,
            Source::Link {
                slot: 1,
                generation: 2,
            },
            Source::Wake,
            Source::Timer,
        ] {
            assert_eq!(Source::from_bits(source.to_bits()), source);
        }
    }
}
