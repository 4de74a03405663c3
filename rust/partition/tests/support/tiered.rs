//! An owner whose old rows leave memory for an archive, and that starts again from it.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use imfast_partition::archive::{Archive, Settled};
use imfast_partition::{LogBatch, Partition, PartitionConfig};

use super::archive::TestArchive;
use super::sequencer::Sequencer;
use super::{Owner, batch_commands};

/// What happens to the archive between two batches.
#[derive(Debug, Clone, Copy)]
pub struct Upkeep {
    pub chunk: bool,
    pub apply: bool,
    /// Bytes of rows to keep, and how many rows may go.
    pub evict: Option<(usize, usize)>,
    /// Chunks that wait are lost.
    pub restart: bool,
}

pub struct Tiered {
    owner: Owner,
    pub archive: Arc<TestArchive>,
    waiting: VecDeque<Settled>,
}

impl Deref for Tiered {
    type Target = Owner;

    fn deref(&self) -> &Owner {
        &self.owner
    }
}

impl DerefMut for Tiered {
    fn deref_mut(&mut self) -> &mut Owner {
        &mut self.owner
    }
}

impl Tiered {
    /// Starts from the archive and reads the log behind it.
    pub fn open(config: PartitionConfig, archive: Arc<TestArchive>, log: &[LogBatch]) -> Self {
        let partition = Partition::restore(config, archive.clone()).expect("our own archive");
        let keys = archive.keys().expect("readable");
        let reached = archive.reached();
        let mut owner = Owner {
            sequencer: Sequencer::restored(reached, &partition.heads(), &keys),
            partition,
            log: log.to_vec(),
            time_ms: 0,
        };
        for batch in log {
            if batch.first_position <= reached.position {
                continue;
            }
            let commands = batch_commands(batch);
            let partition = &mut owner.partition;
            partition
                .replay_begin(batch.time_ms, commands.iter().copied())
                .expect("our own log");
            owner.sequencer.number(partition.records_mut().0);
            partition.replay_finish_commit().expect("our own log");
        }
        Self {
            owner,
            archive,
            waiting: VecDeque::new(),
        }
    }

    pub fn take_chunk(&mut self) {
        let commands = self.partition.chunk_commands();
        let chunk = self.partition.take_chunk(1);
        assert_eq!(chunk.reached.position - chunk.after, commands);
        assert_eq!(self.partition.chunk_commands(), 0);
        self.waiting.push_back(chunk.settle());
    }

    /// Applies the oldest chunk that waits.
    pub fn apply(&mut self) {
        if let Some(chunk) = self.waiting.pop_front() {
            self.archive.apply(&chunk).expect("it follows");
            self.partition.archived(chunk.reached.position);
        }
    }

    /// Everything committed goes to the archive and leaves memory.
    pub fn archive_all(&mut self) {
        self.take_chunk();
        while !self.waiting.is_empty() {
            self.apply();
        }
        self.partition.evict(0, usize::MAX);
        assert_eq!(self.partition.row_bytes(), 0);
        assert_eq!(self.partition.unarchived_bytes(), 0);
    }

    pub fn keep_up(&mut self, upkeep: Upkeep) {
        if upkeep.chunk && self.partition.chunk_commands() > 0 {
            self.take_chunk();
        }
        if upkeep.apply {
            self.apply();
        }
        if let Some((keep, at_most)) = upkeep.evict {
            let gone = self.partition.evict(keep, at_most);
            assert!(gone <= at_most);
            let held = self.partition.row_bytes();
            assert!(held >= self.partition.unarchived_bytes());
            assert!(gone == at_most || held <= keep.max(self.partition.unarchived_bytes()));
        }
        if upkeep.restart {
            let config = self.partition.config().clone();
            let mut next = Self::open(config, self.archive.clone(), &self.log);
            next.time_ms = self.time_ms;
            *self = next;
        }
    }
}
