//! The atomic operations the table is made of, as a trait: the model checker brings its own words.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A 64-bit atomic word. Orderings are part of each operation's name, so that no call site can weaken one.
pub(crate) trait Word {
    fn load_acquire(&self) -> u64;
    fn load_relaxed(&self) -> u64;
    fn store_release(&self, value: u64);
    fn store_relaxed(&self, value: u64);
    /// Replaces `current` by `new` (acquire and release); false when the word holds something else.
    fn replace(&self, current: u64, new: u64) -> bool;
    /// Sets bits (acquire and release).
    fn set_bits(&self, bits: u64);
    /// Clears bits (acquire and release).
    fn clear_bits(&self, bits: u64);
    /// A sequentially consistent fence: either of two threads that write, fence and read sees the other.
    fn fence();

    /// Stores a value and fences: what is read afterwards was not written after somebody missed the value.
    #[inline]
    fn publish(&self, value: u64) {
        self.store_release(value);
        Self::fence();
    }
}

impl Word for AtomicU64 {
    #[inline]
    fn load_acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn load_relaxed(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn store_release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    #[inline]
    fn store_relaxed(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }

    #[inline]
    fn replace(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    #[inline]
    fn set_bits(&self, bits: u64) {
        self.fetch_or(bits, Ordering::AcqRel);
    }

    #[inline]
    fn clear_bits(&self, bits: u64) {
        self.fetch_and(!bits, Ordering::AcqRel);
    }

    #[inline]
    fn fence() {
        fence(Ordering::SeqCst);
    }
}
