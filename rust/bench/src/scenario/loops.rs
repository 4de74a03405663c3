//! The phases of a measured run: warm-up, measurement, drain; and what arrived in each second.

use std::time::Duration;

use serde_json::json;

use crate::lines;
use crate::measure::{Meter, Reading, now_ns};
use crate::options::Options;
use crate::pace::Pace;

/// What is open after the measured time is waited for this long.
const DRAIN: Duration = Duration::from_secs(5);
const SECOND_NS: u64 = 1_000_000_000;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    WarmUp,
    Measured,
    /// Nothing is sent any more.
    Drain,
    Over,
}

/// Tells the phases apart.
pub(crate) struct Phases<'a> {
    pub phase: Phase,
    options: &'a Options,
    connections: usize,
    /// When this phase ends.
    until_ns: u64,
    meter: Option<Meter<'a>>,
    pub reading: Option<Reading>,
    /// When the measured time begins.
    measured_ns: u64,
    /// When the second ends that is being counted.
    second_ns: u64,
    counted_ns: u64,
    counted: u64,
    /// What arrived in each second of the measured time.
    pub per_second: Vec<f64>,
}

impl<'a> Phases<'a> {
    /// A run that begins at `start_ns`.
    pub(crate) fn new(options: &'a Options, start_ns: u64, connections: usize) -> Self {
        let measured_ns = start_ns + options.warmup.as_nanos() as u64;
        let to_full_second_ns = options.warmup.as_nanos() as u64 % SECOND_NS;
        Self {
            phase: Phase::WarmUp,
            options,
            connections,
            until_ns: measured_ns,
            meter: None,
            reading: None,
            measured_ns,
            second_ns: start_ns + to_full_second_ns,
            counted_ns: start_ns,
            counted: 0,
            per_second: Vec::new(),
        }
    }

    pub(crate) fn sending(&self) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Measured)
    }

    /// Until when to wait at most, so that no phase and no second ends unnoticed.
    pub(crate) fn wake_ns(&self) -> u64 {
        self.until_ns.min(self.second_ns)
    }

    /// Takes note of how many messages arrived since the start.
    #[inline]
    pub(crate) fn received(&mut self, now_ns: u64, received: u64) {
        if now_ns >= self.second_ns {
            self.end_second(now_ns, received);
        }
    }

    #[cold]
    fn end_second(&mut self, now_ns: u64, received: u64) {
        let seconds = now_ns.saturating_sub(self.counted_ns) as f64 / 1e9;
        // What arrived in less tells nothing of a second.
        if seconds >= 0.5 {
            let rate = (received - self.counted) as f64 / seconds;
            // The one that ends with the measured time is noticed when the drain has begun.
            let ends_ns = self.measured_ns + self.options.measured.as_nanos() as u64;
            if self.second_ns > self.measured_ns && self.second_ns <= ends_ns {
                self.per_second.push(rate);
            }
            if self.options.progress {
                let since_ns = now_ns as i64 - self.measured_ns as i64;
                lines::event(
                    "progress",
                    json!({
                        "seconds": since_ns as f64 / 1e9,
                        "received": received,
                        "per_second": rate,
                        "connections": self.connections,
                    }),
                );
            }
        }
        (self.counted_ns, self.counted) = (now_ns, received);
        // Seconds that a stall swallowed are one long second.
        self.second_ns += (now_ns - self.second_ns) / SECOND_NS * SECOND_NS + SECOND_NS;
    }

    /// Tells, when the measured time ends, how far an open loop is behind.
    pub(crate) fn note_pace(&mut self, pace: Option<&Pace>) {
        if let (Some(reading), Some(pace)) = (&mut self.reading, pace) {
            reading.behind_ns = pace.behind_ns(now_ns());
        }
    }

    /// Goes on to the next phase when its time has come; true when it did. `settled`: nothing
    /// is open, so that a drain may end.
    pub(crate) fn advance(&mut self, now_ns: u64, settled: bool) -> bool {
        if now_ns < self.until_ns && !(settled && self.phase == Phase::Drain) {
            return false;
        }
        let (next, length) = match self.phase {
            Phase::WarmUp => {
                self.meter = Some(Meter::start(&self.options.server_pids));
                (Phase::Measured, self.options.measured)
            }
            Phase::Measured => {
                self.reading = self.meter.take().map(|meter| meter.read());
                (Phase::Drain, DRAIN)
            }
            Phase::Drain | Phase::Over => (Phase::Over, Duration::ZERO),
        };
        self.phase = next;
        self.until_ns = now_ns + length.as_nanos() as u64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_of_the_measured_time_has_its_rate() {
        let mut options = Options::for_tests("direct");
        options.warmup = Duration::from_millis(1_300);
        options.measured = Duration::from_secs(3);
        let start_ns = 5 * SECOND_NS;
        let mut phases = Phases::new(&options, start_ns, 1);
        // A hundred messages each 100 ms, with a stall of two seconds in the middle.
        for tenth in (0..25u64).chain(45..60) {
            let now_ns = start_ns + tenth * SECOND_NS / 10;
            phases.received(now_ns, tenth * 100);
        }
        // Seconds end 2.3, (3.3 and 4.3: one) after the start.
        assert_eq!(phases.per_second.len(), 2);
        assert!(
            phases
                .per_second
                .iter()
                .all(|rate| (rate - 1_000.0).abs() < 1.0)
        );
    }
}
