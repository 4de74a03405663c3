//! The bucket under loom: every interleaving, and every stale value the memory model allows, within a
//! bound of preemptions. Buckets have one or two slots, so that threads meet.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

use crate::bucket::{Bucket, LOCK, Placed, Slot};
use crate::word::Word;

const ALICE: u64 = 10;
const BOB: u64 = 20;

impl Word for AtomicU64 {
    fn load_acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn load_relaxed(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn store_release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn store_relaxed(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }

    fn replace(&self, current: u64, new: u64) -> bool {
        self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn set_bits(&self, bits: u64) {
        self.fetch_or(bits, Ordering::AcqRel);
    }

    fn clear_bits(&self, bits: u64) {
        self.fetch_and(!bits, Ordering::AcqRel);
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

type Modelled<const SLOTS: usize> = Bucket<AtomicU64, SLOTS>;

fn empty<const SLOTS: usize>() -> Modelled<SLOTS> {
    let slot = || Slot {
        key: AtomicU64::new(0),
        mask: AtomicU64::new(0),
    };
    Bucket {
        slots: std::array::from_fn(|_| slot()),
        overflow: slot(),
    }
}

fn clear<const SLOTS: usize>(bucket: &Modelled<SLOTS>, placed: &Placed, key: u64, worker: u64) {
    match placed {
        Placed::InSlot => bucket.clear(key, worker),
        Placed::Overflow => bucket.overflow.mask.clear_bits(worker),
    }
}

fn masks<const SLOTS: usize>(bucket: &Modelled<SLOTS>) -> Vec<u64> {
    let all = bucket.slots.iter().chain([&bucket.overflow]);
    all.map(|slot| slot.mask.load_acquire()).collect()
}

fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(body);
}

#[test]
fn two_workers_setting_one_key_are_both_found_and_both_leave() {
    explore(3, || {
        let bucket = Arc::new(empty::<2>());
        let other = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.set(ALICE, 1))
        };
        let mine = bucket.set(ALICE, 2);
        assert_eq!(bucket.workers(ALICE) & 2, 2);
        let theirs = other.join().expect("no panic in a model thread");

        assert_eq!(bucket.workers(ALICE), 3);
        clear(&bucket, &mine, ALICE, 2);
        assert_eq!(bucket.workers(ALICE), 1);
        clear(&bucket, &theirs, ALICE, 1);
        assert_eq!(masks(&bucket), [0; 3]);
    });
}

/// The hard case: one slot changes hands between two keys while a third worker joins the old key.
#[test]
fn slot_reclaimed_for_another_key_loses_no_worker_and_keeps_no_wrong_bit() {
    explore(3, || {
        let bucket = Arc::new(empty::<1>());
        bucket.set(ALICE, 1);
        let leaver_and_claimer = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                bucket.clear(ALICE, 1);
                bucket.set(BOB, 1) // the mask is the same again: a join may take it for unchanged
            })
        };
        let joined = bucket.set(ALICE, 2);
        assert_eq!(bucket.workers(ALICE) & 2, 2);
        let claimed = leaver_and_claimer
            .join()
            .expect("no panic in a model thread");

        assert_eq!(bucket.workers(ALICE) & 2, 2);
        assert_eq!(bucket.workers(BOB) & 1, 1);
        clear(&bucket, &joined, ALICE, 2);
        clear(&bucket, &claimed, BOB, 1);
        assert_eq!(masks(&bucket), [0; 2]);
    });
}

#[test]
fn three_workers_over_one_slot_are_all_found() {
    explore(2, || {
        let bucket = Arc::new(empty::<1>());
        let spawn = |key, worker| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                let placed = bucket.set(key, worker);
                assert_eq!(bucket.workers(key) & worker, worker);
                clear(&bucket, &placed, key, worker);
                bucket.set(key, worker)
            })
        };
        let (first, second) = (spawn(ALICE, 1), spawn(BOB, 2));
        bucket.set(ALICE, 4);
        first.join().expect("no panic in a model thread");
        second.join().expect("no panic in a model thread");
        assert_eq!(bucket.workers(ALICE) & 5, 5);
        assert_eq!(bucket.workers(BOB) & 2, 2);
        assert!(masks(&bucket).iter().all(|mask| mask & LOCK == 0));
    });
}

/// A session sets its bit and reads the position; an owner publishes the position and reads the mask. The
/// slot had another key before, which the owner may still see for a while.
#[test]
fn session_and_owner_do_not_miss_each_other() {
    explore(3, || {
        let bucket = Arc::new(empty::<1>());
        bucket.set(BOB, 2);
        bucket.clear(BOB, 2);
        let committed = Arc::new(AtomicU64::new(0));
        let session = {
            let (bucket, committed) = (Arc::clone(&bucket), Arc::clone(&committed));
            thread::spawn(move || {
                bucket.set(ALICE, 1);
                committed.load_acquire()
            })
        };
        committed.publish(1);
        let seen = bucket.workers(ALICE);
        let bound = session.join().expect("no panic in a model thread");
        assert!(
            seen == 1 || bound == 1,
            "the message is neither live nor caught up"
        );
    });
}

/// As above, where the session joins a slot that another worker filled and leaves meanwhile.
#[test]
fn session_joining_a_slot_and_owner_do_not_miss_each_other() {
    explore(2, || {
        let bucket = Arc::new(empty::<1>());
        let committed = Arc::new(AtomicU64::new(0));
        let first = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                let placed = bucket.set(ALICE, 2);
                clear(&bucket, &placed, ALICE, 2);
            })
        };
        let session = {
            let (bucket, committed) = (Arc::clone(&bucket), Arc::clone(&committed));
            thread::spawn(move || {
                bucket.set(ALICE, 1);
                committed.load_acquire()
            })
        };
        committed.publish(1);
        let seen = bucket.workers(ALICE);
        let bound = session.join().expect("no panic in a model thread");
        first.join().expect("no panic in a model thread");
        assert!(
            seen & 1 == 1 || bound == 1,
            "the message is neither live nor caught up"
        );
    });
}

#[test]
fn clearing_a_worker_that_died_in_a_claim_frees_its_slot_beside_live_ones() {
    explore(3, || {
        let bucket = Arc::new(empty::<2>());
        bucket.set(ALICE, 1);
        assert!(bucket.slots[1].claim(1)); // and dies before it writes the key
        let alive = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.set(ALICE, 2))
        };
        bucket.clear_worker(1);
        let placed = alive.join().expect("no panic in a model thread");
        assert_eq!(bucket.workers(ALICE), 2);
        clear(&bucket, &placed, ALICE, 2);
        assert_eq!(masks(&bucket), [0; 3]);
    });
}
