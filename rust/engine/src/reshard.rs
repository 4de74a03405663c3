//! Makes the partitions of another layout of those of a data directory, offline.

use crate::recovery::{ARCHIVE_DIRECTORY, OpenError};
use imfast_log::{Log, OpenOptions, StdFs};
use imfast_partition::archive::{Archive, ArchivedKey, Chunk, KeyFound};
use imfast_partition::record::{RECORD_BYTES, kind, verdict};
use imfast_partition::{Digest, Limits, Partition, PartitionConfig, Source};
use imfast_warm::{FjallArchive, KeyBudget};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of one write.
const ROWS: usize = 65_536;

/// A layout, as far as data depend on it.
#[derive(Debug, Clone)]
pub struct ReshardLayout {
    /// Directories of the partitions, in their order.
    pub directories: Vec<PathBuf>,
    pub generation: u32,
    pub hash_secret: [u8; 16],
}

/// What was brought over, and found again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resharded {
    pub digest: Digest,
    pub keys: u64,
}

/// A partition that nobody serves: its log locked, its archive with everything.
struct Opened {
    _log: Log,
    partition: Partition<()>,
    archive: Arc<FjallArchive>,
    keys: Vec<ArchivedKey>,
}

/// Makes every partition of `to` of those of `from`, and reads it all again: conversations, numbers,
/// members and keys are the same, or this fails. Old partitions get what their logs have into their
/// archives and are not changed otherwise.
///
/// # Errors
/// A partition cannot be opened or written, or what was written is not what was read.
pub fn reshard(from: &ReshardLayout, to: &ReshardLayout) -> Result<Resharded, OpenError> {
    let mut old = Vec::with_capacity(from.directories.len());
    for number in 0..from.directories.len() {
        old.extend(open(from, number)?);
    }
    for number in 0..to.directories.len() {
        make(&old, to, number)?;
    }
    let mut new = Vec::with_capacity(to.directories.len());
    for number in 0..to.directories.len() {
        new.extend(open(to, number)?);
    }
    let (before, after) = (digest(&old)?, digest(&new)?);
    if before != after {
        let what = format!("read {before:?} and wrote {after:?}");
        return Err(OpenError::Archive(io::Error::other(what)));
    }
    let mut keys = 0;
    for key in old.iter().flat_map(|opened| &opened.keys) {
        if !is_known(&new, key)? {
            let what = "an idempotency key is missing in what was written";
            return Err(OpenError::Archive(io::Error::other(what)));
        }
        keys += 1;
    }
    Ok(Resharded {
        digest: before,
        keys,
    })
}

fn config(layout: &ReshardLayout, number: usize) -> PartitionConfig {
    PartitionConfig {
        partition: number as u16,
        count: layout.directories.len() as u16,
        layout_generation: layout.generation,
        hash_secret: layout.hash_secret,
        limits: Limits::default(),
    }
}

fn archive_in(dir: &Path) -> io::Result<FjallArchive> {
    let options = imfast_warm::OpenOptions {
        // Nothing is forgotten on the way.
        keys: KeyBudget {
            bytes: u64::MAX,
            window_ms: u64::MAX,
        },
        ..imfast_warm::OpenOptions::default()
    };
    FjallArchive::open_with(&dir.join(ARCHIVE_DIRECTORY), options)
}

/// None where the partition was never opened.
fn open(layout: &ReshardLayout, number: usize) -> Result<Option<Opened>, OpenError> {
    let Some(dir) = layout.directories.get(number).filter(|dir| dir.is_dir()) else {
        return Ok(None);
    };
    let options = OpenOptions::new(number as u32, u64::from(layout.generation));
    let opened = Log::open(Arc::new(StdFs), dir, options).map_err(OpenError::Log)?;
    let archive = Arc::new(archive_in(dir).map_err(OpenError::Archive)?);
    let shared: Arc<dyn Archive> = archive.clone();
    let restored = Partition::restore(config(layout, number), shared);
    let mut partition: Partition<()> =
        restored.map_err(|error| OpenError::Archive(io::Error::other(error)))?;
    let mut heads = partition.heads();
    let mut batches = opened
        .log
        .read_from(partition.position() + 1)
        .map_err(OpenError::Log)?;
    while let Some(batch) = batches.next_batch().map_err(OpenError::Log)? {
        partition
            .replay_begin(batch.time_ms, batch.commands())
            .map_err(OpenError::Replay)?;
        let position = partition.position();
        renumber(partition.records_mut().0, &mut heads, position);
        partition
            .replay_finish_commit()
            .map_err(OpenError::Replay)?;
        if partition.chunk_commands() >= ROWS as u64 {
            put(&mut partition, &archive)?;
        }
    }
    put(&mut partition, &archive)?;
    let keys = archive.all_keys().map_err(OpenError::Archive)?;
    Ok(Some(Opened {
        _log: opened.log,
        partition,
        archive,
        keys,
    }))
}

/// Everything committed goes to the archive.
fn put(partition: &mut Partition<()>, archive: &FjallArchive) -> Result<(), OpenError> {
    if partition.position() == 0 {
        return Ok(());
    }
    // None stays with a sequencer, which has none yet.
    let chunk = partition.take_chunk(partition.position() + 1).settle();
    archive.apply(&chunk).map_err(OpenError::Archive)?;
    partition.archived(chunk.reached.position);
    partition.evict(0, usize::MAX);
    Ok(())
}

/// Numbers commands of a log, each of which was accepted, as the sequencer did.
fn renumber(records: &mut [u8], heads: &mut Vec<u64>, mut position: u64) {
    let (records, _) = records.as_chunks_mut::<RECORD_BYTES>();
    for record in records {
        position += 1;
        record[48..56].copy_from_slice(&position.to_le_bytes());
        if record[28] == kind::UNNUMBERED {
            record[29] = verdict::ACCEPTED;
            continue;
        }
        let conversation = u32::from_le_bytes([record[24], record[25], record[26], record[27]]);
        let conversation = conversation as usize;
        if conversation >= heads.len() {
            heads.resize(conversation + 1, 0);
        }
        heads[conversation] += 1;
        record[29] = verdict::NEW;
        record[32..40].copy_from_slice(&heads[conversation].to_le_bytes());
    }
}

fn make(old: &[Opened], to: &ReshardLayout, number: usize) -> Result<(), OpenError> {
    let Some(dir) = to.directories.get(number) else {
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(OpenError::Archive)?;
    let archive = archive_in(dir).map_err(OpenError::Archive)?;
    let sources: Vec<Source<'_>> = old
        .iter()
        .map(|opened| Source {
            partition: &opened.partition,
            keys: &opened.keys,
        })
        .collect();
    let take = &mut |chunk: Chunk| -> io::Result<()> {
        archive.apply(&chunk.settle())?;
        while archive.tidy()? {}
        Ok(())
    };
    imfast_partition::reshard(&sources, &config(to, number), ROWS, take)
        .map_err(OpenError::Archive)?;
    let forgotten = old.iter().map(|opened| opened.archive.forgotten());
    let (expired, last) = forgotten.fold((0, 0), |(expired, last), (one, at)| {
        (one.max(expired), at.max(last))
    });
    archive
        .note_forgotten(expired, last)
        .map_err(OpenError::Archive)?;
    let position = archive.reached().position + 1;
    imfast_log::begin(
        &StdFs,
        dir,
        number as u32,
        u64::from(to.generation),
        position,
    )
    .map_err(OpenError::Log)
}

fn digest(opened: &[Opened]) -> Result<Digest, OpenError> {
    let mut all = Digest::default();
    for one in opened {
        all = all.and(one.partition.digest().map_err(OpenError::Archive)?);
    }
    Ok(all)
}

fn is_known(new: &[Opened], key: &ArchivedKey) -> Result<bool, OpenError> {
    for opened in new {
        let found = opened
            .archive
            .find_key((key.key_high, key.key_low), key.made_ms, u64::MAX)
            .map_err(OpenError::Archive)?;
        if let KeyFound::First(found) = found {
            let results = |key: &ArchivedKey| (key.payload, key.seq, key.message_id, key.time_ms);
            return Ok(results(&found) == results(key));
        }
    }
    Ok(false)
}
