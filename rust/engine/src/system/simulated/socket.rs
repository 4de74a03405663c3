//! Socket calls of the engine on the simulated network.

use super::World;
use super::network::{Moved, Port};
use crate::system::{Accepted, Read};
use rustix::io::Errno;
use std::io::IoSlice;

/// One end of a stream, or a listening socket. Dropping it closes it.
pub struct Socket {
    world: World,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    End { stream: u32, side: usize },
    Listener { worker: u8, port: Port },
}

impl Socket {
    pub(super) fn end(world: &World, stream: u32, side: usize) -> Self {
        Self {
            world: world.clone(),
            kind: Kind::End { stream, side },
        }
    }

    pub(super) fn listener(world: &World, worker: u8, port: Port) -> Self {
        Self {
            world: world.clone(),
            kind: Kind::Listener { worker, port },
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Kind::End { stream, side } = self.kind {
            self.world.state_mut().network.close(stream, side);
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
pub(crate) fn prepare_listener(_listener: &Socket) -> Result<(), Errno> {
    Ok(())
}

pub(crate) fn accept(listener: &Socket) -> Accepted {
    let Kind::Listener { worker, port } = listener.kind else {
        return Accepted::Empty;
    };
    let stream = listener.world.state_mut().network.accept(worker, port);
    match stream {
        Some(stream) => Accepted::Connection(Socket::end(&listener.world, stream, 1), None),
        None => Accepted::Empty,
    }
}

pub(crate) fn set_no_delay(_socket: &Socket) {}

pub(crate) fn set_user_timeout(_socket: &Socket, _timeout_ms: u32) {}

pub(crate) fn read(socket: &Socket, buffer: &mut [u8]) -> Read {
    let Kind::End { stream, side } = socket.kind else {
        return Read::Closed;
    };
    match socket.world.state_mut().network.read(stream, side, buffer) {
        Moved::Bytes(count) => Read::Bytes(count),
        Moved::Nothing => Read::Empty,
        Moved::Gone => Read::Closed,
    }
}

pub(crate) fn send(socket: &Socket, bytes: &[u8]) -> Result<usize, Errno> {
    let Kind::End { stream, side } = socket.kind else {
        return Err(Errno::NOTCONN);
    };
    match socket.world.state_mut().network.write(stream, side, bytes) {
        Moved::Bytes(count) => Ok(count),
        Moved::Nothing => Err(Errno::AGAIN),
        Moved::Gone => Err(Errno::PIPE),
    }
}

pub(crate) fn send_many(socket: &Socket, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut sent = 0;
    for slice in slices.iter().filter(|slice| !slice.is_empty()) {
        match send(socket, slice) {
            Ok(count) => sent += count,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

pub(crate) fn half_close(socket: &Socket) {
    if let Kind::End { stream, side } = socket.kind {
        socket.world.state_mut().network.end(stream, side);
    }
}
