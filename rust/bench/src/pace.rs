//! A constant rate: when each message is to be sent, whatever happened to those before.

/// Intended times, in nanoseconds of the monotonic clock.
pub(crate) struct Pace {
    began_ns: u64,
    rate: f64,
    taken: u64,
}

impl Pace {
    /// `rate` messages a second from `began_ns` on.
    pub(crate) fn new(began_ns: u64, rate: f64) -> Self {
        Self {
            began_ns,
            rate,
            taken: 0,
        }
    }

    /// When the next message is to be sent.
    pub(crate) fn next_ns(&self) -> u64 {
        self.began_ns + (self.taken as f64 / self.rate * 1e9) as u64
    }

    /// How late the next message is.
    pub(crate) fn behind_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.next_ns())
    }

    /// Takes the next message if its time has come: its number and its intended time.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        let at_ns = self.next_ns();
        (at_ns <= now_ns).then(|| {
            self.taken += 1;
            (self.taken - 1, at_ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_a_stall_delayed_keep_their_intended_times() {
        let mut pace = Pace::new(1_000, 1e6);
        assert_eq!(pace.take(999), None);
        assert_eq!(pace.take(1_000), Some((0, 1_000)));
        assert_eq!(pace.take(1_000), None);
        assert_eq!((pace.behind_ns(1_500), pace.behind_ns(4_500)), (0, 2_500));
        let late: Vec<_> = std::iter::from_fn(|| pace.take(4_500)).collect();
        assert_eq!(late, [(1, 2_000), (2, 3_000), (3, 4_000)]);
        assert_eq!(pace.next_ns(), 5_000);
    }
}
