//! How much of a log stays: segments go once nobody needs them any more.
//!
//! What needs a segment is the archive, until it has everything in it durably, every reader by
//! name ([`Readers`]), and whoever asked for so many bytes to stay. Segments go oldest first and one at
//! a time, each removal durable before the next: a power cut leaves a log that merely begins later.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use imfast_faults::{Fault, on};

use crate::chain::SegmentList;
use crate::error::LogError;
use crate::file_system::FileSystem;
use crate::log::Durability;
use crate::readers::Readers;

/// Segments that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub segments: u64,
    pub bytes: u64,
}

/// Removes what a log does not need any more, beside its writer and from any thread.
pub struct Retention {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    segments: Arc<SegmentList>,
    durability: Durability,
    keep_bytes: u64,
    readers: Arc<Readers>,
    /// The outcome of a sync is not known: nothing more may rest on it.
    unsure: AtomicBool,
    failures: AtomicU64,
}

impl Retention {
    pub(crate) fn new(
        fs: Arc<dyn FileSystem>,
        dir: PathBuf,
        segments: Arc<SegmentList>,
        durability: Durability,
        readers: Arc<Readers>,
    ) -> Self {
        Self {
            fs,
            dir,
            segments,
            durability,
            keep_bytes: 0,
            readers,
            unsure: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        }
    }

    /// Leaves at least `bytes` of the newest segments, whoever has passed them.
    #[must_use]
    pub fn keeping(mut self, bytes: u64) -> Self {
        self.keep_bytes = bytes;
        self
    }

    /// Who else reads this log.
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Bytes of the log's segments.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    /// Failed calls of [`Self::archived`] so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Makes everything durable that the log has reported so far: an archive may not hold what a
    /// power cut takes from its log. With [`Durability::Fsync`] it is already.
    ///
    /// # Errors
    /// The sync failed, now or before: a failed one is not tried again.
    pub fn make_durable(&self) -> io::Result<()> {
        if self.durability == Durability::Fsync {
            return Ok(());
        }
        self.sure()?;
        // Full segments were synced before the next one began.
        self.settled(self.segments.last_file().sync_data())
    }

    /// Removes the segments that are not needed any more, now that the archive durably has
    /// everything up to `position`.
    ///
    /// # Errors
    /// The disk refused. What is left of the log is whole.
    pub fn archived(&self, position: u64) -> Result<Removed, LogError> {
        let removed = self.remove_up_to(position);
        if removed.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        removed
    }

    fn remove_up_to(&self, position: u64) -> Result<Removed, LogError> {
        let mut floor = position.min(self.readers.floor());
        if on(Fault::SegmentsRemovedEarly) {
            floor = self.segments.last_position();
        }
        let mut removed = Removed::default();
        if self.segments.removable(floor, self.keep_bytes).is_none() {
            return Ok(removed);
        }
        self.sure().map_err(LogError::io("remove", &self.dir))?;
        // A reader that is known only by this file holds what it has not passed after a restart, too.
        self.readers.save()?;
        while let Some(segment) = self.segments.removable(floor, self.keep_bytes) {
            let path = segment.id.path(&self.dir);
            self.fs
                .remove(&path)
                .map_err(LogError::io("remove", &path))?;
            self.settled(self.fs.sync_dir(&self.dir))
                .map_err(LogError::io("sync", &self.dir))?;
            self.segments.forget(segment.id);
            removed.segments += 1;
            removed.bytes += segment.length;
        }
        Ok(removed)
    }

    fn sure(&self) -> io::Result<()> {
        if self.unsure.load(Ordering::Relaxed) {
            return Err(io::Error::other("a sync failed before"));
        }
        Ok(())
    }

    fn settled(&self, synced: io::Result<()>) -> io::Result<()> {
        self.unsure.fetch_or(synced.is_err(), Ordering::Relaxed);
        synced
    }
}
