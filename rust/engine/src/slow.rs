//! Connections that do not take what they are sent.
//!
//! What is durable waits in the send queue, and when the queue is full the connection ends with a
//! code that says: come back, nothing is lost. What is ephemeral never ends a connection: while the
//! socket takes nothing, the newest frame of each key waits in the place of the older ones.

use crate::connection::Phase;
use crate::io::Io;
use crate::run::View;
use crate::send_queue::{Bounds, Newest};
use imfast_wire::frames::codes;
use imfast_wire::frames::server::ServerFrame;

/// Seconds in which a slow reader can still take the code for which it was closed. Nothing but the
/// rest of one chunk waits for it meanwhile.
const SLOW_CLOSE_UNITS: u32 = 10;

impl Io {
    fn bounds(&self) -> Bounds {
        Bounds {
            bytes: self.limits.send_queue_bytes,
            frames: self.limits.send_queue_frames,
        }
    }

    /// Queues the parts of a run that are for `slot`; the first `sent` bytes are on the wire.
    ///
    /// Where the socket is blocked, ephemeral frames wait by their keys.
    #[cold]
    pub(crate) fn queue_run(&mut self, slot: u32, run: &View<'_>, sent: usize) {
        let bounds = self.bounds();
        if self.would_overflow(slot, run.buffer.len(), run.frames as usize) {
            self.flush(slot);
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let blocked = connection.writing;
        let pool = &mut self.pool;
        let stats = &mut self.stats;
        let queue = connection.queue.get_or_insert_with(|| pool.take_queue());
        run.for_each_part(slot, |part| {
            let (start, end, frames) = (part.start, part.end, part.frames);
            if end <= sent {
                return;
            }
            if start < sent {
                return queue.append_begun(run.buffer, start, end, sent, frames);
            }
            match part.key {
                Some(key) if blocked => {
                    match queue.append_newest(key, &run.buffer[start..end], bounds) {
                        Newest::Added => {}
                        Newest::Replaced => stats.ephemeral_replaced += 1,
                        Newest::Refused => stats.ephemeral_dropped += 1,
                    }
                }
                // A small view would keep a large buffer.
                _ if blocked && (end - start) * 2 < run.buffer.len() => {
                    queue.append_with(pool, |out| {
                        out.extend_from_slice(&run.buffer[start..end]);
                    });
                    queue.count_frames(frames - 1);
                }
                _ => queue.append_shared(run.buffer, start, end, frames),
            }
        });
        self.queued(slot);
    }

    /// Queues an ephemeral frame for one connection. `key` is asked for where the socket is blocked.
    pub(crate) fn push_ephemeral(
        &mut self,
        slot: u32,
        frame: &ServerFrame<'_>,
        key: impl FnOnce() -> u64,
    ) {
        if self.would_overflow(slot, self.limits.send_queue_bytes / 2, 1) {
            self.flush(slot);
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if !connection.writing {
            return self.push(slot, frame);
        }
        if connection.phase == Phase::Dead {
            return;
        }
        let encoding = connection.encoding;
        let bounds = self.bounds();
        let mut encoded = self.pool.take();
        encoding.write(frame, &mut self.writer, &mut encoded);
        if let Some(queue) = self
            .connections
            .get_mut(slot)
            .and_then(|connection| connection.queue.as_mut())
        {
            match queue.append_newest(key(), &encoded, bounds) {
                Newest::Added => {}
                Newest::Replaced => self.stats.ephemeral_replaced += 1,
                Newest::Refused => self.stats.ephemeral_dropped += 1,
            }
        }
        self.pool.give(encoded);
    }

    /// Whether the queue of `slot` would be over its bounds with so much more in it.
    fn would_overflow(&self, slot: u32, bytes: usize, frames: usize) -> bool {
        let connection = self.connections.get(slot);
        connection.is_some_and(|connection| {
            !connection.writing
                && connection.queue.as_ref().is_some_and(|queue| {
                    queue.bytes() + bytes > self.limits.send_queue_bytes
                        || queue.frames() + frames > self.limits.send_queue_frames
                })
        })
    }

    /// The queue of `slot` is over its bounds although the socket was tried: ephemeral frames make
    /// room, and where that is not enough the connection ends.
    #[cold]
    pub(crate) fn overflow(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if let Some(queue) = connection.queue.as_mut() {
            self.stats.ephemeral_dropped += queue.drop_newest() as u64;
        }
        if !self.over_limit(slot) {
            return;
        }
        self.stats.slow_consumers += 1;
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if let Some(queue) = connection.queue.as_mut() {
            queue.keep_begun(&mut self.pool);
        }
        if connection.open() {
            let unit = self.unit;
            self.close(slot, &codes::SLOW_CONSUMER, unit);
            self.wheel.set(slot, unit, SLOW_CLOSE_UNITS);
        } else {
            self.kill(slot);
        }
    }
}
