//! The log on the real file system, with its thread.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use imfast_log::{
    Batch, BatchView, Completion, Completions, Log, LogError, OpenOptions, Opened, StdFs,
    put_command, verify,
};

fn open(dir: &Path, options: OpenOptions) -> Opened {
    Log::open(Arc::new(StdFs), dir, options).unwrap()
}

/// A batch of `count` commands, each telling its position.
fn batch(first_position: u64, count: u32) -> Batch {
    let mut payload = Vec::new();
    for position in first_position..first_position + u64::from(count) {
        put_command(&mut payload, format!("command {position}").as_bytes());
    }
    Batch {
        first_position,
        time_ms: first_position * 10,
        fold_version: 1,
        count,
        payload,
    }
}

/// All positions in the log, each checked against its command.
fn positions(log: &Log, from: u64) -> Vec<u64> {
    let mut found = Vec::new();
    log.replay::<LogError>(from, &mut |view: BatchView<'_>| {
        for (position, command) in (view.first_position..).zip(view.commands()) {
            assert_eq!(command, format!("command {position}").as_bytes());
            found.push(position);
        }
        Ok(())
    })
    .unwrap();
    found
}

fn wait_for(completions: &Completions, into: &mut Vec<Completion>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while into.is_empty() {
        completions.drain(into);
        assert!(Instant::now() < deadline, "no completion");
        std::thread::yield_now();
    }
}

#[test]
fn thousand_batches_through_the_thread_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = OpenOptions::new(3, 7);
    options.segment_bytes = 16 << 10;
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let completions = Completions::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let writer = open(dir.path(), options)
        .log
        .start(Arc::clone(&completions))
        .unwrap();
    let mut next = 1;
    let mut outcomes = Vec::new();
    for ticket in 0..1000 {
        let count = 1 + (ticket % 7) as u32;
        writer.append(batch(next, count), ticket);
        wait_for(&completions, &mut outcomes);
        let outcome = outcomes.pop().unwrap();
        next += u64::from(count);
        assert_eq!((outcome.partition, outcome.ticket), (3, ticket));
        assert_eq!(outcome.result.unwrap().position, next - 1);
        assert!(!outcome.payload.is_empty(), "the buffer comes back");
    }
    assert_eq!(
        wakes.load(Ordering::Relaxed),
        1000,
        "each outcome found the queue empty"
    );
    assert_eq!(writer.reader().last_position(), next - 1);
    drop(writer);

    let reopened = open(dir.path(), options);
    assert_eq!((reopened.epoch, reopened.last_position), (2, next - 1));
    assert!(positions(&reopened.log, 1).into_iter().eq(1..next));
    let report = verify(&StdFs, dir.path()).unwrap();
    assert_eq!((report.batches, report.last_position), (1000, next - 1));
    assert!(report.segments > 5, "the log rolled");
    assert!(report.damage.is_empty());
}
