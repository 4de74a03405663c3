//! The route table: whom a message concerns, and taking part.

use super::OPERATIONS;
use crate::callgrind::counted;
use imfast_routes::{RouteTable, RouteWriter};
use std::hint::black_box;
use std::os::fd::AsFd;
use std::sync::Arc;

const BUCKETS: u64 = 1 << 14;
const WORKER: usize = 5;

/// A key as random as a hash, for less than one.
fn key(index: usize) -> u64 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

pub(crate) fn run() {
    let memory = RouteTable::create("imfast-micro", BUCKETS).expect("shared memory");
    let table = Arc::new(RouteTable::map(memory.as_fd()).expect("a fresh table"));
    let mut writer = RouteWriter::new(Arc::clone(&table), WORKER);
    for index in 0..4 * OPERATIONS {
        writer.set(key(index));
    }
    counted("routes_workers_present", OPERATIONS, || {
        for index in 0..OPERATIONS {
            black_box(table.workers(black_box(key(index))));
        }
    });
    counted("routes_workers_absent", OPERATIONS, || {
        for index in 0..OPERATIONS {
            black_box(table.workers(black_box(!key(index))));
        }
    });
    counted("routes_set_again", OPERATIONS, || {
        for index in 0..OPERATIONS {
            writer.set(black_box(key(index)));
        }
    });
    counted("routes_clear_and_set", OPERATIONS, || {
        for index in 0..OPERATIONS {
            writer.clear(black_box(key(index)));
            writer.set(black_box(key(index)));
        }
    });
}
