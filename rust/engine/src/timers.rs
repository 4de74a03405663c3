//! What happens with the passing of time: time-outs, pings, expiry, checkpoints, beats.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::slab::Handle;
use imfast_session::Overdue;
use imfast_wire::frames::codes;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use std::cmp::Reverse;

const TICKS_PER_SECOND: u64 = 4;
/// How long before its token's expiry a session is told.
const EXPIRY_NOTICE_S: u64 = 60;

impl Engine {
    /// Seconds since the engine's start: the unit of the wheel.
    pub(crate) fn unit(&self) -> u32 {
        (self.now_ms / 1000) as u32
    }

    /// Sets when a connected, silent client is pinged.
    pub(crate) fn rearm(&mut self, slot: u32) {
        let units = (self.config.heartbeat_ms / 1000).max(1) as u32;
        let now = self.unit();
        self.io.wheel.set(slot, now, units);
    }

    /// Ends a session when its token does, after a notice.
    pub(crate) fn expire_at(&mut self, handle: Handle, expires_at_ms: u64) {
        let at_s = expires_at_ms / 1000;
        let notice = at_s.saturating_sub(EXPIRY_NOTICE_S);
        for second in [notice, at_s] {
            self.expiries
                .push(Reverse((second, handle.slot, handle.generation)));
        }
    }

    pub(crate) fn timer(&mut self) {
        self.ticks += 1;
        self.routes.beat(self.config.worker.into(), self.ticks);
        self.resume_listeners();
        self.link_timer();
        if is_due(self.ticks, self.config.checkpoint_ms) {
            self.send_checkpoints();
        }
        if self.ticks.is_multiple_of(TICKS_PER_SECOND) {
            self.sweep();
            self.expire();
            self.nurse_catch_ups();
            self.give_up_waiting();
        }
    }

    /// Shows the supervisor that this worker lives, while it replays a log and does not poll.
    pub fn beat(&mut self) {
        self.ticks += 1;
        self.routes.beat(self.config.worker.into(), self.ticks);
    }

    fn sweep(&mut self) {
        let mut due = Vec::new();
        let now = self.unit();
        self.io.wheel.sweep(now, &mut due);
        for slot in due {
            let Some(connection) = self.io.connections.get_mut(slot) else {
                continue;
            };
            match connection.phase {
                Phase::Stranger | Phase::Connecting => {
                    self.io.stats.timed_out += 1;
                    self.io.close(slot, &codes::AUTHENTICATION_TIMEOUT, now);
                }
                Phase::Connected => {
                    if std::mem::take(&mut connection.heard) {
                        self.rearm(slot);
                        continue;
                    }
                    let mut output = std::mem::take(&mut self.output);
                    output.clear();
                    let overdue = connection.session.overdue(&mut output);
                    if overdue == Overdue::Pinged {
                        if !output.is_empty() {
                            self.io.push_bytes(slot, &output);
                        }
                        self.rearm(slot);
                    } else {
                        self.io.stats.timed_out += 1;
                        self.io.close(slot, &codes::HEARTBEAT_TIMEOUT, now);
                    }
                    self.output = output;
                }
                Phase::Closing => self.io.kill(slot),
                Phase::Dead => {}
            }
        }
    }

    fn expire(&mut self) {
        let now_s = self.wall_ms / 1000;
        while let Some(Reverse((at_s, slot, generation))) = self.expiries.peek().copied() {
            if at_s > now_s {
                break;
            }
            self.expiries.pop();
            let handle = Handle { slot, generation };
            let Some(connection) = self.io.connections.resolve(handle) else {
                continue;
            };
            if connection.phase != Phase::Connected || connection.expires_s == 0 {
                continue;
            }
            let expires_s = u64::from(connection.expires_s);
            if expires_s <= now_s {
                let unit = self.unit();
                self.io.close(slot, &codes::TOKEN_EXPIRED, unit);
            } else if expires_s <= now_s + EXPIRY_NOTICE_S {
                let body = ServerBody::TokenExpiring {
                    expires_at_ms: expires_s * 1000,
                };
                self.io.push(slot, &ServerFrame::push(body));
            }
        }
    }
}

/// Whether what happens every `period_ms` happens at this tick of the timer.
fn is_due(tick: u64, period_ms: u64) -> bool {
    let period = period_ms * TICKS_PER_SECOND / 1000;
    tick.is_multiple_of(period.max(1))
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn a_period_is_counted_in_ticks_of_a_quarter_second() {
        let due = |period_ms| (1..=12).filter(|tick| is_due(*tick, period_ms)).count();
        assert_eq!([due(250), due(500), due(1000), due(3000)], [12, 6, 3, 1]);
    }

    #[test]
    fn a_period_below_a_tick_is_every_tick() {
        assert!((1..=4).all(|tick| is_due(tick, 0)));
    }
}
