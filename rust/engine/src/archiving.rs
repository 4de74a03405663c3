//! What commits changed on its way to the archive, and what memory may hold meanwhile.
//!
//! ```text
//! commit ─▶ chunk gathers ─ large enough ─▶ archiver (a thread) ─ durable ─▶ rows may leave memory
//!                                             └ behind by more than the budget: commands wait
//! ```

use crate::engine::Engine;
use crate::faults::{self, Fault, Faults};
use crate::owner::Owned;
use crate::system::Archiver;
use imfast_log::Retention;
use imfast_partition::archive::{ArchivedKey, Reached};
use imfast_warm::Source;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Chunks given to the archiver that it has not ended; the next one gathers meanwhile.
const SUBMITTED_MAX: usize = 2;
/// Rows that one step lets go of; as many as the largest usual batch adds.
const EVICTED_A_STEP: usize = 4_096;
/// How long a replay waits for the archive at a time; well below what a heartbeat allows.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where a partition's rows and state go.
pub(crate) struct Archiving {
    /// Those that the archive had, until the sequencer takes them.
    pub keys: Vec<ArchivedKey>,
    /// Dropped with the partition: what it has at hand is written before the log is opened again.
    pub archiver: Archiver,
    /// The archive did not take the last chunk; its thread tries again.
    pub failing: bool,
    /// Position of the oldest key that the sequencer remembered after the last commit.
    pub keys_from: u64,
    /// Removes the segments behind the archive; its failures are counted once each.
    pub retention: Arc<Retention>,
    pub removal_failures: u64,
}

/// The log as an archive's thread sees it.
pub(crate) struct LogBehind(pub Arc<Retention>);

impl Source for LogBehind {
    fn make_durable(&self) -> io::Result<()> {
        self.0.make_durable()
    }

    fn archived(&self, position: u64) {
        // It counts its failures, and tries again with the next chunk.
        let _ = self.0.archived(position);
    }
}

/// How much may wait for an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Commands of a chunk, unless its rows fill a quarter of `rows_bytes` before.
    pub commands: u64,
    pub rows_bytes: usize,
}

impl Owned {
    /// After commands were committed. `keys_from` is the position of the oldest key that the sequencer
    /// has, one past the last position without keys.
    pub(crate) fn archive_step(&mut self, keys_from: u64, budget: Budget) {
        self.archiving.keys_from = keys_from;
        self.partition.keys_from(keys_from);
        self.go_on(budget);
    }

    /// Hands over what is due, lets archived rows go, and sees whether commands have to wait.
    fn go_on(&mut self, budget: Budget) {
        let due = self.partition.chunk_commands() >= budget.commands
            || self.partition.chunk_row_bytes() >= budget.rows_bytes / 4;
        if due && self.archiving.archiver.pending() < SUBMITTED_MAX {
            let chunk = self.partition.take_chunk(self.archiving.keys_from);
            self.archiving.archiver.submit(chunk);
        }
        self.partition.evict(budget.rows_bytes, EVICTED_A_STEP);
        self.rows_full = self.partition.unarchived_bytes() > budget.rows_bytes;
    }

    /// Takes what the archiver ended.
    fn archived(
        &mut self,
        finished: Vec<io::Result<Reached>>,
        budget: Budget,
        faults: &mut Faults,
        now_ms: u64,
    ) {
        for result in finished {
            self.archiving.failing = result.is_err();
            match result {
                Ok(reached) => self.partition.archived(reached.position),
                Err(_) => faults::count(faults, Fault::ArchiveWrite, now_ms),
            }
        }
        let failures = self.archiving.retention.failures();
        for _ in self.archiving.removal_failures..failures {
            faults::count(faults, Fault::LogRemoval, now_ms);
        }
        self.archiving.removal_failures = failures;
        // Commands that wait for room commit nothing: the next chunk has to go from here.
        self.go_on(budget);
    }
}

impl Engine {
    pub(crate) fn archive_budget(&self) -> Budget {
        Budget {
            commands: self.config.archive_commands,
            rows_bytes: self.config.rows_bytes,
        }
    }

    /// For how long retries find the first result, in the partition that forgets first.
    pub(crate) fn dedupe_covered_s(&self) -> u64 {
        let window_ms = self.config.dedupe_window_ms;
        let owned = self.owned.iter().flatten();
        let covered = owned.map(|owned| match owned.partition.keys_forgotten_ms() {
            0 => window_ms,
            last_ms => self.wall_ms.saturating_sub(last_ms).min(window_ms),
        });
        covered.min().unwrap_or(window_ms) / 1_000
    }

    /// Takes what the archives' threads ended since the last look.
    pub(crate) fn archive_progress(&mut self) {
        let budget = self.archive_budget();
        for owned in self.owned.iter_mut().flatten() {
            let finished = owned.archiving.archiver.take_finished();
            if !finished.is_empty() {
                owned.archived(finished, budget, &mut self.faults, self.now_ms);
            }
        }
    }

    /// The same while a replay goes on, which waits for an archive that is behind.
    pub(crate) fn archive_replayed(&mut self, partition: u16, keys_from: u64) {
        let budget = self.archive_budget();
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return;
        };
        owned.archive_step(keys_from, budget);
        let archiver = &owned.archiving.archiver;
        if archiver.pending() >= SUBMITTED_MAX && !owned.archiving.failing {
            let finished = archiver.wait_below(SUBMITTED_MAX, PATIENCE);
            owned.archived(finished, budget, &mut self.faults, self.now_ms);
            self.beat();
        }
    }
}
