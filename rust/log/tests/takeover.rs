//! Locks, epochs and overtaken writers, on the simulated disk.

mod fixture;

use fixture::{batch, batch_of, batches, dir, open, options, try_open};
use imfast_log::sim::{Fault, Operation, SimFs};
use imfast_log::{AppendError, FileSystem, LogError, OpenOptions, verify};

#[test]
fn second_opener_is_told_which_file_is_locked() {
    let fs = SimFs::new();
    let _log = open(&fs).log;
    let Err(LogError::Locked { file }) = try_open(&fs, options()) else {
        panic!("opened twice")
    };
    assert_eq!(file, dir().join("lock"));
}

#[test]
fn overtaken_writer_learns_it_and_what_it_writes_is_ignored() {
    for appended_before in [0, 2] {
        let fs = SimFs::new();
        let mut old = open(&fs).log;
        for position in 1..=appended_before {
            old.append_now(&batch(position, 1)).unwrap();
        }
        fs.break_lock(&dir().join("lock"));
        let mut new = open(&fs).log;
        let late = batch_of(appended_before + 1, 1, "late");
        let failed = old.append_now(&late).unwrap_err();
        assert_eq!(failed, AppendError::Fenced { epoch: 1, newer: 2 });
        assert_eq!(old.append_now(&late).unwrap_err(), failed);
        new.append_now(&batch(appended_before + 1, 1)).unwrap();
        drop((old, new));
        let log = open(&fs).log;
        let expected: Vec<_> = (1..=appended_before + 1).map(|at| batch(at, 1)).collect();
        assert_eq!(batches(&log, 1).unwrap(), expected);
        assert!(verify(&fs, dir()).unwrap().damage.is_empty());
    }
}

#[test]
fn overtaken_writer_does_not_cut_its_failed_write_off_what_its_successor_sealed() {
    let fs = SimFs::new();
    let mut old = open(&fs).log;
    fs.break_lock(&dir().join("lock"));
    let _new = open(&fs).log;
    let operations = fs.operations();
    fs.inject(Operation::Write, 0, Fault::Short(50));
    assert!(matches!(
        old.append_now(&batch(1, 9)),
        Err(AppendError::Fenced { .. })
    ));
    assert_eq!(fs.operations() - operations, 2, "two writes, no truncation");
}

#[test]
fn overtaken_writer_does_not_roll() {
    let fs = SimFs::new();
    let rolling = OpenOptions {
        segment_bytes: 100,
        ..options()
    };
    let mut old = try_open(&fs, rolling).unwrap().log;
    old.append_now(&batch(1, 2)).unwrap();
    fs.break_lock(&dir().join("lock"));
    let _new = try_open(&fs, rolling).unwrap().log;
    let before = fs.list(dir()).unwrap();
    assert!(matches!(
        old.append_now(&batch(3, 1)),
        Err(AppendError::Fenced { epoch: 1, newer: 2 })
    ));
    assert_eq!(fs.list(dir()).unwrap(), before);
}

#[test]
fn restarts_without_work_leave_no_files() {
    let fs = SimFs::new();
    for epoch in 1..=5 {
        assert_eq!(open(&fs).epoch, epoch);
    }
    assert_eq!(fs.list(dir()).unwrap(), ["0000000001-0000000005.log"]);
}

#[test]
fn epoch_that_an_opener_published_and_never_used_is_not_given_again() {
    let fs = SimFs::new();
    drop(open(&fs));
    fs.stop_after(1);
    assert!(
        try_open(&fs, options()).is_err(),
        "died before its segment was there"
    );
    let fs = fs.kill();
    assert_eq!(open(&fs).epoch, 3);
}
