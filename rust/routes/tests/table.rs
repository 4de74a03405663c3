//! One process: what the table answers, beside a plain set of (key, worker).

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use imfast_routes::{PARTITIONS_MAX, RouteError, RouteTable, RouteWriter, WORKERS_MAX, WorkerMask};

fn heap(buckets: u64) -> Arc<RouteTable> {
    Arc::new(RouteTable::heap(buckets).expect("small"))
}

/// A small generator, so that a failure repeats.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

#[test]
fn worker_sets_a_key_and_only_that_key_is_routed_to_it() {
    let table = heap(64);
    let mut writer = RouteWriter::new(Arc::clone(&table), 61);
    let (alice, bob) = (
        table.user_key(b"default", b"alice"),
        table.user_key(b"default", b"bob"),
    );
    writer.set(alice);
    writer.set(alice);
    assert!(table.workers(alice).contains(61));
    assert_eq!(table.workers(alice).iter().collect::<Vec<_>>(), [61]);
    assert!(table.workers(bob).is_empty());
    writer.clear(bob);
    writer.clear(alice);
    assert_eq!(table.workers(alice), WorkerMask(0));
    assert_eq!(table.stats().entries, 0);
}

#[test]
fn keys_differ_by_tenant_and_kind_and_table() {
    let table = heap(1);
    let long = [b'x'; 128];
    let keys = [
        table.user_key(b"a", b"bc"),
        table.user_key(b"ab", b"c"),
        table.group_key(b"a", b"bc"),
        table.user_key(b"a", &long),
        table.user_key(&long, b"a"),
        table.user_key(&long[..63], &long[..63]), // the longest hashed in one pass
        table.user_key(&long[..63], &long[..64]),
        heap(1).user_key(b"a", b"bc"),
    ];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(table.user_key(b"a", &long), table.user_key(b"a", &long));
}

#[test]
fn full_bucket_broadcasts_to_the_worker_until_its_last_overflowed_key_is_cleared() {
    let table = heap(1);
    let mut writer = RouteWriter::new(Arc::clone(&table), 3);
    for key in 1..=9 {
        writer.set(key);
    }
    assert_eq!((writer.overflowed(), table.stats().overflowing), (2, 1));
    assert_eq!(table.workers(1_000), WorkerMask(1 << 3));

    writer.clear(1); // a slot is free: key 9 still belongs to the overflow
    writer.set(9);
    writer.clear(8);
    assert!(table.workers(9).contains(3));
    writer.clear(9);
    assert_eq!((writer.overflowed(), table.stats().overflowing), (0, 0));
    assert!(table.workers(1_000).is_empty());
    assert_eq!(table.stats().entries, 6);
}

#[test]
fn random_sets_and_clears_never_lose_a_route_and_end_empty() {
    let operations = if cfg!(miri) { 400 } else { 40_000 };
    let table = heap(4);
    let mut writers: Vec<_> = (0..5)
        .map(|w| RouteWriter::new(Arc::clone(&table), w))
        .collect();
    let mut routes = HashSet::new();
    let mut chance = Chance(7);
    for _ in 0..operations {
        let (key, worker) = (
            chance.below(60).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            chance.below(5),
        );
        if chance.below(5) < 2 {
            writers[worker as usize].set(key);
            routes.insert((key, worker));
        } else {
            writers[worker as usize].clear(key);
            routes.remove(&(key, worker));
        }
        let found = table.workers(key);
        assert!((0..5).all(|w| !routes.contains(&(key, w)) || found.contains(w as usize)));
    }
    for (key, worker) in routes {
        assert!(table.workers(key).contains(worker as usize));
        writers[worker as usize].clear(key);
    }
    let stats = table.stats();
    assert_eq!((stats.entries, stats.locked, stats.overflowing), (0, 0, 0));
}

#[test]
fn clearing_a_worker_leaves_the_others() {
    let table = heap(1);
    let mut first = RouteWriter::new(Arc::clone(&table), 0);
    let mut second = RouteWriter::new(Arc::clone(&table), 1);
    for key in 0..9 {
        first.set(key);
        second.set(key);
    }
    table.clear_worker(0);
    for key in 0..9 {
        assert_eq!(table.workers(key).iter().collect::<Vec<_>>(), [1]);
    }
    for key in 0..9 {
        second.clear(key);
    }
    assert_eq!(table.stats().entries + table.stats().overflowing, 0);
}

#[test]
fn positions_epochs_and_heartbeats_are_words_of_their_own() {
    let table = heap(1);
    for partition in 0..PARTITIONS_MAX {
        assert_eq!((table.committed(partition), table.epoch(partition)), (0, 0));
        table.publish_epoch(partition, 2);
        table.publish_committed(partition, partition as u64 + 10);
    }
    for worker in 0..WORKERS_MAX {
        assert_eq!(table.heartbeat(worker), 0);
        table.beat(worker, worker as u64 + 1);
    }
    assert_eq!((table.committed(255), table.epoch(255)), (265, 2));
    assert_eq!((table.heartbeat(0), table.heartbeat(61)), (1, 62));
    assert!(table.workers(0).is_empty());
}

#[test]
#[should_panic(expected = "worker 62")]
fn worker_without_a_bit_is_refused() {
    RouteWriter::new(heap(1), 62);
}

#[test]
#[cfg_attr(miri, ignore = "no memfd")]
fn two_mappings_of_one_table_share_keys_and_routes() {
    let fd = RouteTable::create("routes-test", 100).expect("memfd");
    let here = Arc::new(RouteTable::map(fd.as_fd()).expect("mapped"));
    let there = RouteTable::map(fd.as_fd()).expect("mapped");
    drop(fd);
    let key = here.group_key(b"default", b"g.k3");
    assert_eq!(key, there.group_key(b"default", b"g.k3"));
    here.prefetch(key);
    RouteWriter::new(Arc::clone(&here), 9).set(key);
    here.publish_committed(4, 77);
    assert!(there.workers(key).contains(9));
    assert_eq!(there.committed(4), 77);
    assert_eq!(there.stats().buckets, 100);
}

#[test]
#[cfg_attr(miri, ignore = "no memfd")]
fn file_that_is_no_table_is_refused() {
    let file = std::fs::File::open("/dev/null").expect("exists");
    assert!(matches!(
        RouteTable::map(file.as_fd()),
        Err(RouteError::Foreign)
    ));
    for buckets in [0, u64::MAX] {
        assert!(matches!(
            RouteTable::create("none", buckets),
            Err(RouteError::Buckets(_))
        ));
        assert!(matches!(
            RouteTable::heap(buckets),
            Err(RouteError::Buckets(_))
        ));
    }
}
