//! When sessions end because their tokens do.

use crate::slab::Handle;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// So many times are not worth looking through for those of sessions that are gone.
const FEW: usize = 1024;
/// A session has two times: when it is told, and when it ends.
const PER_SESSION: usize = 2;

/// Times by session, the next one first. A session that ends earlier leaves its times behind, maybe
/// for days; they are thrown out once they are more than the others.
#[derive(Default)]
pub(crate) struct Expiries {
    times: BinaryHeap<Reverse<(u64, u32, u32)>>,
}

impl Expiries {
    /// Adds a time in seconds since 1970. There are at most `sessions` now; `wanted` says whether a
    /// time still means something to its session.
    pub(crate) fn add(
        &mut self,
        at_s: u64,
        handle: Handle,
        sessions: usize,
        wanted: impl Fn(u64, Handle) -> bool,
    ) {
        // Half of them at least go, so that looking at one is paid for by adding one.
        if self.times.len() >= FEW + 2 * PER_SESSION * sessions {
            let mut times = std::mem::take(&mut self.times).into_vec();
            times.retain(|Reverse((at_s, slot, generation))| {
                let (slot, generation) = (*slot, *generation);
                wanted(*at_s, Handle { slot, generation })
            });
            // A token that is given again and again is the same time again and again.
            times.sort_unstable();
            times.dedup();
            self.times = times.into();
        }
        self.times
            .push(Reverse((at_s, handle.slot, handle.generation)));
    }

    /// Takes a session of which a time has come, one after the other.
    pub(crate) fn take_due(&mut self, now_s: u64) -> Option<Handle> {
        let Reverse((at_s, slot, generation)) = *self.times.peek()?;
        if at_s > now_s {
            return None;
        }
        self.times.pop();
        Some(Handle { slot, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(slot: u32) -> Handle {
        Handle {
            slot,
            generation: 7,
        }
    }

    #[test]
    fn times_come_in_order_and_not_before() {
        let mut expiries = Expiries::default();
        for (at_s, slot) in [(30, 3), (10, 1), (20, 2)] {
            expiries.add(at_s, handle(slot), 3, |_, _| true);
        }
        assert_eq!(expiries.take_due(9), None);
        assert_eq!(expiries.take_due(20), Some(handle(1)));
        assert_eq!(expiries.take_due(20), Some(handle(2)));
        assert_eq!(expiries.take_due(20), None);
    }

    #[test]
    fn sessions_that_are_gone_leave_a_bounded_number_of_times_and_no_other_is_lost() {
        let mut expiries = Expiries::default();
        let here = |_, one: Handle| one.slot < 10;
        for slot in 0..100_000 {
            expiries.add(500 + u64::from(slot), handle(slot), 10, here);
            assert!(expiries.times.len() <= FEW + 2 * PER_SESSION * 10);
        }
        let due: Vec<u32> = std::iter::from_fn(|| expiries.take_due(u64::MAX))
            .map(|one| one.slot)
            .filter(|slot| *slot < 10)
            .collect();
        assert_eq!(due, (0..10).collect::<Vec<u32>>());
    }

    #[test]
    fn a_session_that_gives_one_token_again_and_again_has_its_time_once() {
        let mut expiries = Expiries::default();
        for _ in 0..100_000 {
            expiries.add(500, handle(1), 1, |_, _| true);
            assert!(expiries.times.len() <= FEW + 2 * PER_SESSION);
        }
    }
}
