//! The one writer of a worker's bits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::bucket::Placed;
use crate::table::{RouteTable, worker_bit};
use crate::word::Word;

/// Sets and clears the bits of one worker. There is one writer per worker and node: the supervisor gives
/// each process its number, and clears a dead one's bits before it gives the number away again.
///
/// Setting is idempotent, not counted: the caller knows its sessions and clears a key after the last.
#[derive(Debug)]
pub struct RouteWriter {
    table: Arc<RouteTable>,
    worker: usize,
    /// Our keys that found no slot, by bucket. The shared overflow bit says only that there is one, so
    /// this process remembers which, to clear the bit with the last of them.
    overflow: HashMap<usize, Vec<u64>>,
}

impl RouteWriter {
    /// The writer of `worker`; panics when `worker` is not below [`crate::WORKERS_MAX`].
    pub fn new(table: Arc<RouteTable>, worker: usize) -> Self {
        worker_bit(worker);
        Self {
            table,
            worker,
            overflow: HashMap::new(),
        }
    }

    /// The table that it writes.
    pub fn table(&self) -> &Arc<RouteTable> {
        &self.table
    }

    /// The worker whose bits it writes.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Keys that found no slot: they cost their bucket's other keys ignored frames.
    pub fn overflowed(&self) -> usize {
        self.overflow.values().map(Vec::len).sum()
    }

    /// Routes `key` to this worker. Positions read afterwards with [`RouteTable::committed`] are at or past
    /// whatever the owner delivered without seeing this.
    pub fn set(&mut self, key: u64) {
        let index = self.table.bucket_index(key);
        // A key in the overflow stays there until it is cleared, else its overflow bit would be forgotten.
        let overflowed = self
            .overflow
            .get(&index)
            .is_some_and(|keys| keys.contains(&key));
        let bucket = self.table.bucket(key);
        if !overflowed && bucket.set(key, worker_bit(self.worker)) == Placed::Overflow {
            self.overflow.entry(index).or_default().push(key);
        }
    }

    /// Ends the route of `key` to this worker; nothing when there is none.
    pub fn clear(&mut self, key: u64) {
        let bucket = self.table.bucket(key);
        if let Entry::Occupied(mut entry) = self.overflow.entry(self.table.bucket_index(key)) {
            let keys = entry.get_mut();
            if let Some(at) = keys.iter().position(|&overflowed| overflowed == key) {
                keys.swap_remove(at);
                if keys.is_empty() {
                    entry.remove();
                    bucket.overflow.mask.clear_bits(worker_bit(self.worker));
                }
                return;
            }
        }
        bucket.clear(key, worker_bit(self.worker));
    }
}
