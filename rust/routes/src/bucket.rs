//! One bucket: seven keys with their worker masks, and an overflow mask that belongs to every key.
//!
//! A slot's life:
//!
//! ```text
//!        claim                publish              others join and leave
//!  0 ──────────▶ LOCK|worker ─────────▶ worker ──────────────────────────▶ … ─▶ 0
//!    mask, CAS    key is written         key is fixed while the mask is not 0
//! ```
//!
//! Invariants: only a worker's own process (or, once it is dead, [`Bucket::clear_worker`]) changes that
//! worker's bit; a key changes only under the lock; a locked slot has the locker's bit and no other. One
//! key may stand in two slots, put there by different workers at the same time: readers OR all.

use std::sync::atomic::AtomicU64;

use crate::word::Word;

/// Set while a slot's key is being written. Above every worker bit (0 to 61).
pub(crate) const LOCK: u64 = 1 << 63;

/// The bits of a mask that are workers.
pub(crate) const WORKERS: u64 = (1 << crate::header::WORKERS_MAX) - 1;

/// A key and its mask. The key is stale where the mask is 0.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slot<W> {
    pub(crate) key: W,
    pub(crate) mask: W,
}

/// Seven slots and the overflow slot, whose key is unused: two cache lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Bucket<W = AtomicU64, const SLOTS: usize = 7> {
    pub(crate) slots: [Slot<W>; SLOTS],
    pub(crate) overflow: Slot<W>,
}

const _: () = assert!(
    size_of::<Bucket>() == 128,
    "the layout is shared by processes"
);

/// Where a call to [`Bucket::set`] put the worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// With the key.
    InSlot,
    /// In the overflow, as no slot was free: the caller remembers which keys of its own are there.
    Overflow,
}

impl<W: Word, const SLOTS: usize> Bucket<W, SLOTS> {
    /// Sets `worker`'s bit (one bit of [`WORKERS`]) for `key`. What the caller reads afterwards is at least
    /// as new as whatever an owner published before it read this bucket without the bit.
    pub(crate) fn set(&self, key: u64, worker: u64) -> Placed {
        let placed = self.set_in_slot(key, worker);
        if placed == Placed::Overflow {
            self.overflow.mask.set_bits(worker);
        }
        W::fence();
        placed
    }

    fn set_in_slot(&self, key: u64, worker: u64) -> Placed {
        loop {
            let mut same = None;
            let mut free = None;
            for slot in &self.slots {
                let mask = slot.mask.load_acquire();
                if mask == 0 {
                    free = free.or(Some(slot));
                } else if mask & LOCK == 0 && slot.key.load_relaxed() == key {
                    if mask & worker != 0 {
                        return Placed::InSlot; // our bit holds the key in place: no race
                    }
                    same = Some((slot, mask));
                }
            }
            let placed = match (same, free) {
                (Some((slot, mask)), _) => slot.join(key, mask, worker),
                (None, Some(slot)) => slot.claim(worker) && slot.publish(key, worker),
                (None, None) => return Placed::Overflow,
            };
            if placed {
                return Placed::InSlot;
            }
        }
    }

    /// Clears `worker`'s bit for `key`, where it stands in a slot.
    pub(crate) fn clear(&self, key: u64, worker: u64) {
        for slot in &self.slots {
            if slot.mask.load_acquire() & worker != 0 && slot.key.load_relaxed() == key {
                slot.mask.clear_bits(worker);
            }
        }
    }

    /// The workers that may hold `key`: every slot with the key, and the overflow.
    #[inline]
    pub(crate) fn workers(&self, key: u64) -> u64 {
        let mut workers = self.overflow.mask.load_acquire();
        for slot in &self.slots {
            let same = slot.key.load_relaxed() == key;
            let mask = slot.mask.load_acquire();
            workers |= if same { mask } else { 0 };
        }
        workers & WORKERS
    }

    /// Clears the bits of a worker whose process is dead, and frees the slot that it died in.
    pub(crate) fn clear_worker(&self, worker: u64) {
        for slot in self.slots.iter().chain([&self.overflow]) {
            loop {
                let mask = slot.mask.load_acquire();
                if mask & worker == 0 {
                    break;
                }
                let left = if mask & LOCK == 0 { mask & !worker } else { 0 };
                if slot.mask.replace(mask, left) {
                    break;
                }
            }
        }
    }
}

impl<W: Word> Slot<W> {
    /// Adds a bit to a slot that was seen with `key` and `mask`; false when it has changed meanwhile.
    fn join(&self, key: u64, mask: u64, worker: u64) -> bool {
        if !self.mask.replace(mask, mask | worker) {
            return false;
        }
        // Between our reading key and mask and the exchange, the slot may have been freed and claimed for
        // another key with an equal mask. Now our bit holds the key, so one look decides.
        if self.key.load_relaxed() == key {
            return true;
        }
        self.mask.clear_bits(worker);
        false
    }

    /// Takes a free slot; its key may be written until [`Slot::publish`].
    pub(crate) fn claim(&self, worker: u64) -> bool {
        self.mask.replace(0, LOCK | worker)
    }

    /// Gives a claimed slot its key and unlocks it.
    fn publish(&self, key: u64, worker: u64) -> bool {
        self.key.store_relaxed(key);
        self.mask.store_release(worker);
        true
    }
}
