//! The log on the real file system, with its thread.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fixture::{batch, batches, options, segments};
use imfast_log::{
    AppendError, Batch, Completion, Completions, Log, LogError, OpenOptions, Opened, StdFs, verify,
};

fn open(dir: &Path, options: OpenOptions) -> Opened {
    Log::open(Arc::new(StdFs), dir, options).unwrap()
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
    let options = OpenOptions {
        segment_bytes: 16 << 10,
        ..options()
    };
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
    let found = batches(&reopened.log, 1).unwrap();
    let mut expected: Vec<Batch> = Vec::new();
    for ticket in 0..1000 {
        let first = expected
            .last()
            .map_or(1, |last| last.first_position + u64::from(last.count));
        expected.push(batch(first, 1 + ticket % 7));
    }
    assert_eq!(found, expected);
    let report = verify(&StdFs, dir.path()).unwrap();
    assert_eq!((report.batches, report.last_position), (1000, next - 1));
    assert!(report.segments > 5, "the log rolled");
    assert!(report.damage.is_empty());
}

#[test]
fn late_bytes_of_an_overtaken_writer_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = open(dir.path(), options()).log;
    old.append_now(&batch(1, 2)).unwrap();
    let segment = segments(&StdFs, dir.path())[0].clone();
    let mut descriptor = fs::OpenOptions::new().append(true).open(&segment).unwrap();
    // The lock is free only once its holder is dead: an operator who removes its file breaks it.
    fs::remove_file(dir.path().join("lock")).unwrap();
    let mut new = open(dir.path(), options());
    assert_eq!((new.epoch, new.last_position), (2, 2));
    let failed = old.append_now(&batch(3, 5)).unwrap_err();
    assert_eq!(failed, AppendError::Fenced { epoch: 1, newer: 0 });
    descriptor
        .write_all(b"and some more, as a process that was paused in a write")
        .unwrap();
    new.log.append_now(&batch(3, 1)).unwrap();
    drop(new);

    let again = open(dir.path(), options());
    assert_eq!(batches(&again.log, 1).unwrap(), [batch(1, 2), batch(3, 1)]);
    let report = verify(&StdFs, dir.path()).unwrap();
    assert_eq!(
        (&report.damage[..], &report.ignored[..]),
        (&[][..], &[segment][..])
    );
}

#[test]
fn reader_beside_the_writer_sees_durable_batches_only() {
    let dir = tempfile::tempdir().unwrap();
    let completions = Completions::new(|| {});
    let writer = open(dir.path(), options())
        .log
        .start(Arc::clone(&completions))
        .unwrap();
    let reader = writer.reader();
    for ticket in 1..=50 {
        writer.append(batch(ticket, 1), ticket);
        let mut found = reader.read_from(1).unwrap();
        let mut last = 0;
        while let Some(view) = found.next_batch().unwrap() {
            last = view.last_position();
        }
        assert!(last == ticket - 1 || last == ticket);
        let mut outcomes = Vec::new();
        wait_for(&completions, &mut outcomes);
        assert_eq!(reader.last_position(), ticket);
    }
    assert!(!writer.in_flight());
    let log = writer.stop().unwrap();
    assert_eq!(batches(&log, 1).unwrap().len(), 50);
}

#[test]
fn second_opener_of_a_directory_is_refused_and_told_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), options());
    let Err(error) = Log::open(Arc::new(StdFs), dir.path(), options()) else {
        panic!("opened")
    };
    assert!(matches!(&error, LogError::Locked { file } if *file == dir.path().join("lock")));
    assert!(
        error.to_string().contains("held by another process"),
        "{error}"
    );
    drop(first);
    assert_eq!(open(dir.path(), options()).epoch, 2);
}

#[test]
#[should_panic(expected = "a batch is in flight")]
fn second_batch_before_the_first_is_durable_is_our_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path(), options())
        .log
        .start(Completions::new(|| {}))
        .unwrap();
    for position in 1.. {
        writer.append(batch(position, 1), position);
    }
}
