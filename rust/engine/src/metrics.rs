//! What a worker shows in shared memory: whoever monitors the node reads it there, whatever the worker
//! is doing, and what a worker has counted outlives it.

use crate::engine::Engine;
use crate::faults;
use crate::histogram::{self, BOUNDS_US, Histogram};
use crate::stats::Stats;
use imfast_routes::METRICS_MAX;

/// Present numbers, in the order in which they stand in shared memory.
const GAUGES: [&str; 12] = [
    "connections",
    "users",
    "groups",
    "seats",
    "links",
    "partitions",
    "inbox_bytes",
    "link_queue_bytes",
    "rows_bytes",
    "rows_unarchived_bytes",
    "dedupe_covered_s",
    "log_bytes",
];
const HISTOGRAMS: [&str; 2] = ["delivery", "commit"];

/// Messages handed to sessions, by how old they were.
#[derive(Default)]
pub(crate) struct Deliveries {
    pub ages: Histogram,
    counted: u64,
}

impl Deliveries {
    /// Of `total` deliveries those not counted yet were this old.
    #[inline]
    pub(crate) fn were(&mut self, age_ms: u64, total: u64) {
        let fresh = total - self.counted;
        if fresh > 0 {
            self.counted = total;
            self.ages.record(age_ms * 1000, fresh);
        }
    }

    /// Those not counted yet were of a catch-up, whose age is its reader's.
    pub(crate) fn were_old(&mut self, total: u64) {
        self.counted = total;
    }
}

/// A histogram by name: upper bounds in microseconds, counts by bucket (one more), and their sum.
pub type NamedHistogram = (&'static str, Vec<u64>, Vec<u64>, u64);

/// What one worker and its predecessors showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// They only grow, over all workers of that number.
    pub counters: Vec<(&'static str, u64)>,
    pub gauges: Vec<(&'static str, u64)>,
    pub histograms: Vec<NamedHistogram>,
}

impl Shown {
    /// Reads the words of a worker.
    pub fn read(words: &[u64]) -> Self {
        let mut rest = words.iter().copied();
        let mut take = |name| (name, rest.next().unwrap_or(0));
        let mut shown = Self {
            counters: counter_names().map(&mut take).collect(),
            ..Self::default()
        };
        for name in HISTOGRAMS {
            let mut counts: Vec<u64> = (0..histogram::WORDS).map(|_| take("").1).collect();
            let sum_us = counts.pop().unwrap_or(0);
            let bounds = BOUNDS_US.to_vec();
            shown.histograms.push((name, bounds, counts, sum_us));
        }
        shown.gauges = GAUGES.map(take).to_vec();
        shown
    }
}

fn counter_names() -> impl Iterator<Item = &'static str> {
    let counted = Stats::default().fields().map(|(name, _)| name);
    counted.into_iter().chain(faults::NAMES)
}

impl Engine {
    /// Shows the present numbers; the counters go on from those of the worker before.
    pub(crate) fn show_metrics(&self) {
        let stats = self.io.stats.fields().map(|(_, value)| value);
        let faulty = self.faults.fields().map(|(_, value)| value);
        let counters = stats
            .into_iter()
            .chain(faulty)
            .chain(self.io.deliveries.ages.words())
            .chain(self.commit_times.words());
        let worker = self.config.worker.into();
        let mut index = 0;
        for (value, before) in counters.zip(&self.counted_before) {
            let total = before.wrapping_add(value);
            self.routes.show_metric(worker, index, total);
            index += 1;
        }
        for gauge in self.gauges() {
            self.routes.show_metric(worker, index, gauge);
            index += 1;
        }
        debug_assert!(index <= METRICS_MAX);
    }

    pub(crate) fn named_gauges(&self) -> impl Iterator<Item = (&'static str, u64)> {
        GAUGES.into_iter().zip(self.gauges())
    }

    fn gauges(&self) -> [u64; GAUGES.len()] {
        let owned = || self.owned.iter().flatten();
        [
            self.io.connections.len() as u64,
            self.users.len() as u64,
            self.groups.len() as u64,
            self.seats.len() as u64,
            self.links.len() as u64,
            owned().count() as u64,
            owned().map(|owned| owned.inbox_bytes() as u64).sum(),
            self.links.queued_bytes() as u64,
            owned().map(|o| o.partition.row_bytes() as u64).sum(),
            owned().map(|o| o.partition.unarchived_bytes() as u64).sum(),
            self.dedupe_covered_s(),
            owned().map(|o| o.archiving.retention.bytes()).sum(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_place() {
        let counters = counter_names().count();
        assert!(counters + HISTOGRAMS.len() * histogram::WORDS + GAUGES.len() <= METRICS_MAX);
        let words: Vec<u64> = (0..METRICS_MAX as u64).collect();
        let shown = Shown::read(&words);
        assert_eq!(shown.counters[0], ("accepted", 0));
        let (name, bounds, counts, sum) = &shown.histograms[1];
        assert_eq!((*name, bounds.len() + 1), ("commit", counts.len()));
        assert_eq!(*sum as usize, counters + 2 * histogram::WORDS - 1);
        assert_eq!(shown.gauges[0].1, sum + 1);
    }

    #[test]
    fn deliveries_are_counted_once() {
        let mut deliveries = Deliveries::default();
        deliveries.were(3, 10);
        deliveries.were(4, 10);
        deliveries.were_old(15);
        deliveries.were(1, 16);
        let words: Vec<u64> = deliveries.ages.words().collect();
        assert_eq!(words.iter().take(16).sum::<u64>(), 11);
        assert_eq!(words[16], 31_000);
    }
}
