//! Connections and their sockets: queueing, flushing and closing. Knows nothing of users,
//! groups and partitions.

use crate::connection::{Connection, Phase};
use crate::layer::Layer;
use crate::metrics::Deliveries;
use crate::run::View;
use crate::sealing::{Lent, Sealing};
use crate::send_queue::{BufferPool, Progress};
use crate::slab::{Handle, Slab};
use crate::stats::Stats;
use crate::system::{Poller, Source, socket};
use crate::wheel::Wheel;
use imfast_session::{Encoding, Writer};
use imfast_wire::frames::codes::Code;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use rustix::io::Errno;
use std::io::IoSlice;

/// Bounds that protect a worker from one connection.
#[derive(Debug, Clone)]
pub(crate) struct IoLimits {
    /// Bytes that may wait for a slow reader.
    pub send_queue_bytes: usize,
    /// Frames that may wait for a slow reader.
    pub send_queue_frames: usize,
    /// Connections a worker holds.
    pub connections_max: usize,
}

/// All client connections of this worker.
pub(crate) struct Io {
    pub poller: Poller,
    pub connections: Slab<Connection>,
    pub wheel: Wheel,
    pub pool: BufferPool,
    pub stats: Stats,
    pub limits: IoLimits,
    pub writer: Writer,
    pub lent: Lent,
    pub deliveries: Deliveries,
    /// Seconds since the engine's start, as of this poll.
    pub unit: u32,
    dirty: Vec<u32>,
    /// The same of connections that carry others, which are flushed after those.
    dirty_carriers: Vec<u32>,
    dead: Vec<u32>,
    pub(crate) drained: Vec<u32>,
}

impl Io {
    pub(crate) fn new(poller: Poller, limits: IoLimits) -> Self {
        Self {
            poller,
            connections: Slab::default(),
            wheel: Wheel::default(),
            pool: BufferPool::default(),
            stats: Stats::default(),
            limits,
            writer: Writer::default(),
            lent: Lent::default(),
            deliveries: Deliveries::default(),
            unit: 0,
            dirty: Vec::new(),
            dirty_carriers: Vec::new(),
            dead: Vec::new(),
            drained: Vec::new(),
        }
    }

    /// Queues one frame for one connection, in that connection's encoding.
    pub(crate) fn push(&mut self, slot: u32, frame: &ServerFrame<'_>) {
        self.append(slot, |encoding, writer, out| {
            encoding.write(frame, writer, out);
        });
    }

    /// Queues bytes that are already in the connection's encoding.
    pub(crate) fn push_bytes(&mut self, slot: u32, bytes: &[u8]) {
        self.append(slot, |_, _, out| out.extend_from_slice(bytes));
    }

    fn append(&mut self, slot: u32, write: impl FnOnce(Encoding, &mut Writer, &mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.phase == Phase::Dead {
            return;
        }
        let encoding = connection.encoding;
        let pool = &mut self.pool;
        let queue = connection.queue.get_or_insert_with(|| pool.take_queue());
        let writer = &mut self.writer;
        queue.append_with(pool, |out| write(encoding, writer, out));
        self.queued(slot);
    }

    /// Sends a run: straight from its buffer where nothing waits before it. `own`: the connection
    /// sent a part of it, which it does not get.
    #[inline]
    pub(crate) fn push_run(&mut self, slot: u32, run: &View<'_>, own: bool) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if !connection.open() {
            return;
        }
        if own {
            return self.queue_run(slot, run, 0);
        }
        let Some(queue) = connection.queue.as_mut() else {
            if connection.layer.is_some() {
                // Sealed at the end of the tick, with what else comes for it.
                return self.queue_run(slot, run, 0);
            }
            let Some(fd) = &connection.fd else {
                return;
            };
            let sent = match socket::send(fd, run.buffer) {
                Ok(count) => count,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(_) => return self.kill(slot),
            };
            self.stats.bytes_sent += sent as u64;
            if sent < run.buffer.len() {
                self.blocked(slot);
                self.queue_run(slot, run, sent);
            }
            return;
        };
        if run.marks.is_empty() {
            queue.append_shared(run.buffer, 0, run.buffer.len(), run.frames);
            self.queued(slot);
        } else {
            self.queue_run(slot, run, 0);
        }
    }

    /// Sends two runs as [`Io::push_run`] does one, in one write where nothing waits before them.
    pub(crate) fn push_runs(&mut self, slot: u32, runs: [&View<'_>; 2]) {
        let [first, second] = runs;
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        if !connection.open() || connection.queue.is_some() || connection.layer.is_some() {
            return self.push_each(slot, &runs);
        }
        let slices = runs.map(|run| IoSlice::new(run.buffer));
        let Some(fd) = &connection.fd else {
            return;
        };
        let sent = match socket::send_many(fd, &slices) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return self.kill(slot),
        };
        self.stats.bytes_sent += sent as u64;
        let (before, after) = (first.buffer.len(), second.buffer.len());
        if sent == before + after {
            return;
        }
        self.blocked(slot);
        if sent < before {
            self.queue_run(slot, first, sent);
            self.push_each(slot, &[second]);
        } else {
            self.queue_run(slot, second, sent - before);
        }
    }

    /// Sends runs one by one.
    #[inline(never)]
    fn push_each(&mut self, slot: u32, runs: &[&View<'_>]) {
        for run in runs {
            self.push_run(slot, run, false);
        }
    }

    /// The socket of `slot` takes nothing: it reports when it does again.
    pub(crate) fn blocked(&mut self, slot: u32) {
        if let Some(handle) = self.connections.handle(slot)
            && let Some(connection) = self.connections.get_mut(slot)
            && !connection.writing
        {
            connection.writing = true;
            self.watch(handle);
        }
    }

    pub(crate) fn queued(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        // A blocked socket reports when it takes more.
        if !connection.dirty && !connection.writing {
            connection.dirty = true;
            if connection.encoding == Encoding::Http2 {
                self.dirty_carriers.push(slot);
            } else {
                self.dirty.push(slot);
            }
        }
        if self.over_limit(slot) {
            self.flush(slot);
            if self.over_limit(slot) {
                self.overflow(slot);
            }
        }
    }

    pub(crate) fn over_limit(&self, slot: u32) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(|connection| {
            connection.phase != Phase::Dead
                && connection.queue.as_ref().is_some_and(|queue| {
                    queue.bytes() > self.limits.send_queue_bytes
                        || (queue.frames() > self.limits.send_queue_frames
                            && connection.encoding != Encoding::Http2)
                })
        })
    }

    /// Connections that got something since the last flush.
    pub(crate) fn waiting(&self) -> usize {
        self.dirty.len()
    }

    /// Writes what is queued for every connection that got something since the last flush.
    pub(crate) fn flush_dirty(&mut self) {
        while let Some(slot) = self.dirty.pop().or_else(|| self.dirty_carriers.pop()) {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.dirty = false;
                if !connection.writing {
                    self.flush(slot);
                }
            }
        }
    }

    /// Writes what is queued for `slot`.
    pub(crate) fn flush(&mut self, slot: u32) {
        let Some(handle) = self.connections.handle(slot) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.phase == Phase::Dead {
            return;
        }
        let Some(fd) = &connection.fd else {
            return self.flush_stream(handle);
        };
        let Some(queue) = connection.queue.as_mut() else {
            return;
        };
        let before = queue.bytes();
        let result = match connection.layer.as_deref_mut() {
            Some(Layer::Tls(tls)) => {
                let sealing = Sealing {
                    tls,
                    fd,
                    lent: &mut self.lent,
                };
                sealing.write(queue, &mut self.pool)
            }
            _ => queue.write_to(&mut { fd }, &mut self.pool),
        };
        self.stats.bytes_sent += (before - queue.bytes()) as u64;
        self.stats.writes += 1;
        match result {
            Ok(Progress::Done) => {
                if let Some(queue) = connection.queue.take() {
                    self.pool.give_queue(queue);
                }
                if connection.writing {
                    connection.writing = false;
                    self.watch(handle);
                }
                let connection = self.connections.get(slot);
                match connection.map(|c| c.phase) {
                    Some(Phase::Closing) => self.end_output(slot),
                    Some(_) if connection.is_some_and(|c| c.encoding == Encoding::Http2) => {
                        self.feed(slot);
                    }
                    Some(_) if connection.is_some_and(|c| c.attach().is_some()) => {
                        self.drained.push(slot);
                    }
                    _ => {}
                }
            }
            Ok(Progress::Blocked) => self.blocked(slot),
            Err(_) => self.kill(slot),
        }
    }

    /// What was delivered since the last call was that old.
    #[inline]
    pub(crate) fn delivered(&mut self, age_ms: u64) {
        self.deliveries.were(age_ms, self.stats.deliveries);
    }

    /// Whether there is such a connection.
    pub(crate) fn has_drained(&self) -> bool {
        !self.drained.is_empty()
    }

    /// Connections with a catch-up whose queue ran empty since the last call.
    pub(crate) fn take_drained(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.drained)
    }

    /// Stops or resumes reading a connection's socket.
    pub(crate) fn set_reading(&mut self, slot: u32, reading: bool) {
        let Some(handle) = self.connections.handle(slot) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.reading != reading {
            connection.reading = reading;
            self.watch(handle);
        }
    }

    fn watch(&mut self, handle: Handle) {
        let Some(connection) = self.connections.resolve(handle) else {
            return;
        };
        let source = Source::Connection {
            slot: handle.slot,
            generation: handle.generation,
        };
        let Some(fd) = &connection.fd else {
            return;
        };
        let (reading, writing) = (connection.reading, connection.writing);
        if self.poller.modify(fd, source, reading, writing).is_err() {
            self.kill(handle.slot);
        }
    }

    /// Answers `frame` (or nobody in particular) with an error of the catalogue.
    pub(crate) fn push_error(&mut self, slot: u32, frame: u64, code: &'static Code, message: &str) {
        self.stats.errors += 1;
        let body = ServerBody::error(code, 0, message);
        self.push(slot, &ServerFrame { id: frame, body });
    }

    /// Ends a connection in the protocol's own way: an error frame where the transport has no
    /// close code, a close frame where it has, then the end of our bytes, then a deadline.
    pub(crate) fn close(&mut self, slot: u32, code: &'static Code, now_unit: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if !connection.open() {
            return;
        }
        if connection
            .layer
            .as_ref()
            .is_some_and(|layer| !layer.is_open())
        {
            // Nothing can be said to it yet.
            return self.kill(slot);
        }
        let pool = &mut self.pool;
        let mut queue = connection.queue.take().unwrap_or_else(|| pool.take_queue());
        let session = &mut connection.session;
        let site = &self.writer.site;
        queue.append_with(pool, |out| session.close(code, site, out));
        connection.queue = Some(queue);
        self.finish(slot, now_unit);
    }

    /// The session wrote its own last bytes: flush them and go.
    pub(crate) fn finish(&mut self, slot: u32, now_unit: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if !connection.open() {
            return;
        }
        connection.phase = Phase::Closing;
        let carries = connection.encoding == Encoding::Http2;
        if !connection.reading {
            self.set_reading(slot, true);
        }
        if carries {
            self.kill_streams(slot);
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let units = if connection.fd.is_some() {
            CLOSE_UNITS
        } else {
            STREAM_CLOSE_UNITS
        };
        self.wheel.set(slot, now_unit, units);
        if connection.queue.is_some() {
            if !connection.writing {
                self.flush(slot);
            }
        } else if connection.fd.is_some() {
            self.end_output(slot);
        } else {
            self.flush(slot);
        }
    }

    /// Gives a connection up; its slot is freed by [`Io::take_dead`]'s caller at the end of the tick.
    pub(crate) fn kill(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot)
            && connection.phase != Phase::Dead
        {
            connection.phase = Phase::Dead;
            let carries = connection.encoding == Encoding::Http2;
            self.dead.push(slot);
            if carries {
                self.kill_streams(slot);
            }
        }
    }

    /// Slots to be freed.
    pub(crate) fn take_dead(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dead)
    }

    /// Frees a dead connection's slot and closes its socket.
    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(mut connection) = self.connections.remove(slot) {
            self.wheel.clear(slot);
            if let Some(queue) = connection.queue.take() {
                self.pool.give_queue(queue);
            }
            if let Some(stream) = connection.stream() {
                self.stream_removed(*stream);
            }
            // Closing the descriptor takes it out of the epoll as well.
        }
    }
}

/// Seconds that a peer gets to open the windows of a stream for its last bytes.
const STREAM_CLOSE_UNITS: u32 = 10;
/// Seconds that a peer gets to close its side after we closed ours.
const CLOSE_UNITS: u32 = 2;
