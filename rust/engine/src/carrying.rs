//! Streams' bytes on their way into the queue of the connection that carries them: in frames as large
//! as the peer's windows allow, and never so many that one stream's wait behind another's for long.

use crate::connection::Phase;
use crate::io::Io;
use crate::layer::Stream;
use crate::slab::Handle;
use imfast_wire::http2::{Code, Connection, head_bytes, place_head, write_data_header};

/// What may wait in a carrier's queue before its streams have to; more waits in their own queues, which
/// are bounded as any connection's.
const CARRIED_BYTES: usize = 64 * 1024;

/// What became of a stream's queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// Some of it has to wait for a window, or for room.
    Some,
    /// All of it is on its way.
    All,
    /// Its carrier is gone.
    Nowhere,
}

impl Io {
    /// Moves what a stream has to say to its carrier, as far as it may.
    pub(crate) fn flush_stream(&mut self, handle: Handle) {
        let slot = handle.slot;
        let Some(connection) = self.connections.resolve_mut(handle) else {
            return;
        };
        let closing = connection.phase == Phase::Closing;
        let Some(mut stream) = connection.stream().copied() else {
            return;
        };
        if connection.queue.is_none() && !closing {
            return;
        }
        let mut queue = connection.queue.take();
        let carried = self.carry_over(&mut stream, &mut queue, closing);
        self.queued(stream.over.slot);
        let Some(connection) = self.connections.resolve_mut(handle) else {
            return;
        };
        if let Some(kept) = connection.stream_mut() {
            kept.headless = stream.headless;
        }
        match carried {
            Carried::Some => {
                connection.queue = queue;
                connection.writing = true;
                return;
            }
            Carried::All => connection.writing = false,
            Carried::Nowhere => {}
        }
        let attaching = connection.attach().is_some();
        if let Some(queue) = queue {
            self.pool.give_queue(queue);
        }
        if closing || carried == Carried::Nowhere {
            self.kill(slot);
        } else if attaching {
            self.drained.push(slot);
        }
    }

    fn carry_over(
        &mut self,
        stream: &mut Stream,
        queue: &mut Option<Box<crate::send_queue::SendQueue>>,
        closing: bool,
    ) -> Carried {
        let bound = CARRIED_BYTES.min(self.limits.send_queue_bytes / 2);
        let pool = &mut self.pool;
        let carrier = self.connections.resolve_mut(stream.over);
        let Some(carrier) = carrier.filter(|carrier| carrier.open()) else {
            return Carried::Nowhere;
        };
        let Some(http2) = carrier.session.http2() else {
            return Carried::Nowhere;
        };
        let id = stream.id;
        let out = carrier.queue.get_or_insert_with(|| pool.take_queue());
        let mut ended = false;
        while let Some(queue) = queue.as_deref_mut().filter(|queue| queue.bytes() > 0) {
            if stream.headless {
                // The first that is written, in one piece.
                let bytes = head_bytes(queue.front());
                ended = closing && bytes == queue.bytes();
                out.append_with(pool, |out| {
                    let start = out.len();
                    out.extend_from_slice(queue.front().get(..bytes).unwrap_or(&[]));
                    place_head(out.get_mut(start..).unwrap_or(&mut []), id, ended);
                });
                queue.skip(bytes, pool);
                stream.headless = false;
                continue;
            }
            let room = bound.saturating_sub(out.bytes());
            let bytes = queue.bytes().min(room).min(http2.window(id));
            if bytes == 0 {
                if room == 0 {
                    http2.wait();
                }
                return Carried::Some;
            }
            ended = closing && bytes == queue.bytes();
            out.append_with(pool, |out| write_data_header(out, id, bytes, ended));
            queue.move_to(out, bytes, pool);
            http2.sent(id, bytes);
        }
        if closing {
            out.append_with(pool, |out| {
                if stream.headless {
                    // There is no answer to end.
                    http2.reset(id, Code::Internal, out);
                } else {
                    if !ended {
                        write_data_header(out, id, 0, true);
                    }
                    http2.end(id, out);
                }
            });
        }
        Carried::All
    }

    /// A window opened for a stream, or there is room in its carrier's queue.
    pub(crate) fn unblock(&mut self, handle: Handle) {
        if let Some(connection) = self.connections.resolve_mut(handle)
            && connection.writing
            && connection.phase != Phase::Dead
        {
            connection.writing = false;
            self.flush_stream(handle);
        }
    }

    /// As [`Io::unblock`], of all streams of a carrier, each of them first in turn.
    pub(crate) fn unblock_all(&mut self, carrier: u32) {
        let Some(connection) = self.connections.get_mut(carrier) else {
            return;
        };
        let Some(http2) = connection.session.http2() else {
            return;
        };
        for tag in http2.tags_in_turn() {
            self.unblock(Handle::from_bits(tag));
        }
    }

    /// A carrier's queue was sent: streams that waited for room go on.
    pub(crate) fn feed(&mut self, carrier: u32) {
        let connection = self.connections.get_mut(carrier);
        let http2 = connection.and_then(|connection| connection.session.http2());
        if http2.is_some_and(Connection::take_waiting) {
            self.unblock_all(carrier);
        }
    }

    /// What a stream received was dealt with: its peer may send more.
    pub(crate) fn credit(&mut self, handle: Handle) {
        let connection = self.connections.resolve(handle);
        if let Some(stream) = connection
            .and_then(|connection| connection.stream())
            .copied()
        {
            self.say(stream.over, |http2, out| http2.credit(stream.id, out));
        }
    }

    /// Appends what a carrier says of its streams.
    pub(crate) fn say(
        &mut self,
        carrier: Handle,
        write: impl FnOnce(&mut Connection, &mut Vec<u8>),
    ) {
        let Some(connection) = self.connections.resolve_mut(carrier) else {
            return;
        };
        let Some(http2) = connection.session.http2() else {
            return;
        };
        let mut out = self.pool.take();
        write(http2, &mut out);
        if !out.is_empty() {
            self.push_bytes(carrier.slot, &out);
        }
        self.pool.give(out);
    }

    /// A carrier is over, and so are its streams.
    pub(crate) fn kill_streams(&mut self, carrier: u32) {
        let connection = self.connections.get_mut(carrier);
        let http2 = connection.and_then(|connection| connection.session.http2());
        let tags: Vec<u64> = http2
            .map(|http2| http2.tags().collect())
            .unwrap_or_default();
        for tag in tags {
            let handle = Handle::from_bits(tag);
            if self.connections.resolve(handle).is_some() {
                self.kill(handle.slot);
            }
        }
    }

    /// A stream's slot is free: its peer is told, unless it knows.
    pub(crate) fn stream_removed(&mut self, stream: Stream) {
        let carrier = self.connections.resolve(stream.over);
        // What ended has said its last word, which nothing may follow.
        if !carrier.is_some_and(crate::connection::Connection::open) {
            return;
        }
        self.say(stream.over, |http2, out| http2.give_up(stream.id, out));
        let unit = self.unit;
        if let Some(carrier) = self.connections.resolve_mut(stream.over)
            && carrier.last
            && carrier.session.http2().is_some_and(|http2| http2.is_idle())
        {
            self.finish(stream.over.slot, unit);
        }
    }
}
