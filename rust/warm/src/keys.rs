//! The idempotency keys of an archive: files that are written once, merged, and forgotten at last.
//!
//! A chunk's keys are a file. Sixteen neighbours of one level become one file of the next, up to some
//! 260,000 keys. What the sequencer has in memory is never forgotten here; what it has not, goes by
//! age and by the bytes of all files, the oldest first. Then the latest time that a forgotten key said
//! is remembered instead: a dated key of that time or before may have been used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imfast_partition::archive::{ArchivedKey, KeyFound, Reached};

use crate::key_file::{KeyFile, KeyPart, MADE_AHEAD_MS_MAX, remove_others};

/// Files of one level that become one of the next.
const MERGED: usize = 16;
/// A file with so many keys is not merged any more: 16 MiB.
const COUNT_MERGED_MAX: u64 = 262_144;

/// How long and how many keys are kept that the sequencer has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBudget {
    /// Bytes of the files of keys.
    pub bytes: u64,
    /// Age by times of batches, milliseconds.
    pub window_ms: u64,
}

impl Default for KeyBudget {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            window_ms: 24 * 3_600_000,
        }
    }
}

/// The files that count, oldest first, and what went before them.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    dir: PathBuf,
    files: Vec<Arc<KeyFile>>,
    pub(crate) forgotten: Forgotten,
}

/// What is left of keys that are not known any more; all 0 while there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The latest time that one of them says it was made, as far as it is believed.
    pub(crate) expired_until_ms: u64,
    /// Time of the last batch with one of them.
    pub(crate) last_ms: u64,
}

impl Keys {
    pub(crate) fn open(dir: &Path, parts: &[KeyPart], forgotten: Forgotten) -> io::Result<Self> {
        let open = |part: &KeyPart| KeyFile::open(dir, *part).map(Arc::new);
        Ok(Self {
            dir: dir.to_owned(),
            files: parts.iter().map(open).collect::<io::Result<_>>()?,
            forgotten,
        })
    }

    /// The files as a flip names them.
    pub(crate) fn parts(&self) -> Vec<KeyPart> {
        self.files.iter().map(|file| file.part).collect()
    }

    /// Adds a chunk's keys and forgets what is beyond the budget. Files are durable once the
    /// directory was synced; they count from the flip on that names them.
    pub(crate) fn add(
        &mut self,
        keys: &[ArchivedKey],
        reached: &Reached,
        budget: KeyBudget,
    ) -> io::Result<()> {
        if !keys.is_empty() {
            let file = KeyFile::write(&self.dir, keys.to_vec(), 0)?;
            self.files.push(Arc::new(file));
            while let Some(first) = self.mergeable() {
                self.merge(first)?;
            }
        }
        self.forget(reached, budget);
        Ok(())
    }

    /// Where the newest files that are to become one begin.
    fn mergeable(&self) -> Option<usize> {
        let first = self.files.len().checked_sub(MERGED)?;
        let newest = self.files.get(first..)?;
        let level = newest.first()?.part.level;
        newest
            .iter()
            .all(|file| file.part.level == level && file.part.count < COUNT_MERGED_MAX)
            .then_some(first)
    }

    fn merge(&mut self, first: usize) -> io::Result<()> {
        let mut keys = Vec::new();
        let mut level = 0;
        for file in self.files.iter().skip(first) {
            file.read(&mut keys)?;
            level = file.part.level + 1;
        }
        let file = KeyFile::write(&self.dir, keys, level)?;
        self.files.truncate(first);
        self.files.push(Arc::new(file));
        Ok(())
    }

    fn forget(&mut self, reached: &Reached, budget: KeyBudget) {
        let mut bytes: u64 = self.files.iter().map(|file| file.part.bytes()).sum();
        let mut gone = 0;
        for file in &self.files {
            let part = &file.part;
            let too_old = part.newest_ms.saturating_add(budget.window_ms) < reached.time_ms;
            if part.last_position >= reached.keys_from || !(too_old || bytes > budget.bytes) {
                break;
            }
            bytes -= part.bytes();
            gone += 1;
            // The clock may have been set back since.
            let believed = part.believed_ms.min(reached.time_ms + MADE_AHEAD_MS_MAX);
            let forgotten = &mut self.forgotten;
            forgotten.expired_until_ms = forgotten.expired_until_ms.max(believed);
            forgotten.last_ms = part.newest_ms;
        }
        self.files.drain(..gone);
    }

    /// What is known of a key that is not among those from position `before` on; `made_ms` is when
    /// it says that it was made, 0 where it does not say.
    pub(crate) fn find(&self, key: (u64, u64), made_ms: u64, before: u64) -> io::Result<KeyFound> {
        for file in self.files.iter().rev() {
            let part = &file.part;
            // Dated keys are mostly younger than all that is here.
            if part.first_position >= before || made_ms > part.made_max_ms {
                continue;
            }
            if let Some(found) = file.find(key.0, key.1)? {
                return Ok(KeyFound::First(found));
            }
        }
        Ok(KeyFound::Unknown {
            expired_until_ms: self.forgotten.expired_until_ms,
        })
    }

    /// The latest time that a key from before `before`, or a forgotten one, says.
    pub(crate) fn made_max_ms(&self, before: u64) -> Option<u64> {
        let old = |file: &&Arc<KeyFile>| file.part.first_position < before;
        let old = self.files.iter().filter(old);
        let known = old.map(|file| file.part.made_max_ms).max();
        let expired = self.forgotten.expired_until_ms;
        let expired = (expired > 0).then_some(expired);
        known.max(expired)
    }

    /// All keys from position `from` on, by position.
    pub(crate) fn read(&self, from: u64) -> io::Result<Vec<ArchivedKey>> {
        let mut keys = Vec::new();
        for file in &self.files {
            if file.part.last_position >= from {
                file.read(&mut keys)?;
            }
        }
        keys.retain(|key| key.position >= from);
        keys.sort_unstable_by_key(|key| key.position);
        Ok(keys)
    }

    /// Removes files of keys that do not count.
    pub(crate) fn remove_others(&self) -> io::Result<()> {
        remove_others(&self.dir, &self.parts())
    }
}
