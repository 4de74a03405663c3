//! Appends batches to the last segment, without threads.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{Batch, commands_fill};
use crate::chain::{Segment, SegmentId, SegmentList, highest_epoch};
use crate::error::{AppendError, RetryKind};
use crate::file_system::{File, FileSystem, Lock};
use crate::format::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::log::{Durability, OpenOptions};
use crate::readers::Readers;
use crate::retention::Retention;
use imfast_faults::{Fault, on};

/// A batch that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Position of its last command.
    pub position: u64,
    /// Time the write took, ns.
    pub write_ns: u64,
    /// Time the sync took, ns; 0 without one.
    pub sync_ns: u64,
}

/// The writing side of a log. One batch at a time, each durable before the next.
///
/// No space is reserved ahead: a full disk shows as a failed or short write, which is cut off again, and
/// nothing of the batch stays. A reserve would have to be taken per partition and given back at every seal,
/// and would only move the same error to the roll.
pub struct SegmentWriter {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    lock: Box<dyn Lock>,
    options: OpenOptions,
    file: Arc<dyn File>,
    id: SegmentId,
    /// Durable bytes of the segment; the file is cut back to this after a failed write.
    length: u64,
    next_position: u64,
    segments: Arc<SegmentList>,
    /// Set once nothing may be written any more.
    ended: Option<AppendError>,
}

/// What an opener found out, for `SegmentWriter::new`.
pub(crate) struct Start {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: PathBuf,
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) options: OpenOptions,
    pub(crate) file: Arc<dyn File>,
    pub(crate) id: SegmentId,
    pub(crate) next_position: u64,
    pub(crate) segments: Arc<SegmentList>,
}

impl SegmentWriter {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            fs,
            dir,
            lock,
            options,
            file,
            id,
            next_position,
            segments,
        } = start;
        let length = SEGMENT_HEADER_BYTES as u64;
        Self {
            fs,
            dir,
            lock,
            options,
            file,
            id,
            length,
            next_position,
            segments,
            ended: None,
        }
    }

    pub(crate) fn retention(&self, readers: Arc<Readers>) -> Retention {
        Retention::new(
            Arc::clone(&self.fs),
            self.dir.clone(),
            Arc::clone(&self.segments),
            self.options.durability,
            readers,
        )
    }

    pub(crate) fn partition(&self) -> u32 {
        self.options.partition
    }

    /// Position that the next batch must begin at.
    pub fn next_position(&self) -> u64 {
        self.next_position
    }

    /// Writes one batch and returns when it is durable.
    pub fn append_now(&mut self, batch: &Batch) -> Result<Durable, AppendError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        if batch.first_position != self.next_position {
            return Err(AppendError::Refused(
                "first position is not one past the log's last",
            ));
        }
        if batch.payload.len() > BATCH_BYTES_MAX {
            return Err(AppendError::Refused("more than BATCH_BYTES_MAX bytes"));
        }
        if !commands_fill(&batch.payload, batch.count) {
            return Err(AppendError::Refused(
                "the payload does not hold `count` commands",
            ));
        }
        let bytes = (BATCH_HEADER_BYTES + batch.payload.len()) as u64;
        let empty = self.length == SEGMENT_HEADER_BYTES as u64;
        if !empty && self.length + bytes > self.options.segment_bytes {
            self.roll()?;
        }
        let began = self.fs.now_ns();
        self.write(batch, bytes)?;
        let written = self.fs.now_ns();
        let mut sync_ns = 0;
        if self.options.durability == Durability::Fsync && !on(Fault::AckBeforeSync) {
            let mut synced = self.file.sync_data();
            if on(Fault::RetriedFsync) && synced.is_err() {
                synced = self.file.sync_data();
            }
            synced.map_err(|error| self.poison("fdatasync", None, &error))?;
            sync_ns = self.fs.now_ns() - written;
        }
        // Only after the batch is where a successor's scan finds it: see the crate's documentation.
        self.check_fence()?;
        self.length += bytes;
        self.next_position += u64::from(batch.count);
        let position = self.next_position - 1;
        self.segments.advance(self.length, position);
        Ok(Durable {
            position,
            write_ns: written - began,
            sync_ns,
        })
    }

    fn write(&mut self, batch: &Batch, bytes: u64) -> Result<(), AppendError> {
        let header = BatchHeader {
            epoch: self.id.epoch,
            first_position: batch.first_position,
            time_ms: batch.time_ms,
            fold_version: batch.fold_version,
            flags: 0,
            count: batch.count,
        }
        .encode(&batch.payload, self.options.salt);
        let parts = [IoSlice::new(&header), IoSlice::new(&batch.payload)];
        let error = match self.file.write_at(self.length, &parts) {
            Ok(written) if written as u64 == bytes => return Ok(()),
            // A disk that fills up says so only to the next write. That one is for the reason alone.
            Ok(written) => match self
                .file
                .write_at(self.length + written as u64, &[IoSlice::new(&[0])])
            {
                Err(error) => error,
                Ok(_) => io::Error::other(format!("wrote {written} of {bytes} bytes")),
            },
            Err(error) => error,
        };
        // A successor may have sealed what stands here; then the file is no longer ours to cut.
        self.check_fence()?;
        let failed = retryable(self.id.path(&self.dir), self.length, &error);
        match self.file.truncate(self.length) {
            Ok(()) => Err(failed),
            Err(error) => Err(self.poison("cutting off a failed write", None, &error)),
        }
    }

    /// Begins the next segment, which seals this one.
    fn roll(&mut self) -> Result<(), AppendError> {
        self.check_fence()?;
        let names = match self.fs.list(&self.dir) {
            Ok(names) => names,
            Err(error) => return Err(retryable(self.dir.clone(), 0, &error)),
        };
        let newer = highest_epoch(&names);
        if newer > self.id.epoch {
            return Err(self.fenced(newer));
        }
        if self.options.durability == Durability::Os {
            // What a header seals must be on the disk before it.
            self.file
                .sync_data()
                .map_err(|error| self.poison("fdatasync", None, &error))?;
        }
        let id = SegmentId {
            index: self.id.index + 1,
            epoch: self.id.epoch,
        };
        let header = SegmentHeader {
            partition: self.options.partition,
            layout_generation: self.options.layout_generation,
            epoch: id.epoch,
            base_position: self.next_position,
            predecessor_length: self.length,
            salt: self.options.salt,
        };
        match create_segment(self.fs.as_ref(), &self.dir, id, &header) {
            Ok(file) => {
                self.file = Arc::clone(&file);
                self.id = id;
                self.length = SEGMENT_HEADER_BYTES as u64;
                let segment = Segment {
                    id,
                    base_position: self.next_position,
                    length: self.length,
                    salt: self.options.salt,
                };
                self.segments.push(segment, file);
                Ok(())
            }
            Err(CreateError::Undone(error)) => Err(retryable(id.path(&self.dir), 0, &error)),
            Err(CreateError::Unknown(error)) => {
                Err(self.poison("creating a segment", Some(id.path(&self.dir)), &error))
            }
        }
    }

    /// Whether a successor has published its epoch, or the lock was taken from under this writer.
    fn check_fence(&mut self) -> Result<(), AppendError> {
        match self.lock.published() {
            Ok(Some(epoch)) if epoch == self.id.epoch => Ok(()),
            Ok(_) if on(Fault::EpochUnchecked) => Ok(()),
            Ok(newer) => Err(self.fenced(newer.unwrap_or(0))),
            Err(error) => Err(self.poison("reading the lock file", None, &error)),
        }
    }

    fn fenced(&mut self, newer: u64) -> AppendError {
        self.end(AppendError::Fenced {
            epoch: self.id.epoch,
            newer,
        })
    }

    fn poison(&mut self, what: &str, file: Option<PathBuf>, error: &io::Error) -> AppendError {
        let file = file.unwrap_or_else(|| self.id.path(&self.dir));
        self.end(AppendError::Poisoned {
            file,
            cause: format!("{what} failed: {error}"),
        })
    }

    /// Ends the writer for a reason found outside of it.
    pub(crate) fn poison_for(&mut self, cause: &str) -> AppendError {
        let file = self.id.path(&self.dir);
        self.end(AppendError::Poisoned {
            file,
            cause: cause.to_owned(),
        })
    }

    fn end(&mut self, error: AppendError) -> AppendError {
        self.ended.get_or_insert(error).clone()
    }
}

fn retryable(file: PathBuf, offset: u64, error: &io::Error) -> AppendError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RetryKind::StorageFull,
        _ => RetryKind::Io,
    };
    AppendError::Retryable {
        kind,
        file,
        offset,
        cause: error.to_string(),
    }
}

/// Why a segment was not created.
pub(crate) enum CreateError {
    /// There is no trace of it that counts.
    Undone(io::Error),
    /// A sync failed, or its outcome is not known.
    Unknown(io::Error),
}

impl CreateError {
    pub(crate) fn into_inner(self) -> io::Error {
        match self {
            Self::Undone(error) | Self::Unknown(error) => error,
        }
    }
}

/// Creates a segment with its header, durably. It gets its name only when the header is on the disk, so a
/// segment with a broken header is damage and never a torn creation.
pub(crate) fn create_segment(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    header: &SegmentHeader,
) -> Result<Arc<dyn File>, CreateError> {
    let unfinished = id.path_unfinished(dir);
    // One left by a roll that failed half-way.
    let _ = fs.remove(&unfinished);
    let undo = |error| {
        let _ = fs.remove(&unfinished);
        CreateError::Undone(error)
    };
    let file = fs.create(&unfinished).map_err(CreateError::Undone)?;
    let bytes = header.encode();
    match file.write_at(0, &[IoSlice::new(&bytes)]) {
        Ok(SEGMENT_HEADER_BYTES) => {}
        Ok(_) => return Err(undo(io::ErrorKind::StorageFull.into())),
        Err(error) => return Err(undo(error)),
    }
    file.sync_all().map_err(CreateError::Unknown)?;
    fs.rename(&unfinished, &id.path(dir)).map_err(undo)?;
    fs.sync_dir(dir).map_err(CreateError::Unknown)?;
    Ok(file)
}
