//! The end of a worker: it accepts nobody any more, and sends its clients away a share at a time,
//! so that whoever serves them next does not get all of them at once.

use imfast_wire::frames::codes;
use imfast_wire::frames::server::{ServerBody, ServerFrame};

use crate::crash::{self, Event};
use crate::engine::Engine;

impl Engine {
    /// Stops accepting. Nobody is told to leave yet; see [`Self::send_away`].
    pub fn drain(&mut self) {
        for index in 0..self.listeners.len() as u32 {
            self.release(index);
        }
        let connections = self.io.connections.len() as u64;
        crash::note(Event::DrainBegun, self.now_ms, connections, 0);
        self.draining = true;
        self.log_cursors();
        self.leaving = self.io.connections.iter().map(|(slot, _)| slot).collect();
    }

    /// Tells up to `count` clients to come back elsewhere, or later, and closes their connections
    /// behind what is queued for them. Each waits for a random part of `reconnect_within_ms`.
    /// Returns how many have not been told yet.
    ///
    /// Nobody was accepted since [`Self::drain`], so a slot is still of who had it then, or free.
    pub fn send_away(&mut self, count: usize, reconnect_within_ms: u64) -> usize {
        let unit = self.unit();
        for _ in 0..count {
            let Some(slot) = self.leaving.pop() else {
                break;
            };
            if self.answers_first(slot) {
                continue;
            }
            let reconnect_after_ms = self.part_of(slot, reconnect_within_ms);
            let body = ServerBody::GoAway { reconnect_after_ms };
            self.io.push(slot, &ServerFrame::push(body));
            self.io.close(slot, &codes::SHUTTING_DOWN, unit);
        }
        self.leaving.len()
    }

    /// Whether a drained worker has nothing left to do.
    pub fn drained(&self) -> bool {
        self.vacated() && self.owned.iter().flatten().all(|owned| owned.quiet())
    }

    /// Whether no client is left.
    pub fn vacated(&self) -> bool {
        self.io.connections.is_empty()
    }

    /// A number up to `below_ms` that differs between slots and between workers (Fibonacci hashing,
    /// Knuth, The Art of Computer Programming, 6.4).
    fn part_of(&self, slot: u32, below_ms: u64) -> u64 {
        let mixed = (u64::from(slot) ^ self.key_nonce).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed >> 32) * below_ms.min(u64::from(u32::MAX))) >> 32
    }
}
