//! Opening a partition's log and folding it again, at the start and after a failed sync.

use crate::crash::{self, Event};
use crate::engine::Engine;
use crate::faults::contained;
use crate::owner::{Owned, Storage, with_arrival};
use imfast_log::{Durability, Log, LogError, OpenOptions};
use imfast_partition::{Limits, Partition, PartitionConfig, ReplayError};
use std::path::Path;

/// Why a partition could not be opened or replayed.
#[derive(Debug)]
pub enum OpenError {
    Log(LogError),
    Replay(ReplayError),
    Thread(std::io::Error),
    /// The fold panicked over what the log holds.
    Panicked,
}

impl OpenError {
    /// What is on the disk cannot be used as it is.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Replay(_)
                | Self::Panicked
                | Self::Log(LogError::Damaged(_) | LogError::Missing { .. })
        )
    }

    /// What is on the disk was written by a newer version, or for another layout.
    pub fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Log(LogError::NewerFormat { .. } | LogError::Foreign { .. })
        )
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Replay(error) => error.fmt(f),
            Self::Panicked => f.write_str("the fold panicked over the log"),
            Self::Thread(error) => write!(f, "the log's thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Engine {
    /// Opens an owned partition's log. Replay follows.
    ///
    /// # Errors
    /// The lock is held, the disk refuses, or the log is damaged or of a newer format.
    pub fn open_partition(
        &mut self,
        partition: u16,
        dir: &Path,
        fsync: bool,
    ) -> Result<(u64, u64), OpenError> {
        // A poisoned predecessor holds the lock until it is dropped.
        self.owned[partition as usize] = None;
        let mut options = OpenOptions::new(
            u32::from(partition),
            u64::from(self.config.layout_generation),
        );
        options.segment_bytes = self.config.segment_bytes;
        options.durability = if fsync {
            Durability::Fsync
        } else {
            Durability::Os
        };
        let opened =
            Log::open(self.system.file_system(partition), dir, options).map_err(OpenError::Log)?;
        let batches = opened.log.read_from(1).map_err(OpenError::Log)?;
        let limits = Limits {
            content_bytes_max: self.config.limits.frame_bytes as usize,
            users_per_command_max: self.config.limits.members_per_call as usize,
            group_members_max: self.config.group_members_max,
            group_rate: self.config.rates.group,
            ..Limits::default()
        };
        let state = Partition::new(PartitionConfig {
            partition,
            count: self.partitions(),
            layout_generation: self.config.layout_generation,
            hash_secret: self.config.hash_secret,
            limits,
        });
        let storage = Storage::Replaying {
            log: Box::new(opened.log),
            batches,
        };
        self.owned[partition as usize] = Some(Box::new(Owned::new(opened.epoch, state, storage)));
        Ok((opened.epoch, opened.last_position))
    }

    /// Reads the next batch of the log for numbering. Returns its time and how many records it
    /// has, or none at the end: then the partition serves.
    ///
    /// # Errors
    /// The log is damaged, or holds what the fold does not accept.
    pub fn replay_next(&mut self, partition: u16) -> Result<Option<(u64, usize)>, OpenError> {
        let (system, completions) = (self.system.clone(), self.completions.clone());
        let Some(owned) = self.owned[partition as usize].as_mut() else {
            return Ok(None);
        };
        let Storage::Replaying { batches, .. } = &mut owned.storage else {
            return Ok(None);
        };
        if let Some(batch) = batches.next_batch().map_err(OpenError::Log)? {
            let partition = &mut owned.partition;
            contained(|| partition.replay_begin(batch.time_ms, batch.commands()))
                .ok_or(OpenError::Panicked)?
                .map_err(OpenError::Replay)?;
            let count = owned.partition.records().len();
            return Ok(Some((batch.time_ms, count)));
        }
        let storage = std::mem::replace(&mut owned.storage, Storage::Poisoned);
        if let Storage::Replaying { log, .. } = storage {
            owned.storage =
                Storage::Serving(system.start(*log, completions).map_err(OpenError::Thread)?);
        }
        let (epoch, position) = (owned.epoch, owned.partition.position());
        crash::note(
            Event::PartitionOpened,
            self.now_ms,
            u64::from(partition),
            epoch,
        );
        self.routes.publish_epoch(partition as usize, epoch);
        self.routes.publish_committed(partition as usize, position);
        self.break_owner_links();
        self.redeliver(partition);
        Ok(None)
    }

    /// Takes the numbering of a replayed batch.
    ///
    /// # Errors
    /// The log and the fold disagree.
    pub fn replay_commit(&mut self, partition: u16) -> Result<(), OpenError> {
        let Some(owned) = self.owned[partition as usize].as_mut() else {
            return Ok(());
        };
        contained(|| owned.partition.replay_finish_commit())
            .ok_or(OpenError::Panicked)?
            .map_err(OpenError::Replay)
    }

    /// After a reopening: rows whose commit was not known to live sessions here.
    fn redeliver(&mut self, partition: u16) {
        let mut from = self.watermarks[partition as usize];
        let mut missed = Vec::new();
        while let Some(owned) = self.owned[partition as usize].as_ref() {
            if self.io.connections.is_empty() {
                break;
            }
            let Ok(page) = owned.partition.deliveries_after(from, 1 << 20) else {
                break;
            };
            missed.extend(page.deliveries);
            from = page.through;
            if page.complete {
                break;
            }
        }
        self.hand_out(partition, &missed, |engine, partition, delivery| {
            with_arrival(partition, delivery, |arrival| engine.arrive(arrival, None));
        });
        if let Some(owned) = self.owned[partition as usize].as_ref() {
            let position = owned.partition.position();
            self.advance_watermark(partition, position);
        }
    }
}
