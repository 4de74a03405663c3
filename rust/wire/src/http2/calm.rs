//! How much work that asks nothing a peer may make: frames that cost it some bytes and us an answer,
//! an entry or a look. Resets (CVE-2023-44487, CVE-2025-8671), pings, settings, priorities, empty
//! frames and windows without need are all counted together.

use crate::rate::{Bucket, Rate};

/// As many at once, and then so many a second.
const BURST: u32 = 400;
const PER_SECOND: u32 = 40;
/// Window updates that what we sent has earned, at most.
const EARNED_MAX: u32 = 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Calm {
    bucket: Bucket,
    earned: u32,
}

impl Calm {
    /// Counts a nuisance; false: it is one too many.
    pub(super) fn bears(&mut self, cost: u32, now_ms: u64) -> bool {
        // It was made of numbers that give one.
        let Some(rate) = Rate::new(PER_SECOND, BURST) else {
            return false;
        };
        let now_ns = now_ms.saturating_mul(1_000_000);
        rate.take(&mut self.bucket, now_ns, cost).is_ok()
    }

    /// A frame of data went out: the peer may open two windows for it.
    pub(super) fn earn(&mut self) {
        self.earned = (self.earned + 2).min(EARNED_MAX);
    }

    /// Counts the opening of a window.
    pub(super) fn bears_window(&mut self, now_ms: u64) -> bool {
        if self.earned > 0 {
            self.earned -= 1;
            return true;
        }
        self.bears(1, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_borne_and_a_flood_is_not() {
        let mut calm = Calm::default();
        assert_eq!((0..1000).filter(|_| calm.bears(1, 5000)).count(), 400);
        // A second later there is room for some more.
        assert_eq!((0..1000).filter(|_| calm.bears(1, 6000)).count(), 40);
    }

    #[test]
    fn windows_that_were_earned_cost_nothing() {
        let mut calm = Calm::default();
        for _ in 0..10_000 {
            calm.earn();
            assert!(calm.bears_window(1) && calm.bears_window(1));
        }
        assert_eq!((0..1000).filter(|_| calm.bears_window(1)).count(), 400);
    }
}
