//! The dynamic table (RFC 7541 section 2.3.2). Nothing is allocated before the first entry.

use std::collections::VecDeque;

/// What each entry counts beside its bytes.
const ENTRY_BYTES: usize = 32;

/// Entries, the newest last.
#[derive(Debug)]
pub(super) struct Table {
    /// Names and values, one after the other; those before `start` are forgotten.
    bytes: Vec<u8>,
    start: usize,
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: u32,
    value: u32,
}

impl Entry {
    fn bytes(self) -> usize {
        (self.name + self.value) as usize
    }
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            entries: VecDeque::new(),
            size: 0,
            limit,
        }
    }

    /// The entry at `index` from the newest.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let mut newest = self.entries.iter().rev();
        let behind: usize = newest.by_ref().take(index).map(|e| e.bytes()).sum();
        let entry = newest.next()?;
        let end = self.bytes.len().checked_sub(behind)?;
        let bytes = self.bytes.get(end.checked_sub(entry.bytes())?..end)?;
        bytes.split_at_checked(entry.name as usize)
    }

    /// Adds an entry; one that is larger than the table empties it.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + ENTRY_BYTES;
        self.evict(self.limit.saturating_sub(size));
        if size > self.limit {
            return;
        }
        self.size += size;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry {
            name: name.len() as u32,
            value: value.len() as u32,
        });
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn evict(&mut self, target: usize) {
        while self.size > target {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.size -= oldest.bytes() + ENTRY_BYTES;
            self.start += oldest.bytes();
        }
        // As much as is moved was thrown away before.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}
