//! Files and directories of the simulated disk: what the cache shows, what the disk holds, what is between.

use std::collections::BTreeMap;

use super::Tear;

/// A file's content.
#[derive(Default)]
pub(super) struct Inode {
    /// What is read.
    pub(super) cache: Vec<u8>,
    /// What survives.
    disk: Vec<u8>,
    /// What a sync would bring from one to the other, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

impl Inode {
    pub(super) fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        self.change(Change::Write(offset as usize, bytes));
    }

    pub(super) fn truncate(&mut self, length: u64) {
        self.change(Change::Truncate(length as usize));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cache);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.disk);
        }
    }

    /// After a failed write-back: the cache keeps the bytes, marked clean; the disk never gets them.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    /// Drops clean bytes from the cache; dirty ones stay.
    pub(super) fn evict(&mut self) {
        self.cache.clone_from(&self.disk);
        for change in &self.unsynced {
            change.apply(&mut self.cache);
        }
    }

    pub(super) fn crash(&mut self, tear: Tear, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        match tear {
            Tear::Lost => {}
            Tear::Kept => unsynced
                .iter()
                .for_each(|change| change.apply(&mut self.disk)),
            Tear::At(bytes) => self.keep_bytes(&unsynced, bytes as usize),
            Tear::Seeded(_) => self.keep_some(&unsynced, random),
        }
        self.cache.clone_from(&self.disk);
    }

    fn keep_bytes(&mut self, unsynced: &[Change], mut left: usize) {
        for change in unsynced {
            match change {
                Change::Write(offset, written) => {
                    let kept = left.min(written.len());
                    Change::Write(*offset, written[..kept].to_vec()).apply(&mut self.disk);
                    left -= kept;
                    if kept < written.len() {
                        return;
                    }
                }
                Change::Truncate(_) => change.apply(&mut self.disk),
            }
        }
    }

    fn keep_some(&mut self, unsynced: &[Change], random: &mut Random) {
        let whole = random.below(unsynced.len() + 1);
        unsynced[..whole]
            .iter()
            .for_each(|change| change.apply(&mut self.disk));
        if let Some(Change::Write(offset, written)) = unsynced.get(whole) {
            let kept = random.below(written.len() + 1);
            let mut torn = written[..kept].to_vec();
            if random.below(2) == 1 {
                torn.resize(written.len(), 0);
            }
            // An empty write must not lengthen the file either.
            if !torn.is_empty() {
                Change::Write(*offset, torn).apply(&mut self.disk);
            }
        }
    }
}

/// Names and the inodes they stand for.
#[derive(Default)]
pub(super) struct Directory {
    pub(super) live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<Entry>,
}

/// A change of a directory.
#[derive(Clone)]
pub(super) enum Entry {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Directory {
    pub(super) fn change(&mut self, entry: Entry) {
        entry.apply(&mut self.live);
        self.unsynced.push(entry);
    }

    pub(super) fn sync(&mut self) {
        self.keep(usize::MAX);
    }

    pub(super) fn crash(&mut self, tear: Tear, random: &mut Random) {
        match tear {
            Tear::Lost => self.keep(0),
            Tear::Kept | Tear::At(_) => self.keep(usize::MAX),
            Tear::Seeded(_) => self.keep(random.below(self.unsynced.len() + 1)),
        }
        self.live.clone_from(&self.durable);
    }

    fn keep(&mut self, entries: usize) {
        for entry in self.unsynced.drain(..).take(entries) {
            entry.apply(&mut self.durable);
        }
    }
}

/// `SplitMix64`, as described by Steele, Lea and Flood (2014): small, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}
