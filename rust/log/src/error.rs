//! What can go wrong, with file, offset and cure.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process (or another handle of this one) owns the partition.
    #[error("{}: held by another process; end it first, then start again", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("{}: {operation} failed: {source}", file.display())]
    Io {
        /// What was tried, as in "open".
        operation: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Bytes that must be there are missing or changed. Nothing was altered.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Written by a newer version of this program.
    #[error("{}: format version {found}, this program reads up to {supported}; run the newer program", file.display())]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// The version in its header.
        found: u32,
        /// The newest version known here.
        supported: u32,
    },
    /// The segment belongs to another partition or layout.
    #[error("{}: {what} is {found}, expected {expected}; this directory belongs to another layout", file.display())]
    Foreign {
        /// The segment.
        file: PathBuf,
        /// "partition" or "layout generation".
        what: &'static str,
        /// As in the header.
        found: u64,
        /// As asked for.
        expected: u64,
    },
    /// Positions that the log no longer (or never) holds were asked for.
    #[error("the log begins at position {oldest}; positions from {wanted} were asked for")]
    Missing {
        /// First position asked for.
        wanted: u64,
        /// First position there is.
        oldest: u64,
    },
}

impl LogError {
    pub(crate) fn io<'a>(
        operation: &'static str,
        file: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            operation,
            file: file.to_owned(),
            source,
        }
    }
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub file: PathBuf,
    /// Byte at which the damaged structure (header or batch) begins.
    pub offset: u64,
    /// What is wrong there.
    pub what: What,
}

impl Damage {
    /// What an operator can do.
    pub fn cure(&self) -> &'static str {
        match self.what {
            What::SegmentMissing => "put the missing file back from a backup of this directory",
            What::ValidBehind { .. } => {
                "restore the file from a backup; only if the partition ran with durability \"os\" and lost power, \
                 truncating the file at this offset gives up the batches behind it"
            }
            _ => "restore the file from a backup of this directory; nothing was changed",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: damaged at byte {}: {}; {}",
            self.file.display(),
            self.offset,
            self.what,
            self.cure()
        )
    }
}

impl std::error::Error for Damage {}

/// The kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// A segment between two others is not there.
    #[error("this segment is missing")]
    SegmentMissing,
    /// The header's magic, checksum or epoch does not hold.
    #[error("the segment header is not valid")]
    Header,
    /// The first position in the header does not follow the predecessor's last.
    #[error("the segment begins at position {found}, expected {expected}")]
    BasePosition {
        /// One past the predecessor's last position.
        expected: u64,
        /// As in the header.
        found: u64,
    },
    /// The file ends before the length its successor sealed.
    #[error("the file ends before its sealed length of {sealed} bytes")]
    Short {
        /// The sealed length.
        sealed: u64,
    },
    /// A batch's length or checksum does not hold.
    #[error("the batch here is not valid")]
    Batch,
    /// A batch is not valid, yet a valid one stands behind it, so this is no torn write.
    #[error("the batch here is not valid, and a valid one stands behind it at byte {at}")]
    ValidBehind {
        /// Offset of the valid batch.
        at: u64,
    },
    /// A batch with a right checksum has the wrong first position.
    #[error("the batch begins at position {found}, expected {expected}")]
    Position {
        /// One past the last position before it.
        expected: u64,
        /// As in the batch.
        found: u64,
    },
    /// A batch with a right checksum does not hold `count` whole commands.
    #[error("the commands do not fill the batch")]
    Commands,
    /// The list of who reads the log does not match its checksum.
    #[error("the list of the log's readers is not valid")]
    Readers,
}

/// Why an append did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing of the batch is in the log; the next append may succeed.
    #[error("{}: writing at byte {offset} failed: {cause}", file.display())]
    Retryable {
        /// Whether space or something else was missing.
        kind: RetryKind,
        /// The segment.
        file: PathBuf,
        /// Where the batch would have begun.
        offset: u64,
        /// The system's answer.
        cause: String,
    },
    /// What the disk holds is not known (a sync, or cutting off a failed write, failed): the outcome of this batch is
    /// unknown, and every later append fails so until the partition is opened again.
    #[error("{}: {cause}; the partition takes no more writes until it is opened again and verified", file.display())]
    Poisoned {
        /// The segment or directory.
        file: PathBuf,
        /// The operation and the system's answer.
        cause: String,
    },
    /// A writer with a higher epoch has taken over. The outcome of this batch is unknown.
    #[error(
        "epoch {epoch} of the partition has ended: a writer with epoch {newer} took over (0: the lock file was removed)"
    )]
    Fenced {
        /// This writer's.
        epoch: u64,
        /// The successor's, or 0.
        newer: u64,
    },
    /// The caller's batch does not fit the log; nothing was written. A mistake in this program.
    #[error("batch refused: {0}")]
    Refused(&'static str),
}

/// What a retryable append lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryKind {
    /// No space or quota left.
    StorageFull,
    /// Any other failed or short write.
    Io,
}
