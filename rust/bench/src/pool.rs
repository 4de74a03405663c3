//! Many authenticated connections, indexed from 0.

mod open;

use std::collections::HashMap;
use std::rc::Rc;

use crate::connection::{Connection, Read};
use crate::failure::{Doing as _, Failure};
use crate::latencies::Latencies;
use crate::poller::{Poller, Ready, ready};
use crate::tcp_info;
use crate::transport::{Incoming, Transport};
use imfast_wire::frames::client::ClientFrame;
use open::{Dial, Stage};
use rustix::net::sockopt;

/// A connection's name and token.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub name: String,
    pub token: String,
    /// It is pushed nothing: a transport whose connections do one of both opens it for requests.
    pub only_sends: bool,
}

/// How opening went.
pub(crate) struct Opened {
    /// From the first packet to `connected`, connections that were given up included.
    pub latencies: Latencies,
    pub seconds: f64,
    /// Connections that landed on another worker than wanted.
    pub elsewhere: u64,
    /// Worker → connections that it accepted, those opened again included.
    pub servers: std::collections::BTreeMap<String, u64>,
    /// What the server asks of clients that have nothing to say.
    pub heartbeat_ms: u64,
}

const BUFFER_BYTES: usize = 256 * 1024;

pub(crate) struct Pool<T> {
    transport: T,
    dial: Dial,
    users: Rc<[User]>,
    connections: Vec<Connection>,
    stages: Vec<Stage>,
    began_ns: Vec<u64>,
    /// Sync tokens of connections that are opened again with one.
    syncs: HashMap<usize, String>,
    /// Connections that may be worked with.
    ready: usize,
    pub opened: Opened,
    poller: Poller,
    buffer: Box<[u8]>,
    /// Frames on their way into a socket.
    out: Vec<u8>,
}

impl<T: Transport> Pool<T> {
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Connections that may be worked with; the others are being opened again or were given up.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    pub(crate) fn is_ready(&self, index: usize) -> bool {
        self.stages[index] == Stage::Ready
    }

    /// Segments with data that the server sent to connection `index`, of all time.
    pub(crate) fn segments_received(&self, index: usize) -> Result<u64, Failure> {
        tcp_info::segments_received(&self.connections[index].fd)
    }

    /// Bounds what the kernel holds for connection `index` until it is read.
    pub(crate) fn set_receive_buffer(&self, index: usize, bytes: usize) -> Result<(), Failure> {
        let socket = &self.connections[index].fd;
        sockopt::set_socket_recv_buffer_size(socket, bytes).doing("SO_RCVBUF")
    }

    /// Waits until `at_ns` at the latest; fills `events` with what is ready.
    pub(crate) fn wait(&mut self, at_ns: u64, events: &mut Vec<Ready>) -> Result<(), Failure> {
        events.clear();
        events.extend(self.poller.wait(at_ns)?.iter().map(ready));
        Ok(())
    }

    /// Does what `event` asks for; every frame that arrived goes to `each`. Returns the bytes
    /// read. A connection that is being opened goes a step further.
    #[inline]
    pub(crate) fn handle(
        &mut self,
        event: Ready,
        mut each: impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        let Some(index) = event.index else {
            return Ok(0);
        };
        if self.stages[index] == Stage::Ready {
            self.exchange(index, event, each)
        } else {
            self.advance(index, event, &mut each)
        }
    }

    #[inline]
    fn exchange(
        &mut self,
        index: usize,
        event: Ready,
        mut each: impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        if event.writable {
            self.connections[index].flush()?;
            self.want(index, false)?;
        }
        if !event.readable {
            return Ok(0);
        }
        let connection = &mut self.connections[index];
        let Read::Bytes { bytes, fresh } = connection.read(&mut self.buffer)? else {
            return Ok(0);
        };
        let (transport, out) = (self.transport, &mut self.out);
        out.clear();
        let input = &self.buffer[..bytes];
        let read = transport.walk(input, &mut |incoming| match incoming {
            Incoming::Frame(frame) => each(frame),
            Incoming::Ping(payload) => transport.pong(payload, out),
        })?;
        connection.keep(&input[read..]);
        if !self.out.is_empty() {
            self.flush_out(index)?;
        }
        Ok(fresh)
    }

    /// Sends one frame in a write of its own.
    pub(crate) fn send(&mut self, index: usize, frame: &ClientFrame<'_>) -> Result<(), Failure> {
        let mut batch = self.batch(index);
        batch.add(frame);
        batch.send()
    }

    /// Begins a write of several frames of connection `index`.
    pub(crate) fn batch(&mut self, index: usize) -> Batch<'_, T> {
        self.out.clear();
        Batch { pool: self, index }
    }

    fn flush_out(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let waited = connection.has_waiting();
        connection.write(&self.out)?;
        if !waited && connection.has_waiting() {
            self.want(index, true)?;
        }
        Ok(())
    }

    fn want(&self, index: usize, writable: bool) -> Result<(), Failure> {
        let connection = &self.connections[index];
        let writable = writable || connection.has_waiting();
        self.poller.modify(&connection.fd, index, writable)
    }
}

/// Frames that go out in one write.
pub(crate) struct Batch<'a, T> {
    pool: &'a mut Pool<T>,
    index: usize,
}

impl<T: Transport> Batch<'_, T> {
    pub(crate) fn add(&mut self, frame: &ClientFrame<'_>) {
        let Pool {
            transport,
            users,
            out,
            ..
        } = &mut *self.pool;
        transport.write(frame, &users[self.index], out);
    }

    /// Sends what was added since the last time.
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        self.pool.flush_out(self.index)?;
        self.pool.out.clear();
        Ok(())
    }
}
