//! Socket calls of the engine: accept, read, send, close. None of them waits.

use super::Socket;
use crate::system::{Accepted, Read};
use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketFlags, acceptfrom_with, sendmsg,
    shutdown, sockopt,
};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};

/// Makes accepting return at once where nobody waits.
pub(crate) fn prepare_listener(listener: &Socket) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(listener, true)
}

/// Takes one connection from a listener.
pub(crate) fn accept(listener: &Socket) -> Accepted {
    loop {
        return match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((fd, peer)) => Accepted::Connection(fd, peer.and_then(address)),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Exhausted,
            // The peer gave up while it waited, or a signal came: look at the next one.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
            Err(_) => Accepted::Empty,
        };
    }
}

fn address(peer: SocketAddrAny) -> Option<IpAddr> {
    SocketAddr::try_from(peer).ok().map(|peer| peer.ip())
}

/// Small frames must not wait for each other's acknowledgements.
pub(crate) fn set_no_delay(socket: &Socket) {
    // Fails on Unix-domain sockets, which have no such delay.
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// A peer that acknowledges nothing for so long is gone (tcp(7), `TCP_USER_TIMEOUT`).
pub(crate) fn set_user_timeout(socket: &Socket, timeout_ms: u32) {
    // Fails on Unix-domain sockets, whose peers do not go without a sign.
    let _ = sockopt::set_tcp_user_timeout(socket, timeout_ms);
}

/// Reads into `buffer` without waiting.
pub(crate) fn read(socket: &Socket, buffer: &mut [u8]) -> Read {
    loop {
        return match rustix::io::read(socket, &mut *buffer) {
            Ok(0) => Read::Closed,
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN) => Read::Empty,
            Err(Errno::INTR) => continue,
            Err(_) => Read::Closed,
        };
    }
}

/// Sends what fits; `AGAIN` where nothing does.
pub(crate) fn send(socket: &Socket, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// As [`send`], for bytes in several places.
pub(crate) fn send_many(socket: &Socket, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)
}

/// Says that no more bytes come from us; what the peer sent is still read and thrown away.
pub(crate) fn half_close(socket: &Socket) {
    let _ = shutdown(socket, Shutdown::Write);
}
