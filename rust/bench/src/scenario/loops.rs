//! The phases of a measured run: warm-up, measurement, drain.

use std::time::Duration;

use crate::measure::{Meter, Reading, now_ns};
use crate::options::Options;
use crate::pace::Pace;

/// What is open after the measured time is waited for this long.
const DRAIN: Duration = Duration::from_secs(5);

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
    /// When this phase ends.
    pub until_ns: u64,
    meter: Option<Meter<'a>>,
    pub reading: Option<Reading>,
}

impl<'a> Phases<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self {
            phase: Phase::WarmUp,
            options,
            until_ns: now_ns() + options.warmup.as_nanos() as u64,
            meter: None,
            reading: None,
        }
    }

    pub(crate) fn sending(&self) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Measured)
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
