//! One sorted tree: written by ingestion of sorted chunks, read by ranges, compacted when asked.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::config::{CompressionPolicy, FilterPolicy};
use lsm_tree::{
    AbstractTree, AnyIngestion, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard,
    SeqNo, SequenceNumberCounter, Slice,
};

use crate::error::guarded;
use crate::manifest;

/// Runs in level 0 that call for a compaction. Each one more costs every read a lookup, each one
/// less makes rows be written more often.
const LEVEL_0_RUNS: u8 = 8;
/// Bytes of a table. Level 1 has as many bytes as level 0 when that is merged into it, for chunks of
/// some 14 MB: larger or smaller ones write rows more often, and larger ones take longer steps.
const TABLE_BYTES: u64 = 16 << 20;

/// What the trees of an archive share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) cache: Arc<Cache>,
    pub(crate) descriptors: Arc<DescriptorTable>,
}

/// Which end of a range is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// One change being written: keys ascending, each once.
pub(crate) struct Writing<'a>(AnyIngestion<'a>);

impl Writing<'_> {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> lsm_tree::Result<()> {
        self.0.write(key, value)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> lsm_tree::Result<()> {
        self.0.write_tombstone(key)
    }
}

/// A tree on disk. Nothing is ever in its memtables, so it needs no journal.
pub(crate) struct Tree {
    path: PathBuf,
    inner: AnyTree,
    /// Counts versions of the tree: it moves exactly when the list of tables changes.
    versions: SequenceNumberCounter,
}

impl Tree {
    /// Makes an empty tree, durably.
    pub(crate) fn create(path: &Path, shared: &Shared) -> io::Result<()> {
        Self::open_unchecked(path, shared).map(drop)
    }

    /// Opens a tree that was made, if what it rests on is whole. Blocks are checked when read.
    pub(crate) fn open(path: &Path, shared: &Shared) -> io::Result<Self> {
        manifest::check(path)?;
        Self::open_unchecked(path, shared)
    }

    fn open_unchecked(path: &Path, shared: &Shared) -> io::Result<Self> {
        let versions = SequenceNumberCounter::default();
        let config = Config::new(path, versions.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::clone(&shared.cache))
            .use_descriptor_table(Some(Arc::clone(&shared.descriptors)))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            .filter_policy(FilterPolicy::disabled());
        let tree = guarded(path, || config.open())?;
        if let Some(highest) = guarded(path, || Ok(tree.get_highest_persisted_seqno()))? {
            versions.fetch_max(highest + 1);
        }
        Ok(Self {
            path: path.to_owned(),
            inner: tree,
            versions,
        })
    }

    /// The tables that count: id, which is the file's name, and XXH3 checksum of all its bytes.
    pub(crate) fn tables(&self) -> Vec<(u64, u128)> {
        let version = self.inner.current_version();
        let tables = version.iter_tables();
        tables
            .map(|table| (table.id(), table.checksum().into_u128()))
            .collect()
    }

    /// Writes entries, ascending by key, as one change: durable and whole when it returns.
    pub(crate) fn ingest(
        &self,
        write: impl FnOnce(&mut Writing<'_>) -> lsm_tree::Result<()>,
    ) -> io::Result<()> {
        guarded(&self.path, || {
            let mut writing = Writing(self.inner.ingestion()?);
            write(&mut writing)?;
            writing.0.finish()
        })
    }

    /// The value at a key.
    pub(crate) fn get(&self, key: &[u8]) -> io::Result<Option<Slice>> {
        guarded(&self.path, || self.inner.get(key, SeqNo::MAX))
    }

    /// Entries in `range` as of now, until `each` returns false.
    pub(crate) fn range<const N: usize>(
        &self,
        range: Range<[u8; N]>,
        order: Order,
        mut each: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut entries = guarded(&self.path, || Ok(self.inner.range(range, SeqNo::MAX, None)))?;
        loop {
            let next = guarded(&self.path, || {
                let entry = match order {
                    Order::Ascending => entries.next(),
                    Order::Descending => entries.next_back(),
                };
                entry.map(Guard::into_inner).transpose()
            })?;
            match next {
                Some((key, value)) if each(&key, &value)? => {}
                _ => return Ok(()),
            }
        }
    }

    /// Sorted runs that a read has to look into before it comes to the levels.
    pub(crate) fn unsorted_runs(&self) -> usize {
        self.inner.l0_run_count()
    }

    /// Does one step of compaction, if one is due. Returns whether it did.
    pub(crate) fn compact(&self) -> io::Result<bool> {
        let strategy = Leveled::default()
            .with_l0_threshold(LEVEL_0_RUNS)
            .with_table_target_size(TABLE_BYTES);
        let before = self.versions.get();
        // Readers hold on to what they look at: nobody needs what the new version replaces.
        guarded(&self.path, || {
            self.inner.compact(Arc::new(strategy), before + 1)
        })?;
        Ok(self.versions.get() != before)
    }
}
