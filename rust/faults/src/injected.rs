//! At most one fault at a time, for the whole process.

use super::Fault;
use std::sync::atomic::{AtomicU8, Ordering};

static INJECTED: AtomicU8 = AtomicU8::new(0);

/// The faults by name.
pub const NAMES: [(&str, Fault); 20] = [
    ("ack-before-sync", Fault::AckBeforeSync),
    ("deliver-before-commit", Fault::DeliverBeforeCommit),
    ("dedupe-after-numbering", Fault::DedupeAfterNumbering),
    (
        "dedupe-forgotten-on-restart",
        Fault::DedupeForgottenOnRestart,
    ),
    ("bound-before-routes", Fault::BoundBeforeRoutes),
    ("watermark-ahead-of-fan-out", Fault::WatermarkAheadOfFanOut),
    ("epoch-unchecked", Fault::EpochUnchecked),
    ("torn-tail-kept", Fault::TornTailKept),
    ("failed-key-remembered", Fault::FailedKeyRemembered),
    ("retried-fsync", Fault::RetriedFsync),
    ("link-gap-ignored", Fault::LinkGapIgnored),
    ("rolled-back-number-kept", Fault::RolledBackNumberKept),
    ("stale-frame-accepted", Fault::StaleFrameAccepted),
    ("undo-of-membership-missed", Fault::UndoOfMembershipMissed),
    ("expired-key-taken", Fault::ExpiredKeyTaken),
    (
        "expiry-forgotten-on-restart",
        Fault::ExpiryForgottenOnRestart,
    ),
    ("segments-removed-early", Fault::SegmentsRemovedEarly),
    ("archived-head-stale", Fault::ArchivedHeadStale),
    ("rows-evicted-early", Fault::RowsEvictedEarly),
    ("dedupe-bucket-forgotten", Fault::DedupeBucketForgotten),
];

/// Injects the fault of this name, in place of the one before; an empty name injects none. False
/// where there is no such fault.
pub fn inject(name: &str) -> bool {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    INJECTED.store(
        found.map_or(0, |(_, fault)| *fault as u8),
        Ordering::Relaxed,
    );
    found.is_some() || name.is_empty()
}

/// Whether the fault is injected.
pub fn on(fault: Fault) -> bool {
    INJECTED.load(Ordering::Relaxed) == fault as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_is_on_until_another_or_none_is_injected() {
        assert!(inject("torn-tail-kept"));
        assert!(on(Fault::TornTailKept) && !on(Fault::RetriedFsync));
        assert!(inject("retried-fsync"));
        assert!(!on(Fault::TornTailKept) && on(Fault::RetriedFsync));
        assert!(!inject("no-such-fault"));
        assert!(inject(""));
        assert!(!on(Fault::RetriedFsync));
    }
}
