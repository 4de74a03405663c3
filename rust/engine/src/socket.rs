//! Socket calls of the engine: accept, read, close.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, shutdown, sockopt};

/// What an accept found.
pub(crate) enum Accepted {
    Connection(OwnedFd),
    /// Nobody waits.
    Empty,
    /// No descriptor or memory is left: the listener must rest until one is freed.
    Exhausted,
}

/// Takes one connection from a listener.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Accepted {
    loop {
        return match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, _)) => Accepted::Connection(fd),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Exhausted,
            // The peer gave up while it waited, or a signal came: look at the next one.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
            Err(_) => Accepted::Empty,
        };
    }
}

/// Small frames must not wait for each other's acknowledgements.
pub(crate) fn set_no_delay(fd: BorrowedFd<'_>) {
    // Fails on Unix-domain sockets, which have no such delay.
    let _ = sockopt::set_tcp_nodelay(fd, true);
}

/// What a read found.
pub(crate) enum Read {
    Bytes(usize),
    Empty,
    Closed,
}

/// Reads into `buffer` without waiting.
pub(crate) fn read(fd: impl AsFd, buffer: &mut [u8]) -> Read {
    loop {
        return match rustix::io::read(&fd, &mut *buffer) {
            Ok(0) => Read::Closed,
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN) => Read::Empty,
            Err(Errno::INTR) => continue,
            Err(_) => Read::Closed,
        };
    }
}

/// Says that no more bytes come from us; what the peer sent is still read and thrown away.
pub(crate) fn half_close(fd: BorrowedFd<'_>) {
    let _ = shutdown(fd, Shutdown::Write);
}
