//! Nanoseconds of a lookup and of a change, on a table as a large node has it.
//!
//! ```text
//! cargo run --release -p imfast-routes --example measure
//! ```

use std::hint::black_box;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use imfast_routes::{RouteError, RouteTable, RouteWriter};

const BUCKETS: u64 = 1 << 18;

/// A key as random as a hash, for less time than one.
fn key(index: u64) -> u64 {
    let mixed = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// The median of nine runs over `0..count`, per call.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds are far below 2^53")]
fn measure(name: &str, count: u64, mut call: impl FnMut(u64)) {
    let mut runs: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..count).for_each(&mut call);
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!(
        "{name:44} {:6.1} ns ({:.1} to {:.1})",
        runs[4], runs[0], runs[8]
    );
}

fn main() -> Result<(), RouteError> {
    let fd = RouteTable::create("routes-measure", BUCKETS)?;
    let table = Arc::new(RouteTable::map(fd.as_fd())?);
    let mut writer = RouteWriter::new(Arc::clone(&table), 5);

    for keys in [1_000, 500_000] {
        for index in 0..keys {
            writer.set(key(index));
        }
        println!(
            "{keys} keys: {:?}, {} overflowed",
            table.stats(),
            writer.overflowed()
        );
        measure("workers(), present", keys, |index| {
            black_box(table.workers(black_box(key(index))));
        });
        measure("workers(), absent", keys, |index| {
            black_box(table.workers(black_box(!key(index))));
        });
        measure("workers(), present, prefetched 8 ahead", keys, |index| {
            table.prefetch(key(index + 8));
            black_box(table.workers(black_box(key(index))));
        });
        measure("set(), already set", keys, |index| writer.set(key(index)));
        measure("clear() and set()", keys, |index| {
            writer.clear(key(index));
            writer.set(key(index));
        });
    }
    measure("user_key()", 100_000, |_| {
        black_box(table.user_key(black_box(b"default"), black_box(b"user-0123456789")));
    });
    measure("publish_committed()", 100_000, |_| {
        table.publish_committed(0, 1);
    });

    let start = Instant::now();
    table.clear_worker(5);
    println!(
        "clear_worker() over {} MiB: {:?}",
        BUCKETS >> 13,
        start.elapsed()
    );
    Ok(())
}
