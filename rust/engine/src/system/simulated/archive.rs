//! An archive in memory that cannot be written or read while the world says so.

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey,
};
use imfast_warm::{KeyBudget, MemoryArchive};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a partition's disk has of its archive; clones share it. It survives every crash, for what it
/// took was synced before it said so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    content: MemoryArchive,
    trouble: Arc<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    writes: AtomicBool,
    reads: AtomicBool,
}

impl Shelf {
    /// Bounds the keys that are kept from the next chunk on.
    pub(crate) fn set_key_budget(&self, budget: KeyBudget) {
        self.content.set_key_budget(budget);
    }

    /// Whether writes and reads fail from now on.
    pub(crate) fn set_trouble(&self, writes: bool, reads: bool) {
        self.trouble.writes.store(writes, Ordering::Relaxed);
        self.trouble.reads.store(reads, Ordering::Relaxed);
    }

    fn readable(&self) -> io::Result<&MemoryArchive> {
        fails(&self.trouble.reads)?;
        Ok(&self.content)
    }
}

fn fails(trouble: &AtomicBool) -> io::Result<()> {
    if trouble.load(Ordering::Relaxed) {
        return Err(io::Error::other("as the plan says"));
    }
    Ok(())
}

impl Archive for Shelf {
    fn reached(&self) -> Reached {
        self.content.reached()
    }

    fn apply(&self, chunk: &Settled) -> io::Result<()> {
        fails(&self.trouble.writes)?;
        self.content.apply(chunk)
    }

    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>> {
        self.readable()?.row(conversation, seq)
    }

    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.readable()?.rows(conversation, seqs, each)
    }

    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.readable()?.rows_back(conversation, seqs, each)
    }

    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()> {
        self.readable()?.places(positions, each)
    }

    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>> {
        self.readable()?.piece(key)
    }

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        self.readable()?.state(each)
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        self.readable()?.keys()
    }

    fn find_key(&self, key: (u64, u64), made_ms: u64, before: u64) -> io::Result<KeyFound> {
        self.readable()?.find_key(key, made_ms, before)
    }

    fn old_keys_made_ms(&self, before: u64) -> Option<u64> {
        self.content.old_keys_made_ms(before)
    }

    fn keys_forgotten_ms(&self) -> u64 {
        self.content.keys_forgotten_ms()
    }
}
