//! Segments that nobody needs any more, and power cuts while they go.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::io;
use std::path::Path;
use std::sync::Arc;

use fixture::{batch, batches, dir, open, options, segments, try_open};
use imfast_log::sim::{Fault, Operation, SimFs, Tear};
use imfast_log::{Durability, FileSystem, Log, LogError, OpenOptions, Removed, copy, verify, walk};

const COMMANDS: u64 = 24;

fn rolling() -> OpenOptions {
    OpenOptions {
        segment_bytes: 200,
        ..options()
    }
}

/// A log of batches of two commands, at most two in a segment.
fn fill(log: &mut Log) {
    for first in (1..COMMANDS).step_by(2) {
        log.append_now(&batch(first, 2)).unwrap();
    }
}

fn filled(fs: &SimFs) -> Log {
    let mut log = try_open(fs, rolling()).unwrap().log;
    fill(&mut log);
    log
}

fn positions(log: &Log) -> Vec<u64> {
    let first = log.reader().first_position();
    let found = batches(log, first).unwrap();
    found.iter().map(|batch| batch.first_position).collect()
}

#[test]
fn segments_go_up_to_what_the_archive_and_every_reader_have_passed() {
    let fs = SimFs::new();
    let log = filled(&fs);
    let before = segments(&fs, dir()).len();
    let retention = log.retention();
    let bytes = retention.bytes();
    let readers = Arc::clone(retention.readers());
    assert_eq!(readers.register("push", 0).unwrap(), 0);
    assert_eq!(retention.archived(COMMANDS).unwrap(), Removed::default());
    readers.passed("push", 9);
    let removed = retention.archived(COMMANDS).unwrap();
    assert!(removed.segments > 0 && removed.bytes > 0);
    let first = log.reader().first_position();
    assert!((6..=10).contains(&first), "{first}");
    assert_eq!(retention.bytes(), bytes - removed.bytes);
    // Neither of both alone moves the end.
    readers.passed("push", COMMANDS);
    assert_eq!(retention.archived(first - 1).unwrap(), Removed::default());
    retention.archived(COMMANDS).unwrap();
    assert!(segments(&fs, dir()).len() < before);
    assert!(matches!(
        log.read_from(1),
        Err(LogError::Missing { wanted: 1, oldest }) if oldest > first
    ));
    // The last segment stays, whatever was archived, and the log goes on.
    let mut log = log;
    log.append_now(&batch(COMMANDS + 1, 2)).unwrap();
    drop(log);
    let again = open(&fs);
    assert_eq!(again.last_position, COMMANDS + 2);
    assert_eq!(again.log.retention().readers().floor(), COMMANDS);
    assert!(verify(&fs, dir()).unwrap().damage.is_empty());
}

#[test]
fn so_many_bytes_stay_whoever_has_passed_them() {
    let fs = SimFs::new();
    let log = filled(&fs);
    let all = log.retention().bytes();
    let retention = log.retention().keeping(all / 2);
    let removed = retention.archived(COMMANDS).unwrap();
    assert!(removed.segments > 0);
    assert!(retention.bytes() >= all / 2);
    assert_eq!(
        log.retention().keeping(all).archived(COMMANDS).unwrap(),
        Removed::default()
    );
}

#[test]
fn power_cut_at_any_operation_leaves_a_log_that_begins_where_nobody_needs_more() {
    let machine = SimFs::new();
    let log = filled(&machine);
    let before = machine.operations();
    log.retention().readers().register("push", 15).unwrap();
    log.retention().archived(19).unwrap();
    let operations = machine.operations() - before;
    assert!(operations > 10, "several segments went: {operations}");
    for stop in 0..=operations + 1 {
        for tear in [Tear::Lost, Tear::Kept, Tear::At(20)]
            .into_iter()
            .chain((0..40).map(Tear::Seeded))
        {
            let fs = SimFs::new();
            let log = filled(&fs);
            fs.stop_after(stop);
            let registered = log.retention().readers().register("push", 15).is_ok();
            let removed = log.retention().archived(19);
            drop(log);
            let fs = fs.crash(tear);
            let context = format!("stopped after {stop}, {tear:?}");
            let opened =
                try_open(&fs, rolling()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(opened.last_position, COMMANDS, "{context}");
            let found = positions(&opened.log);
            assert!(
                found.is_sorted() && found.last() == Some(&(COMMANDS - 1)),
                "{context}"
            );
            let first = opened.log.reader().first_position();
            assert!(first <= 20, "{context}: begins at {first}");
            let floor = opened.log.retention().readers().floor();
            assert_eq!(found.len() as u64, (COMMANDS + 1 - first) / 2, "{context}");
            if registered {
                assert_eq!(floor, 15, "{context}");
                assert!(first <= 16, "{context}: begins at {first}");
            }
            if removed.is_ok_and(|removed| removed.segments > 0) {
                assert!(first > 10, "{context}: begins at {first}");
            }
            assert!(verify(&fs, dir()).unwrap().damage.is_empty(), "{context}");
        }
    }
}

#[test]
fn nothing_more_goes_once_a_removal_may_not_be_durable() {
    let fs = SimFs::new();
    let log = filled(&fs);
    let retention = log.retention();
    fs.inject(Operation::Remove, 1, Fault::Error(5));
    assert!(retention.archived(COMMANDS).is_err());
    let first = log.reader().first_position();
    assert!(first > 1, "the first one went");
    retention.archived(first + 3).unwrap();
    fs.inject(Operation::SyncDir, 0, Fault::Error(5));
    assert!(retention.archived(COMMANDS).is_err());
    assert!(
        retention.archived(COMMANDS).is_err(),
        "the sync is not tried again"
    );
    assert_eq!(retention.failures(), 3);
    for tear in [Tear::Lost, Tear::Kept, Tear::Seeded(3)] {
        let opened = try_open(&fs.crash(tear), rolling()).unwrap();
        assert_eq!(opened.last_position, COMMANDS);
        positions(&opened.log);
    }
}

#[test]
fn archive_is_not_ahead_of_a_log_that_is_not_synced_batch_by_batch() {
    let fs = SimFs::new();
    let options = OpenOptions {
        durability: Durability::Os,
        ..options()
    };
    let mut log = try_open(&fs, options).unwrap().log;
    let retention = log.retention();
    fill(&mut log);
    assert!(
        try_open(&fs.crash(Tear::Lost), options)
            .unwrap()
            .last_position
            < COMMANDS
    );

    let fs = SimFs::new();
    let mut log = try_open(&fs, options).unwrap().log;
    fill(&mut log);
    log.retention().make_durable().unwrap();
    assert_eq!(
        try_open(&fs.crash(Tear::Lost), options)
            .unwrap()
            .last_position,
        COMMANDS
    );
    drop(retention);
}

#[test]
fn failed_sync_before_an_archive_is_not_tried_again() {
    let fs = SimFs::new();
    let options = OpenOptions {
        durability: Durability::Os,
        ..options()
    };
    let mut log = try_open(&fs, options).unwrap().log;
    fill(&mut log);
    let retention = log.retention();
    fs.inject(Operation::Sync, 0, Fault::Error(5));
    assert!(retention.make_durable().is_err());
    assert!(retention.make_durable().is_err());
}

/// A disk whose oldest segments go while it is looked at.
struct Going {
    fs: SimFs,
    retention: imfast_log::Retention,
    _log: std::sync::Mutex<Log>,
    looks: std::sync::atomic::AtomicU64,
}

impl FileSystem for Going {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.fs.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn imfast_log::File>> {
        self.fs.create(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn imfast_log::File>> {
        let looks = self
            .looks
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.retention.archived(looks).unwrap();
        self.fs.open_read(path)
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn imfast_log::File>> {
        self.fs.open_write(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn imfast_log::Lock>> {
        self.fs.lock(path)
    }
    fn now_ns(&self) -> u64 {
        self.fs.now_ns()
    }
}

#[test]
fn log_whose_oldest_segments_go_is_verified_shown_and_copied_all_the_same() {
    let going = |looks: u64| {
        let fs = SimFs::new();
        let log = filled(&fs);
        log.retention().readers().register("push", 14).unwrap();
        Going {
            fs,
            retention: log.retention(),
            _log: std::sync::Mutex::new(log),
            looks: looks.into(),
        }
    };
    for looks in 0..COMMANDS {
        let machine = going(looks);
        let report = verify(&machine, dir()).unwrap();
        assert!(report.damage.is_empty(), "{looks}: {report:?}");
        assert_eq!(report.last_position, COMMANDS);

        let machine = going(looks);
        let mut shown = Vec::new();
        walk(&machine, dir(), 15, |batch| {
            shown.push(batch.first_position);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(shown, [15, 17, 19, 21, 23], "{looks}");

        let machine = going(looks);
        let target = Path::new("/backup");
        let copied = copy(&machine, dir(), target, None).unwrap();
        assert_eq!(copied.last_position, COMMANDS, "{looks}");
        assert!(copied.first_position <= 15, "{looks}: {copied:?}");
        let opened = Log::open(Arc::new(machine.fs.clone()), target, options()).unwrap();
        assert_eq!(opened.log.reader().first_position(), copied.first_position);
        assert_eq!(opened.log.retention().readers().floor(), 14);
        positions(&opened.log);
    }
}
