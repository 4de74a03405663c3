//! Failing writes and syncs, on the simulated disk.

mod fixture;

use fixture::{batch, batch_of, batches, open, options, try_open};
use imfast_log::sim::{Fault, Operation, SimFs, Tear};
use imfast_log::{AppendError, OpenOptions, RetryKind, SEGMENT_HEADER_BYTES};

const EIO: i32 = 5;
const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

#[test]
fn full_disk_fails_the_append_and_the_log_goes_on_when_there_is_space() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    log.append_now(&batch(1, 3)).unwrap();
    let before = fs.used();
    for room in [0, 1, 39, 41, 70] {
        fs.set_capacity(Some(before + room));
        let Err(AppendError::Retryable { kind, offset, .. }) = log.append_now(&batch(4, 9)) else {
            panic!("not retryable with room for {room}")
        };
        assert_eq!(
            (kind, offset),
            (RetryKind::StorageFull, before),
            "room for {room}"
        );
        assert_eq!(fs.used(), before, "what was written is cut off again");
    }
    assert_eq!(batches(&log, 1).unwrap(), [batch(1, 3)], "reads go on");
    fs.set_capacity(None);
    log.append_now(&batch(4, 2)).unwrap();
    let log = open(&fs.crash(Tear::Lost)).log;
    assert_eq!(batches(&log, 1).unwrap(), [batch(1, 3), batch(4, 2)]);
}

#[test]
fn short_write_and_write_error_are_retryable() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    let before = fs.used();
    for fault in [Fault::Short(50), Fault::Short(0), Fault::Error(EIO)] {
        fs.inject(Operation::Write, 0, fault);
        let failed = log.append_now(&batch(1, 9)).unwrap_err();
        assert!(
            matches!(
                failed,
                AppendError::Retryable {
                    kind: RetryKind::Io,
                    ..
                }
            ),
            "{fault:?}: {failed}"
        );
        assert_eq!(fs.used(), before);
    }
    log.append_now(&batch(1, 1)).unwrap();
}

#[test]
fn failed_write_that_cannot_be_cut_off_poisons() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    fs.inject(Operation::Write, 0, Fault::Short(50));
    fs.inject(Operation::Truncate, 0, Fault::Error(EIO));
    let failed = log.append_now(&batch(1, 9)).unwrap_err();
    assert!(matches!(failed, AppendError::Poisoned { .. }), "{failed}");
    drop(log);
    let opened = open(&fs);
    assert_eq!(
        opened.cut.as_ref().map(|cut| (cut.offset, cut.bytes)),
        Some((HEADER, 51))
    );
    assert_eq!(opened.last_position, 0);
    drop(opened);
    assert_eq!(fs.used(), HEADER, "only the new segment's header is left");
}

#[test]
fn failed_sync_poisons_until_reopened_from_what_the_disk_has() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    log.append_now(&batch(1, 2)).unwrap();
    fs.inject(Operation::Sync, 0, Fault::Error(EIO));
    let failed = log.append_now(&batch(3, 1)).unwrap_err();
    assert!(matches!(failed, AppendError::Poisoned { .. }), "{failed}");
    assert_eq!(
        log.append_now(&batch(3, 1)).unwrap_err(),
        failed,
        "the next sync would have succeeded"
    );
    assert_eq!(
        batches(&log, 1).unwrap(),
        [batch(1, 2)],
        "reads see durable batches only"
    );
    drop(log);
    // The cache still shows the third command, the disk never got it.
    let opened = open(&fs);
    assert_eq!(opened.last_position, 2);
    let mut log = opened.log;
    log.append_now(&batch_of(3, 1, "other")).unwrap();
    drop(log);
    let log = open(&fs.crash(Tear::Lost)).log;
    assert_eq!(
        batches(&log, 1).unwrap(),
        [batch(1, 2), batch_of(3, 1, "other")]
    );
}

#[test]
fn sync_that_fails_after_its_work_leaves_a_batch_whose_outcome_only_the_disk_knows() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    fs.inject(Operation::Sync, 0, Fault::Late(EIO));
    let failed = log.append_now(&batch(1, 2)).unwrap_err();
    assert!(matches!(failed, AppendError::Poisoned { .. }), "{failed}");
    drop(log);
    assert_eq!(open(&fs).last_position, 2);
}

#[test]
fn failing_roll_leaves_the_log_usable_or_poisoned_and_whole() {
    let rolling = OpenOptions {
        segment_bytes: 100,
        ..options()
    };
    let faults = [
        (Operation::Create, true),
        (Operation::Write, true),
        (Operation::Rename, true),
        (Operation::Sync, false),
        (Operation::SyncDir, false),
    ];
    for (operation, usable) in faults {
        let fs = SimFs::new();
        let mut log = try_open(&fs, rolling).unwrap().log;
        log.append_now(&batch(1, 2)).unwrap();
        fs.inject(operation, 0, Fault::Error(EIO));
        let failed = log.append_now(&batch(3, 1)).unwrap_err();
        assert_eq!(
            matches!(failed, AppendError::Retryable { .. }),
            usable,
            "{operation:?}: {failed}"
        );
        assert_eq!(
            log.append_now(&batch(3, 1)).is_ok(),
            usable,
            "{operation:?}"
        );
        drop(log);
        let expected = if usable {
            vec![batch(1, 2), batch(3, 1)]
        } else {
            vec![batch(1, 2)]
        };
        let reopened = batches(&try_open(&fs, rolling).unwrap().log, 1).unwrap();
        assert_eq!(reopened, expected, "{operation:?}");
        let restarted = try_open(&fs.crash(Tear::Lost), rolling).unwrap();
        assert_eq!(
            batches(&restarted.log, 1).unwrap(),
            expected,
            "{operation:?}"
        );
    }
}

#[test]
fn slow_sync_shows_in_the_outcome() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    fs.set_sync_ns(3_000_000);
    assert_eq!(log.append_now(&batch(1, 1)).unwrap().sync_ns, 3_000_000);
}

#[test]
fn batch_that_does_not_fit_is_refused_and_changes_nothing() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    for wrong in [batch(2, 1), batch(0, 1), batch(1, 0), {
        let mut batch = batch(1, 2);
        batch.count = 3;
        batch
    }] {
        assert!(
            matches!(log.append_now(&wrong), Err(AppendError::Refused(_))),
            "{wrong:?}"
        );
    }
    log.append_now(&batch(1, 1)).unwrap();
}
