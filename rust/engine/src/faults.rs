//! Faults that a worker survives: counted by kind, told to the caller at most once a second.

use crate::crash::{self, Event};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong, or ran full. The names are those of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// A panic while one connection's bytes were decoded: that connection is closed.
    Decoding,
    /// A panic in a partition's fold: the partition is closed and opened again.
    Fold,
    /// A partition's queue of commands is full: senders are told to wait.
    InboxFull,
    /// The memory for rows is used up: senders are told so.
    RowsFull,
    /// Too much is unanswered by another worker: senders are told to wait.
    RequestsFull,
    /// Another worker reads too slowly: it gets rows from memory, at its own pace.
    LinkFull,
    /// A client reads too slowly: its connection is dropped.
    SendQueueFull,
    /// The archive does not take what was committed: rows stay in memory, and it is tried again.
    ArchiveWrite,
    /// The archive does not give what it has: the question is answered with an error.
    ArchiveRead,
    /// The archive was damaged and is made again from the log.
    ArchiveRebuilt,
    /// A segment that nobody needs any more could not be removed.
    LogRemoval,
}

/// Names of the counters, in their order.
pub(crate) const NAMES: [&str; 11] = [
    "decoding_panics",
    "fold_panics",
    "inbox_full",
    "rows_full",
    "requests_full",
    "link_full",
    "send_queue_full",
    "archive_write_errors",
    "archive_read_errors",
    "archive_rebuilds",
    "log_removal_errors",
];

/// Between two reports to the caller.
const REPORT_MS: u64 = 1_000;

/// Counters by kind; they only grow.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    counts: [u64; NAMES.len()],
    changed: bool,
    due_ms: u64,
}

impl Faults {
    pub(crate) fn count(&mut self, fault: Fault) {
        self.set(fault, self.counts[fault as usize] + 1);
    }

    /// Takes over what is counted elsewhere.
    pub(crate) fn set(&mut self, fault: Fault, count: u64) {
        let known = &mut self.counts[fault as usize];
        if *known != count {
            *known = count;
            self.changed = true;
        }
    }

    /// Whether there is something new to tell, and it is time.
    pub(crate) fn waiting(&self, now_ms: u64) -> bool {
        self.changed && now_ms >= self.due_ms
    }

    /// Totals by name, without the kinds that never happened.
    pub(crate) fn take(&mut self, now_ms: u64) -> Vec<(&'static str, u64)> {
        self.changed = false;
        self.due_ms = now_ms + REPORT_MS;
        self.fields().filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.counts)
    }
}

/// Runs `work`; `None` when it panicked. Only for work whose state is thrown away then: nobody may
/// look at what it left half done.
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Counts a fault and remembers it for a crash report.
pub(crate) fn count(faults: &mut Faults, fault: Fault, now_ms: u64) {
    crash::note(Event::Fault, now_ms, fault as u64, 0);
    faults.count(fault);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_once_a_second_with_their_totals() {
        let mut faults = Faults::default();
        assert!(!faults.waiting(0));
        faults.count(Fault::InboxFull);
        faults.count(Fault::InboxFull);
        faults.set(Fault::SendQueueFull, 0);
        assert!(faults.waiting(0));
        assert_eq!(faults.take(0), [("inbox_full", 2)]);
        assert!(!faults.waiting(5_000), "nothing is new");
        faults.count(Fault::LinkFull);
        assert!(!faults.waiting(REPORT_MS - 1) && faults.waiting(REPORT_MS));
        assert_eq!(
            faults.take(REPORT_MS),
            [("inbox_full", 2), ("link_full", 1)]
        );
    }
}
