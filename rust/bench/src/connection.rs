//! One socket: what waits to be written, and the start of a frame that is not complete.

use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, recv,
    send, socket_with, sockopt,
};

use crate::failure::{Doing as _, Failure};

/// What [`Connection::read`] found.
pub(crate) enum Read {
    /// `buffer` begins with `bytes`, those of an earlier cut frame first; `fresh` were read now.
    Bytes {
        bytes: usize,
        fresh: usize,
    },
    Nothing,
}

pub(crate) struct Connection {
    pub fd: OwnedFd,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    written: usize,
    cut: Vec<u8>,
}

impl Connection {
    /// Begins to connect; the socket is writable once it is done.
    pub(crate) fn open(to: SocketAddrV4, from: Option<Ipv4Addr>) -> Result<Self, Failure> {
        let fd = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )
        .doing("socket")?;
        sockopt::set_tcp_nodelay(&fd, true).doing("TCP_NODELAY")?;
        if let Some(from) = from {
            bind(&fd, &SocketAddrV4::new(from, 0)).doing("bind")?;
        }
        match connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(Failure::System("connect", errno)),
        }
        Ok(Self {
            fd,
            waiting: Vec::new(),
            written: 0,
            cut: Vec::new(),
        })
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn has_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// Writes `bytes` behind whatever waits already.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.has_waiting() {
            self.waiting.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = put(&self.fd, bytes)?;
        if taken < bytes.len() {
            self.waiting.clear();
            self.waiting.extend_from_slice(&bytes[taken..]);
            self.written = 0;
        }
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.written += put(&self.fd, &self.waiting[self.written..])?;
        if !self.has_waiting() {
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    /// Reads once. Afterwards [`Self::keep`] has to be given what was not complete.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Read, Failure> {
        let kept = self.cut.len();
        let Some((front, rest)) = buffer.split_at_mut_checked(kept) else {
            return Err(Failure::Said("a frame is larger than the buffer".into()));
        };
        front.copy_from_slice(&self.cut);
        match recv(&self.fd, rest, RecvFlags::empty()) {
            Ok((0, _)) => Err(Failure::ended("end of stream")),
            Ok((fresh, _)) => Ok(Read::Bytes {
                bytes: kept + fresh,
                fresh,
            }),
            Err(Errno::AGAIN | Errno::INTR) if kept == 0 => Ok(Read::Nothing),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Bytes {
                bytes: kept,
                fresh: 0,
            }),
            Err(Errno::CONNRESET) => Err(Failure::ended("reset")),
            Err(errno) => Err(Failure::System("recv", errno)),
        }
    }

    /// Keeps the bytes of a cut frame for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.cut.clear();
        self.cut.extend_from_slice(rest);
    }
}

fn put(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Failure> {
    match send(fd, bytes, SendFlags::NOSIGNAL) {
        Ok(taken) => Ok(taken),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(Errno::CONNRESET | Errno::PIPE) => Err(Failure::ended("reset")),
        Err(errno) => Err(Failure::System("send", errno)),
    }
}
