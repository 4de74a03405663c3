//! [`Partition`]: what the engine holds for every partition it owns.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::archive::{Archive, Chunk};
use crate::config::PartitionConfig;
use crate::cursors::LazyCursors;
use crate::fold::{Fold, Phase};
use crate::outcome::{Committed, Disagreement, Incoming, LogBatch, ReplayError};
use crate::receipts::Moved;
use crate::record;
use crate::restore::{RestoreError, restore};
use crate::state_keys as keys;

/// State of one partition and at most one batch in flight.
///
/// The order of calls is `begin`, numbering of [`Self::records_mut`] by the sequencer, `finish`,
/// then `commit` once the log has the batch, or `rollback` at any point. `O` says where answers
/// go; the partition only carries it.
#[derive(Debug)]
pub struct Partition<O> {
    pub(crate) fold: Fold,
    /// Origins of the batch in flight, one for each command.
    origins: Vec<O>,
    /// Cursors that the log does not have yet.
    pub(crate) cursors: LazyCursors,
    /// Cursors of which senders are to be told.
    pub(crate) moved: Moved,
}

impl<O> Partition<O> {
    /// An empty partition, before any command.
    ///
    /// # Panics
    /// If the partition's number is not below the count.
    pub fn new(config: PartitionConfig) -> Self {
        Self {
            fold: Fold::new(config),
            origins: Vec::new(),
            cursors: LazyCursors::default(),
            moved: Moved::default(),
        }
    }

    /// A partition as of what `archive` has reached, an empty one included, and gathering for it
    /// from there on. The log behind [`Self::position`] is to be replayed.
    ///
    /// # Panics
    /// If the partition's number is not below the count.
    pub fn restore(
        config: PartitionConfig,
        archive: Arc<dyn Archive>,
    ) -> Result<Self, RestoreError> {
        let mut partition = Self::new(config);
        let fold = &mut partition.fold;
        restore(&mut fold.state, &fold.config, archive)?;
        Ok(partition)
    }

    pub fn config(&self) -> &PartitionConfig {
        &self.fold.config
    }

    /// The last committed position, 0 before the first command.
    pub fn position(&self) -> u64 {
        self.fold.state.position
    }

    /// The highest committed message id, 0 before the first.
    pub fn last_message_id(&self) -> u64 {
        self.fold.state.last_message_id
    }

    /// Whether a batch is in flight, so that `begin` has to wait.
    pub fn is_busy(&self) -> bool {
        self.fold.phase() != Phase::Idle
    }

    /// Conversations including those of the batch in flight: every record's index is below this.
    pub fn conversation_count(&self) -> usize {
        self.fold.state.conversation_count()
    }

    /// Bytes of the committed rows in memory, without what it costs to keep them.
    pub fn row_bytes(&self) -> usize {
        self.fold.state.row_bytes
    }

    /// The last committed number of every conversation, by its index.
    pub fn heads(&self) -> Vec<u64> {
        let state = &self.fold.state;
        (0..state.conversation_count() as u32)
            .map(|index| state.conversation(index).head())
            .collect()
    }

    /// Commands committed since the last [`Self::take_chunk`].
    pub fn chunk_commands(&self) -> u64 {
        self.fold.state.position - self.fold.state.gather.after()
    }

    /// Bytes of the rows that the next [`Self::take_chunk`] hands over.
    pub fn chunk_row_bytes(&self) -> usize {
        self.fold.state.gather.chunk_row_bytes()
    }

    /// Hands over what was committed since the last chunk, for the archive that the partition was
    /// restored from. `keys_from` is the position of the oldest committed key that the sequencer
    /// remembers. A batch may be in flight.
    pub fn take_chunk(&mut self, keys_from: u64) -> Chunk {
        let (state, config) = (&mut self.fold.state, &self.fold.config);
        let layout = keys::layout_value(config, &state.hashes);
        state.gather.bytes(keys::LAYOUT_KEY, layout);
        state
            .gather
            .number(keys::first_expiry(), state.first_expiry_ms);
        state
            .gather
            .take(state.position, state.last_message_id, keys_from)
    }

    /// Notes the position of the oldest committed key that the sequencer has: keys from before it
    /// are looked for in the archive. To be told after every commit, a replayed one too.
    pub fn keys_from(&mut self, position: u64) {
        self.fold.state.keys_from(position);
    }

    /// Time of the last batch with a key that nobody knows any more; 0 while there is none.
    pub fn keys_forgotten_ms(&self) -> u64 {
        let archive = self.fold.state.gather.archive();
        archive.map_or(0, crate::archive::Archive::keys_forgotten_ms)
    }

    /// The last position known to be archived: the sequencer may forget keys up to there.
    pub fn archived_position(&self) -> u64 {
        self.fold.state.gather.archived()
    }

    /// Notes that the archive has applied the chunks up to `position`: their rows may leave memory.
    pub fn archived(&mut self, position: u64) {
        self.fold.state.gather.note_archived(position);
        self.fold.state.refresh_old_keys();
    }

    /// Bytes of the rows that are not archived yet, and so have to stay in memory.
    pub fn unarchived_bytes(&self) -> usize {
        self.fold.state.gather.unarchived_bytes()
    }

    /// Lets archived rows leave memory, those of the lowest positions first, while the rows take
    /// more than `keep_bytes`. At most `at_most_rows` in this call; returns how many.
    pub fn evict(&mut self, keep_bytes: usize, at_most_rows: usize) -> usize {
        self.fold.state.evict(keep_bytes, at_most_rows)
    }

    /// Starts a batch from the front of `incoming`: at most `max_commands`, and no more once
    /// `max_bytes` of commands are reached, but at least one. `time_ms` is the wall clock in
    /// milliseconds. Returns how many were taken; the batch is in flight if that is not 0.
    ///
    /// # Panics
    /// If a batch is in flight.
    pub fn begin(
        &mut self,
        time_ms: u64,
        incoming: &mut VecDeque<Incoming<O>>,
        max_commands: usize,
        max_bytes: usize,
    ) -> usize {
        assert!(!self.is_busy(), "one batch in flight");
        if incoming.is_empty() {
            return 0;
        }
        self.fold.open(time_ms, false);
        let (mut taken, mut bytes) = (0, 0);
        while taken < max_commands.max(1) && (taken == 0 || bytes < max_bytes) {
            let Some(next) = incoming.pop_front() else {
                break;
            };
            bytes += next.command.len();
            taken += 1;
            self.origins.push(next.origin);
            self.fold.take(next.command);
        }
        taken
    }

    /// Bytes of the commands in the batch in flight; 0 without one.
    pub fn batch_bytes(&self) -> usize {
        self.fold.batch_bytes()
    }

    /// The records of the batch in flight as the sequencer sees them.
    pub fn records(&self) -> &[record::Record] {
        self.fold.records()
    }

    /// The buffer to number and how many records it holds. It may hold fewer than the commands
    /// taken, or none: what needs no number has no record.
    ///
    /// # Panics
    /// If no batch waits for numbering.
    pub fn records_mut(&mut self) -> (&mut [u8], usize) {
        let records = self.fold.records_mut();
        let count = records.len();
        (record::bytes_mut(records), count)
    }

    /// Takes the numbering and makes the batch for the log. With a count of 0 there is nothing to
    /// log, and `commit` may follow at once. After an error only `rollback` may follow.
    ///
    /// # Panics
    /// If no batch waits for numbering.
    pub fn finish(&mut self) -> Result<LogBatch, Disagreement> {
        self.fold.finish()
    }

    /// The log has the batch: it becomes state, visible to queries.
    ///
    /// # Panics
    /// If no finished batch is in flight.
    pub fn commit(&mut self) -> Committed<O> {
        self.commit_at(0)
    }

    /// As [`Self::commit`]; messages whose life has ended by `now_ms`, milliseconds since 1970, are
    /// delivered as tombstones.
    ///
    /// # Panics
    /// If no finished batch is in flight.
    pub fn commit_at(&mut self, now_ms: u64) -> Committed<O> {
        let (outcomes, rows) = self.fold.commit();
        debug_assert_eq!(outcomes.len(), self.origins.len());
        let outcomes = self.origins.drain(..).zip(outcomes).collect();
        let places = &self.fold.state.places;
        let added = places.range(places.len() - rows..);
        let deliveries = added
            .filter_map(|&place| self.delivery(place, now_ms))
            .collect();
        Committed {
            outcomes,
            deliveries,
        }
    }

    /// Undoes the batch in flight exactly and gives its commands back in their order.
    ///
    /// # Panics
    /// If no batch is in flight.
    pub fn rollback(&mut self) -> Vec<Incoming<O>> {
        let commands = self.fold.rollback();
        let both = self.origins.drain(..).zip(commands);
        both.map(|(origin, command)| Incoming { command, origin })
            .collect()
    }

    /// Gives a partition up whose fold is at fault: where the commands in flight came from. Nothing
    /// but dropping it may follow.
    pub fn abandon(&mut self) -> Vec<O> {
        core::mem::take(&mut self.origins)
    }

    /// Starts a batch read from the log: its commands with their message ids. Numbering and
    /// [`Self::replay_finish_commit`] follow. After an error the partition can only be rolled back.
    ///
    /// # Panics
    /// If a batch is in flight.
    pub fn replay_begin<'a>(
        &mut self,
        time_ms: u64,
        commands: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<usize, ReplayError> {
        self.fold.open(time_ms, true);
        let mut taken = 0;
        for command in commands {
            self.fold.take_logged(command.to_vec())?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Ends a batch of a replay: state without effects. After an error only `rollback` may follow.
    ///
    /// # Panics
    /// If no batch waits for numbering.
    pub fn replay_finish_commit(&mut self) -> Result<(), ReplayError> {
        self.fold.finish().map_err(ReplayError::Disagreement)?;
        self.fold.commit();
        Ok(())
    }

    /// The committed state as text, the same for the same history, wherever its rows are. For
    /// tests and simulations: it takes as long as the state is big.
    pub fn dump(&self) -> String {
        crate::dump::dump(&self.fold.state)
    }
}
