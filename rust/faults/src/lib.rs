//! Deliberate faults: what the simulation must find when it is there.
//!
//! The product asks [`on`] at the places where a mistake would break a promise. Without the feature
//! `injected` the answer is a constant `false`, and nothing of it is left in the binary.

#[cfg(feature = "injected")]
mod injected;
#[cfg(feature = "injected")]
pub use injected::{NAMES, inject, on};

/// A mistake that somebody could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The log says durable without having synced.
    AckBeforeSync = 1,
    /// A batch is answered and delivered when the log is given it, not when the log has it.
    DeliverBeforeCommit,
    /// A repetition takes a number before it is recognised.
    DedupeAfterNumbering,
    /// A replay brings rows back, and not their keys.
    DedupeForgottenOnRestart,
    /// A catch-up page counts as the last one although it was asked for before the routes were set.
    BoundBeforeRoutes,
    /// A token covers rows that a fan-out has not given to everybody yet.
    WatermarkAheadOfFanOut,
    /// A writer does not look whether a successor has begun a newer epoch.
    EpochUnchecked,
    /// Half a batch at the end of the log is left where it is.
    TornTailKept,
    /// The keys of a batch that failed stay known.
    FailedKeyRemembered,
    /// A sync that failed is tried again, and believed.
    RetriedFsync,
    /// A frame number that was skipped on a link is not looked at.
    LinkGapIgnored,
    /// The numbers of a batch that failed are not given out again.
    RolledBackNumberKept,
    /// Links go on over a reopening of their partition, and frames of its former epoch count.
    StaleFrameAccepted,
    /// Joins and leaves of a batch that failed stay.
    UndoOfMembershipMissed,
    /// A key that says it is as old as forgotten ones is taken for a new one.
    ExpiredKeyTaken,
    /// A start does not know any more how old forgotten keys are.
    ExpiryForgottenOnRestart,
    /// Segments are removed before the archive has what is in them.
    SegmentsRemovedEarly,
    /// The archive takes a chunk's rows without the last heads of their conversations.
    ArchivedHeadStale,
    /// Keys that left the sequencer's memory are not looked for in the archive.
    DedupeBucketForgotten,
    /// Rows leave memory before the archive has them.
    RowsEvictedEarly,
}

/// Whether the fault is injected: never, in this build.
#[cfg(not(feature = "injected"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must leave nothing behind")]
pub const fn on(_fault: Fault) -> bool {
    false
}
