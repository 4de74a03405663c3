//! What happens with the passing of time: time-outs, pings, expiry, checkpoints, beats.

use crate::connection::Phase;
use crate::engine::{Engine, TICK};
use crate::slab::Handle;
use imfast_session::{Encoding, Overdue};
use imfast_wire::frames::codes;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use std::time::Duration;

const TICKS_PER_SECOND: u64 = 4;
/// Period of the timer of a worker that has nothing to do. Its heartbeat may stand still for three
/// times as long, and so may a link.
const SLOW_TICK: Duration = Duration::from_secs(1);
/// Ticks without activity before the timer becomes slow. Until then beats at the usual rate have
/// shown the other workers the end of every stream.
const QUIET_TICKS: u32 = 8;
/// How long before its token's expiry a session is told.
const EXPIRY_NOTICE_S: u64 = 60;

/// How often the timer fires: four times a second, or once while nothing happens.
#[derive(Default)]
pub(crate) struct Pace {
    slow: bool,
    /// Ticks since `seen` changed.
    quiet_ticks: u32,
    seen: u64,
    /// Quarters of a second that the timer has counted.
    quarters: u64,
}

impl Engine {
    /// Ticks at the usual rate again when something happened.
    pub(crate) fn quicken(&mut self) {
        if self.pace.slow && self.pace.seen != self.io.stats.activity() {
            self.pace.slow = self.io.poller.set_tick(TICK).is_err();
            self.pace.quiet_ticks = 0;
        }
    }

    /// Ticks slowly when nothing happened for long and nothing waits for time to pass.
    fn slow_down(&mut self) {
        let seen = self.io.stats.activity();
        let waits = !self.checkpoint_due.is_empty()
            || !self.attaching.is_empty()
            || !self.stalled.is_empty()
            || self.listeners_rest()
            || !self.links.settled();
        if waits || seen != self.pace.seen {
            self.pace.quiet_ticks = 0;
        } else {
            self.pace.quiet_ticks += 1;
        }
        self.pace.seen = seen;
        if !self.pace.slow && self.pace.quiet_ticks >= QUIET_TICKS {
            self.pace.slow = self.io.poller.set_tick(SLOW_TICK).is_ok();
        }
    }

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
        let connections = &self.io.connections;
        let wanted = |second: u64, handle| {
            connections.resolve(handle).is_some_and(|connection| {
                let ends_s = u64::from(connection.expires_s);
                second == ends_s || second == notice_s(ends_s)
            })
        };
        for second in [notice_s(at_s), at_s] {
            self.expiries.add(second, handle, connections.len(), wanted);
        }
    }

    pub(crate) fn timer(&mut self) {
        self.ticks += 1;
        self.routes.beat(self.config.worker.into(), self.ticks);
        self.resume_listeners();
        self.link_timer();
        let before = self.pace.quarters;
        let passed = if self.pace.slow { TICKS_PER_SECOND } else { 1 };
        self.pace.quarters += passed;
        if self.draining || is_due(before, passed, self.config.cursor_log_ms) {
            self.log_cursors();
        }
        if is_due(before, passed, self.config.checkpoint_ms) {
            self.send_checkpoints();
        }
        if is_due(before, passed, 1000) {
            self.sweep();
            self.expire();
            self.nurse_catch_ups();
            self.give_up_waiting();
            self.give_up_fencing();
            self.miss_users();
        }
        self.show_metrics();
        self.slow_down();
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
                Phase::Connected if connection.encoding == Encoding::Http => {
                    self.sweep_requests(slot);
                }
                Phase::Connected if connection.encoding == Encoding::Http2 => {
                    self.sweep_carrier(slot);
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
        while let Some(handle) = self.expiries.take_due(now_s) {
            let slot = handle.slot;
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

/// When a session that ends at `ends_s` is told.
fn notice_s(ends_s: u64) -> u64 {
    ends_s.saturating_sub(EXPIRY_NOTICE_S)
}

/// Whether what happens every `period_ms` happens when after `before` quarters of a second `passed`
/// more went by.
fn is_due(before: u64, passed: u64, period_ms: u64) -> bool {
    let period = (period_ms * TICKS_PER_SECOND / 1000).max(1);
    before / period != (before + passed) / period
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn a_period_is_counted_in_ticks_of_a_quarter_second() {
        let due = |period_ms| (0..12).filter(|at| is_due(*at, 1, period_ms)).count();
        assert_eq!([due(250), due(500), due(1000), due(3000)], [12, 6, 3, 1]);
    }

    #[test]
    fn a_slow_tick_misses_no_period() {
        let slow = |period_ms| (0..3).filter(|at| is_due(at * 4, 4, period_ms)).count();
        assert_eq!([slow(250), slow(1000), slow(3000)], [3, 3, 1]);
    }

    #[test]
    fn a_period_below_a_tick_is_every_tick() {
        assert!((0..4).all(|at| is_due(at, 1, 0)));
    }
}
