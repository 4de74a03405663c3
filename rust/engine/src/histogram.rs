//! Times, counted in buckets that monitoring systems know how to add up.

/// Upper bounds of the buckets but the last, in microseconds. What is shown under them are cumulative
/// counts of seconds.
pub(crate) const BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Words of a histogram in shared memory: its buckets and the sum.
pub(crate) const WORDS: usize = BOUNDS_US.len() + 2;

/// Counts by bucket, and the sum.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// Counts a time `times` over.
    pub(crate) fn record(&mut self, us: u64, times: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += times;
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(times));
    }

    /// The buckets, then the sum.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.iter().copied().chain([self.sum_us])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_reaches_it() {
        let mut histogram = Histogram::default();
        for (us, times) in [(0, 1), (100, 2), (101, 3), (10_000_000, 4), (10_000_001, 5)] {
            histogram.record(us, times);
        }
        let words: Vec<u64> = histogram.words().collect();
        assert_eq!(words.len(), WORDS);
        assert_eq!((words[0], words[1], words[14], words[15]), (3, 3, 4, 5));
        assert_eq!(words[16], 200 + 303 + 40_000_000 + 50_000_005);
    }
}
