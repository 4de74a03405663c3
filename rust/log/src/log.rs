//! The log as its owner holds it.

use std::path::Path;
use std::sync::Arc;

use crate::batch::{Batch, BatchView};
use crate::error::{AppendError, LogError};
use crate::file_system::FileSystem;
use crate::reader::{BatchReader, LogReader};
use crate::readers::Readers;
use crate::recovery::{self, Cut};
use crate::retention::Retention;
use crate::writer::{Durable, SegmentWriter};
use crate::writer_thread::{Completions, Writer};

/// Length in bytes at which a segment is followed by a new one, unless told otherwise: 64 MiB.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// What must have happened to a batch before it counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk (`fdatasync`): survives a power cut.
    #[default]
    Fsync,
    /// With the operating system: survives a kill of every process, not a power cut. Segments are synced when
    /// they are full, so a power cut harms the last one only.
    Os,
}

/// How to open a partition's log.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The partition; segments of another are refused.
    pub partition: u32,
    /// The layout generation; segments of another are refused.
    pub layout_generation: u64,
    /// Length at which a new segment begins, bytes.
    pub segment_bytes: u64,
    /// When a batch counts as durable.
    pub durability: Durability,
    /// What the checksums of new segments begin with; random bits that no client knows. 0: nothing.
    pub salt: u64,
}

impl OpenOptions {
    /// The options for a partition, with 64 MiB segments and `Fsync`.
    pub fn new(partition: u32, layout_generation: u64) -> Self {
        Self {
            partition,
            layout_generation,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            durability: Durability::Fsync,
            salt: 0,
        }
    }
}

/// A log that was opened.
pub struct Opened {
    /// The epoch that began with this opening.
    pub epoch: u64,
    /// Position of the last command, 0 when there is none.
    pub last_position: u64,
    /// What was cut from the end, if the last writer left half a batch.
    pub cut: Option<Cut>,
    /// The log.
    pub log: Log,
}

/// An open log. Holds the partition's lock until dropped.
pub struct Log {
    writer: SegmentWriter,
    reader: LogReader,
    readers: Arc<Readers>,
}

impl Log {
    /// Takes the lock in `dir` (created if missing), recovers the log and begins a new epoch, durably.
    ///
    /// The headers of all segments and every batch of the last one are verified here; the batches of sealed
    /// segments are verified whenever they are read, so that a start that replays reads them once.
    pub fn open(
        fs: Arc<dyn FileSystem>,
        dir: &Path,
        options: OpenOptions,
    ) -> Result<Opened, LogError> {
        recovery::open(fs, dir, options)
    }

    pub(crate) fn new(writer: SegmentWriter, reader: LogReader, readers: Arc<Readers>) -> Self {
        Self {
            writer,
            reader,
            readers,
        }
    }

    /// Hands every batch from the one that holds `position` on to `apply`, in order, and returns the last
    /// position. The first batch may begin below `position`.
    pub fn replay<E: From<LogError>>(
        &self,
        position: u64,
        apply: &mut dyn FnMut(BatchView<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut batches = self.read_from(position)?;
        while let Some(batch) = batches.next_batch()? {
            apply(batch)?;
        }
        Ok(self.reader.last_position())
    }

    /// See [`LogReader::read_from`].
    pub fn read_from(&self, position: u64) -> Result<BatchReader, LogError> {
        self.reader.read_from(position)
    }

    /// A reader that can be kept beside the writer.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// What removes segments that nobody needs any more, for any thread.
    pub fn retention(&self) -> Retention {
        self.writer.retention(Arc::clone(&self.readers))
    }

    /// Appends on the caller's thread and returns when the batch is durable.
    pub fn append_now(&mut self, batch: &Batch) -> Result<Durable, AppendError> {
        self.writer.append_now(batch)
    }

    pub(crate) fn into_parts(self) -> (SegmentWriter, LogReader, Arc<Readers>) {
        (self.writer, self.reader, self.readers)
    }

    /// Moves the writing side to a thread of its own; outcomes go to `completions`.
    pub fn start(self, completions: Arc<Completions>) -> std::io::Result<Writer> {
        Writer::start(self, completions)
    }
}
