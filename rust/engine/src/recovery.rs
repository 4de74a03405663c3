//! Opening a partition's log and folding it again, at the start and after a failed sync.

use crate::archiving::{Archiving, LogBehind};
use crate::crash::{self, Event};
use crate::engine::Engine;
use crate::faults::{self, contained};
use crate::origin::Origin;
use crate::owner::{Owned, Storage, with_arrival};
use imfast_log::{Durability, Log, LogError, OpenOptions, Opened};
use imfast_partition::archive::{Archive, ArchivedKey};
use imfast_partition::{Limits, Partition, PartitionConfig, ReplayError, RestoreError};
use imfast_warm::KeyBudget;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Beside a log's segments.
pub(crate) const ARCHIVE_DIRECTORY: &str = "archive";

/// An archive, and the partition and the idempotency keys as of what it reached.
struct Found {
    archive: Arc<dyn Archive>,
    partition: Partition<Origin>,
    keys: Vec<ArchivedKey>,
}

/// How a partition was found.
#[derive(Debug)]
pub struct OpenedPartition {
    pub epoch: u64,
    /// Of the log.
    pub last_position: u64,
    /// Why the archive was moved out of the way, if it was: it is made anew from the log.
    pub put_aside: Option<String>,
}

/// What a sequencer goes on from.
#[derive(Debug)]
pub struct Restored {
    pub position: u64,
    pub message_id: u64,
    /// Last seq by index of conversation.
    pub heads: Vec<u64>,
    pub keys: Vec<ArchivedKey>,
    /// What the archive has: keys up to there may be forgotten.
    pub archived: u64,
}

/// Why a partition could not be opened or replayed.
#[derive(Debug)]
pub enum OpenError {
    Log(LogError),
    Archive(std::io::Error),
    /// The log does not go back far enough to do without an archive, and that is of no use.
    Irreplaceable {
        /// The archive.
        place: PathBuf,
        /// First position of the log.
        first: u64,
        reason: String,
    },
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
                | Self::Irreplaceable { .. }
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
            Self::Archive(error) => write!(f, "the archive cannot be opened: {error}"),
            Self::Irreplaceable {
                place,
                first,
                reason,
            } => write!(
                f,
                "{}: {reason}; what came before position {first} is in no log any more: \
                 nothing was changed, make a data directory of a backup with `imfast data restore`",
                place.display()
            ),
            Self::Replay(error) => error.fmt(f),
            Self::Panicked => f.write_str("the fold panicked over the log"),
            Self::Thread(error) => write!(f, "the log's thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Engine {
    /// Opens an owned partition's log, and its state as far as the archive has it. A replay of the
    /// rest follows.
    ///
    /// # Errors
    /// The lock is held, the disk refuses, or the log is damaged or of a newer format.
    pub fn open_partition(
        &mut self,
        partition: u16,
        dir: &Path,
        fsync: bool,
    ) -> Result<OpenedPartition, OpenError> {
        // A poisoned predecessor holds the lock until it is dropped.
        self.owned[partition as usize] = None;
        let mut options = OpenOptions::new(
            u32::from(partition),
            u64::from(self.config.layout_generation),
        );
        options.segment_bytes = self.config.segment_bytes;
        options.salt = self.system.nonce().map_err(|error| {
            OpenError::Archive(std::io::Error::from_raw_os_error(error.raw_os_error()))
        })?;
        options.durability = if fsync {
            Durability::Fsync
        } else {
            Durability::Os
        };
        let opened =
            Log::open(self.system.file_system(partition), dir, options).map_err(OpenError::Log)?;
        let limits = Limits {
            content_bytes_max: self.config.limits.frame_bytes as usize,
            users_per_command_max: self.config.limits.members_per_call as usize,
            group_members_max: self.config.group_members_max,
            group_rate: self.config.rates.group,
            ..Limits::default()
        };
        let config = PartitionConfig {
            partition,
            count: self.partitions(),
            layout_generation: self.config.layout_generation,
            hash_secret: self.config.hash_secret,
            limits,
        };
        let (found, put_aside) = self.restore(&config, dir, &opened)?;
        let batches = opened.log.read_from(found.partition.position() + 1);
        let retention = opened.log.retention().keeping(self.config.log_keep_bytes);
        let retention = Arc::new(retention);
        let storage = Storage::Replaying {
            log: Box::new(opened.log),
            batches: batches.map_err(OpenError::Log)?,
        };
        let archiver = self
            .system
            .archiver(
                partition,
                Arc::clone(&found.archive),
                LogBehind(Arc::clone(&retention)),
                &self.io.poller,
            )
            .map_err(OpenError::Thread)?;
        let archiving = Archiving {
            keys: found.keys,
            archiver,
            failing: false,
            keys_from: 0,
            retention,
            removal_failures: 0,
        };
        let owned = Owned::new(opened.epoch, found.partition, storage, archiving);
        self.owned[partition as usize] = Some(Box::new(owned));
        Ok(OpenedPartition {
            epoch: opened.epoch,
            last_position: opened.last_position,
            put_aside,
        })
    }

    /// The archive, and the partition as of what it reached. One that is damaged, or does not
    /// belong to this log, is put aside if the log has everything: a new one is made from it.
    fn restore(
        &mut self,
        config: &PartitionConfig,
        dir: &Path,
        opened: &Opened,
    ) -> Result<(Found, Option<String>), OpenError> {
        let place = dir.join(ARCHIVE_DIRECTORY);
        let first = opened.log.reader().first_position();
        let irreplaceable = |reason: String| OpenError::Irreplaceable {
            place: place.clone(),
            first,
            reason,
        };
        match self.try_restore(config, &place, opened.last_position) {
            Ok(found) if found.partition.position() + 1 < first => {
                let position = found.partition.position();
                Err(irreplaceable(format!("it ends at position {position}")))
            }
            Ok(found) => Ok((found, None)),
            Err(RestoreError::Archive(error)) if error.kind() != ErrorKind::InvalidData => {
                Err(OpenError::Archive(error))
            }
            Err(unfit) if first > 1 => Err(irreplaceable(unfit.to_string())),
            Err(unfit) => {
                faults::count(&mut self.faults, faults::Fault::ArchiveRebuilt, self.now_ms);
                self.system
                    .put_archive_aside(config.partition, &place, opened.epoch)
                    .map_err(OpenError::Archive)?;
                let fresh = self.try_restore(config, &place, opened.last_position);
                let found = fresh.map_err(|error| match error {
                    RestoreError::Archive(error) => OpenError::Archive(error),
                    other => OpenError::Archive(std::io::Error::other(other)),
                })?;
                Ok((found, Some(unfit.to_string())))
            }
        }
    }

    fn archive_options(&self) -> imfast_warm::OpenOptions {
        imfast_warm::OpenOptions {
            cache_bytes: self.config.archive_cache_bytes,
            keys: KeyBudget {
                bytes: self.config.dedupe_disk_bytes,
                window_ms: self.config.dedupe_window_ms,
            },
            ..imfast_warm::OpenOptions::default()
        }
    }

    fn try_restore(
        &self,
        config: &PartitionConfig,
        place: &Path,
        last_position: u64,
    ) -> Result<Found, RestoreError> {
        let archive = self
            .system
            .archive(config.partition, place, self.archive_options())
            .map_err(RestoreError::Archive)?;
        if archive.reached().position > last_position {
            // The machine stopped before the system wrote what an ack did not wait for.
            let what = std::io::Error::new(ErrorKind::InvalidData, "it is ahead of its log");
            return Err(RestoreError::Archive(what));
        }
        let partition = Partition::restore(config.clone(), Arc::clone(&archive))?;
        // Read here, where damage that is met still has a cure.
        let keys = archive.keys().map_err(RestoreError::Archive)?;
        Ok(Found {
            archive,
            partition,
            keys,
        })
    }

    /// What the sequencer has to know of a partition that was just opened; the keys are given once.
    pub fn restored(&mut self, partition: u16) -> Option<Restored> {
        let owned = self.owned.get_mut(partition as usize)?.as_mut()?;
        Some(Restored {
            position: owned.partition.position(),
            message_id: owned.partition.last_message_id(),
            heads: owned.partition.heads(),
            keys: std::mem::take(&mut owned.archiving.keys),
            archived: owned.partition.archived_position(),
        })
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
        self.redeliver(partition)?;
        Ok(None)
    }

    /// Takes the numbering of a replayed batch; `keys_from` and the answer are those of
    /// [`Engine::deliver`].
    ///
    /// # Errors
    /// The log and the fold disagree.
    pub fn replay_commit(&mut self, partition: u16, keys_from: u64) -> Result<u64, OpenError> {
        let Some(owned) = self.owned[partition as usize].as_mut() else {
            return Ok(0);
        };
        contained(|| owned.partition.replay_finish_commit())
            .ok_or(OpenError::Panicked)?
            .map_err(OpenError::Replay)?;
        self.archive_replayed(partition, keys_from);
        Ok(self.archived_position(partition))
    }

    /// After a reopening: rows whose commit was not known to live sessions here.
    fn redeliver(&mut self, partition: u16) -> Result<(), OpenError> {
        let mut from = self.watermarks[partition as usize];
        let mut missed = Vec::new();
        while let Some(owned) = self.owned[partition as usize].as_ref() {
            if self.io.connections.is_empty() {
                break;
            }
            let page = owned
                .partition
                .deliveries_after(from, 1 << 20, self.wall_ms);
            let page = page.map_err(OpenError::Archive)?;
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
        Ok(())
    }
}
