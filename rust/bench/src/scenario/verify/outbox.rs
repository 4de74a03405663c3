//! One user's requests that have no answer yet, in their order, across sessions.

use std::collections::VecDeque;

/// Requests that one session has under way; servers announce no less than this.
const UNDER_WAY_MAX: u64 = 512;

/// Requests, numbered from 0 in the order in which they were made.
pub(crate) struct Outbox<R> {
    /// The number of `open[0]`.
    base: u64,
    /// None: answered.
    open: VecDeque<Option<R>>,
    /// Those of `open` that are not.
    waiting: usize,
    /// The first that was not written to this session.
    unwritten: u64,
    /// Written to this session, and not answered.
    under_way: u64,
    /// Refused for now: when to write it again, in nanoseconds, and its number.
    again: Vec<(u64, u64)>,
}

impl<R> Default for Outbox<R> {
    fn default() -> Self {
        Self {
            base: 0,
            open: VecDeque::new(),
            waiting: 0,
            unwritten: 0,
            under_way: 0,
            again: Vec::new(),
        }
    }
}

impl<R> Outbox<R> {
    /// Puts a request behind all others; returns its number.
    pub(crate) fn push(&mut self, request: R) -> u64 {
        self.open.push_back(Some(request));
        self.waiting += 1;
        self.base + self.open.len() as u64 - 1
    }

    /// The number that [`Self::push`] gives next.
    pub(crate) fn next_number(&self) -> u64 {
        self.base + self.open.len() as u64
    }

    /// Requests without an answer.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// A new session: whatever is open is written again, in its order.
    pub(crate) fn session_began(&mut self) {
        self.unwritten = self.base;
        self.under_way = 0;
        self.again.clear();
    }

    /// The next request to be written now.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<(u64, &R)> {
        if let Some(due) = self.again.iter().position(|&(at_ns, _)| at_ns <= now_ns) {
            let (_, number) = self.again.swap_remove(due);
            self.under_way += 1;
            return Some((number, self.get(number)?));
        }
        if self.under_way >= UNDER_WAY_MAX {
            return None;
        }
        while self.unwritten < self.next_number() {
            let number = self.unwritten;
            self.unwritten += 1;
            if self.get(number).is_some() {
                self.under_way += 1;
                return Some((number, self.get(number)?));
            }
        }
        None
    }

    /// When [`Self::next`] has something again that was refused.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.again.iter().map(|&(at_ns, _)| at_ns).min()
    }

    /// The answer has come; none when there is no such request open.
    pub(crate) fn answered(&mut self, number: u64) -> Option<R> {
        let index = number.checked_sub(self.base)?;
        let request = self.open.get_mut(index as usize)?.take()?;
        self.waiting -= 1;
        self.under_way = self.under_way.saturating_sub(1);
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.base += 1;
        }
        self.unwritten = self.unwritten.max(self.base);
        Some(request)
    }

    /// The answer is: not now. It is written again at `at_ns`.
    pub(crate) fn refused(&mut self, number: u64, at_ns: u64) {
        if self.get(number).is_some() {
            self.under_way = self.under_way.saturating_sub(1);
            self.again.push((at_ns, number));
        }
    }

    fn get(&self, number: u64) -> Option<&R> {
        let index = number.checked_sub(self.base)?;
        self.open.get(index as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbox: &mut Outbox<&'static str>, now_ns: u64) -> Vec<(u64, &'static str)> {
        std::iter::from_fn(|| {
            outbox
                .next(now_ns)
                .map(|(number, request)| (number, *request))
        })
        .collect()
    }

    #[test]
    fn a_new_session_writes_what_has_no_answer_again_in_its_order() {
        let mut outbox = Outbox::default();
        for request in ["a", "b", "c"] {
            outbox.push(request);
        }
        assert_eq!(written(&mut outbox, 0), [(0, "a"), (1, "b"), (2, "c")]);
        assert_eq!(outbox.answered(1), Some("b"));
        assert_eq!(outbox.answered(1), None);
        outbox.push("d");
        outbox.session_began();
        assert_eq!(written(&mut outbox, 0), [(0, "a"), (2, "c"), (3, "d")]);
        for number in [0, 2, 3] {
            assert!(outbox.answered(number).is_some());
        }
        assert_eq!((outbox.len(), outbox.next_number()), (0, 4));
    }

    #[test]
    fn a_refused_request_is_written_again_when_its_time_has_come() {
        let mut outbox = Outbox::default();
        outbox.push("a");
        assert_eq!(written(&mut outbox, 0), [(0, "a")]);
        outbox.refused(0, 50);
        assert_eq!(outbox.due_ns(), Some(50));
        assert_eq!(written(&mut outbox, 49), []);
        assert_eq!(written(&mut outbox, 50), [(0, "a")]);
        assert_eq!(outbox.due_ns(), None);
        assert_eq!(outbox.answered(0), Some("a"));
    }

    #[test]
    fn a_session_has_no_more_under_way_than_servers_take() {
        let mut outbox = Outbox::default();
        for _ in 0..UNDER_WAY_MAX + 5 {
            outbox.push("a");
        }
        assert_eq!(written(&mut outbox, 0).len() as u64, UNDER_WAY_MAX);
        outbox.answered(7);
        assert_eq!(written(&mut outbox, 0).len(), 1);
    }
}
