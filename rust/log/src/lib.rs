//! The log of one partition: segment files of command batches, the truth of the partition.
//!
//! One batch is one write and one `fdatasync`; at most one batch is not yet durable at any time. The bytes
//! are described in `spec/log.md`. Disk, locks and time are reached through the [`FileSystem`] port alone, so
//! that the whole log runs on the simulated disk in [`sim`], which loses what was not synced.
//!
//! Order of use: [`Log::open`] takes the partition's lock, recovers and begins a new epoch; [`Log::replay`]
//! hands over what is durable; [`Log::start`] moves the writing side to its own thread ([`Writer`]), or
//! [`Log::append_now`] writes on the caller's.
//!
//! What fences an older writer, strongest first:
//! 1. it is dead and reaped, which frees its `flock`;
//! 2. the epoch published in the lock file: an opener publishes its epoch *before* it scans, a writer reads it
//!    *after* its batch is durable and before it reports so. Whatever a writer reported as durable was
//!    therefore there when its successor scanned; a writer that was overtaken learns `Fenced`;
//! 3. the sealed length in the successor's first segment: bytes added behind it are never read.

mod backup;
mod batch;
mod chain;
mod error;
mod file_system;
mod format;
mod inspect;
mod log;
mod reader;
mod readers;
mod recovery;
mod retention;
mod scanner;
pub mod sim;
mod std_fs;
mod verify;
mod writer;
mod writer_thread;

pub use backup::{Copied, begin, copy};
pub use batch::{Batch, BatchView, Commands, put_command};
pub use error::{AppendError, Damage, LogError, RetryKind, What};
pub use file_system::{File, FileSystem, Lock};
pub use format::{BATCH_BYTES_MAX, BATCH_HEADER_BYTES, FORMAT_VERSION, SEGMENT_HEADER_BYTES};
pub use inspect::walk;
pub use log::{Durability, Log, OpenOptions, Opened, SEGMENT_BYTES_DEFAULT};
pub use reader::{BatchReader, LogReader};
pub use readers::Readers;
pub use recovery::Cut;
pub use retention::{Removed, Retention};
pub use std_fs::StdFs;
pub use verify::{Report, verify};
pub use writer::{Durable, SegmentWriter};
pub use writer_thread::{Completion, Completions, Writer};
