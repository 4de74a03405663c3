//! One batch at a time through the fold: planned, numbered elsewhere, finished, then committed or
//! rolled back.
//!
//! The committed state changes in [`Fold::commit`] only. Until then a batch lives in its plans and
//! its overlay; the one trace it leaves in the state are new names and still empty conversations
//! at the end of the tables, which queries do not see and a rollback cuts off.

mod change;
mod commit;
mod finish;
mod group;
mod group_roles;
mod message;
mod overlay;
mod plan;
mod rate;

use crate::config::PartitionConfig;
use crate::hash::Hashes;
use crate::outcome::{Disagreement, Outcome, ReplayError};
use crate::record::Record;
use crate::state::{Mark, State};

use finish::StagedRow;
use imfast_faults::{Fault, on};
pub(crate) use message::{READER, check_peer};
use overlay::Overlay;
use plan::Plan;
use rate::GroupBuckets;

/// How far the batch in flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    /// Records are out for numbering.
    Begun,
    /// Numbered and checked; waits for the log.
    Finished,
}

/// The batch in flight. Its buffers are kept between batches.
#[derive(Debug, Default)]
struct Batch {
    time_ms: u64,
    replay: bool,
    mark: Mark,
    commands: Vec<Vec<u8>>,
    /// One for each command.
    plans: Vec<Plan>,
    pub(crate) records: Vec<Record>,
    overlay: Overlay,
    /// One for each command, once finished.
    outcomes: Vec<Outcome>,
    /// One for each new numbered record, in order.
    rows: Vec<StagedRow>,
    last_message_id: u64,
}

/// State and the batch in flight.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) config: PartitionConfig,
    pub(crate) state: State,
    phase: Phase,
    batch: Batch,
    group_buckets: GroupBuckets,
}

impl Fold {
    pub(crate) fn new(config: PartitionConfig) -> Self {
        assert!(
            config.partition < config.count,
            "partition number is below the count"
        );
        let state = State::new(Hashes::new(config.hash_secret));
        Self {
            config,
            state,
            phase: Phase::Idle,
            batch: Batch::default(),
            group_buckets: GroupBuckets::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.batch.records
    }

    pub(crate) fn records_mut(&mut self) -> &mut [Record] {
        assert_eq!(
            self.phase,
            Phase::Begun,
            "records are numbered between begin and finish"
        );
        &mut self.batch.records
    }

    /// Opens a batch. In a replay, limits and retries are not looked at: what the log holds was
    /// accepted.
    pub(crate) fn open(&mut self, time_ms: u64, replay: bool) {
        assert_eq!(self.phase, Phase::Idle, "one batch in flight");
        self.batch.time_ms = time_ms;
        self.batch.replay = replay;
        self.batch.mark = self.state.mark();
        self.batch.last_message_id = self.state.last_message_id;
        self.phase = Phase::Begun;
    }

    /// Adds a command to the open batch.
    pub(crate) fn take(&mut self, command: Vec<u8>) {
        let plan = self
            .plan(&command)
            .unwrap_or_else(|why| Plan::Settled(Outcome::Refused(why)));
        self.batch.plans.push(plan);
        self.batch.commands.push(command);
    }

    /// Bytes of the commands in the batch.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch.commands.iter().map(Vec::len).sum()
    }

    /// Adds a command from the log, which must be accepted again.
    pub(crate) fn take_logged(&mut self, command: Vec<u8>) -> Result<(), ReplayError> {
        let position = self.state.position + self.batch.records.len() as u64 + 1;
        let plan = self
            .plan(&command)
            .map_err(|reason| ReplayError::Refused { position, reason })?;
        if let Plan::Settled(_) | Plan::Repeat(_) | Plan::Unchanged { .. } = plan {
            return Err(ReplayError::Unchanged { position });
        }
        if on(Fault::DedupeForgottenOnRestart)
            && let Some(record) = self.batch.records.last_mut()
        {
            (record.key_high, record.key_low) = (0, 0);
        }
        self.batch.plans.push(plan);
        self.batch.commands.push(command);
        Ok(())
    }

    /// Undoes the batch in flight, in whichever phase, and gives its commands back.
    pub(crate) fn rollback(&mut self) -> Vec<Vec<u8>> {
        assert_ne!(self.phase, Phase::Idle, "a batch is in flight");
        self.unstage();
        if on(Fault::UndoOfMembershipMissed) {
            self.keep_membership();
        }
        self.state.truncate(self.batch.mark);
        self.close()
    }

    /// What [`Fault::UndoOfMembershipMissed`] does: who joined or left stays in or out.
    fn keep_membership(&mut self) {
        for plan in core::mem::take(&mut self.batch.plans) {
            let Plan::Event(event) = plan else { continue };
            let record = self.batch.records[event.record as usize];
            let entry = self.state.conversation_mut(record.conversation);
            let seq = entry.head() + 1;
            for &user in &event.users {
                let is_in = entry
                    .members
                    .find(user)
                    .is_some_and(crate::members::Member::is_in);
                if !event.change.adds() && is_in {
                    entry.members.leave(user, seq);
                }
            }
        }
    }

    fn unstage(&mut self) {
        for record in &self.batch.records {
            self.state.conversation_mut(record.conversation).staged = 0;
        }
    }

    fn close(&mut self) -> Vec<Vec<u8>> {
        self.batch.plans.clear();
        self.batch.records.clear();
        self.batch.overlay.clear();
        self.batch.outcomes.clear();
        self.batch.rows.clear();
        self.phase = Phase::Idle;
        core::mem::take(&mut self.batch.commands)
    }

    fn disagreement(&self, what: &'static str, record: usize) -> Disagreement {
        Disagreement {
            position: self.state.position + record as u64 + 1,
            what,
        }
    }
}
