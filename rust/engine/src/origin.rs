//! Where the answer to a request goes.

use crate::slab::Handle;

/// Somebody on this worker who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A client's request; `counted` ones take a place of its window of unanswered sends.
    Client {
        handle: Handle,
        frame: u64,
        counted: bool,
    },
    /// A connection that waits for its seat, or has it.
    Seat {
        handle: Handle,
    },
    Nobody,
    /// A session that catches up with one partition.
    CatchUp {
        handle: Handle,
        partition: u16,
    },
    /// A client's request that every partition answers a part of.
    Gather {
        handle: Handle,
        frame: u64,
    },
    /// What Python does for somebody without a connection.
    Act {
        number: u64,
    },
    /// Such an act that every partition answers a part of.
    ActPart {
        number: u64,
    },
}

/// Somebody on this node who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Here(Waiter),
    /// Nobody: a command of the owner's own, which logs cursors.
    Cursors,
    /// A request that came over a link.
    Link {
        link: Handle,
        request: u64,
    },
}

/// A message that is neither stored nor numbered, and which connection must not get it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub worker: u8,
    pub handle: Handle,
}
