//! Failing disks, overtaken writers and damaged files, on the simulated disk.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod common;

use std::io;

use common::{batch, batch_of, batches, dir, open, options, overwrite, read, segments, try_open};
use imfast_log::sim::{Fault, Operation, SimFs, Tear};
use imfast_log::{
    AppendError, Damage, FileSystem, LogError, OpenOptions, RetryKind, SEGMENT_HEADER_BYTES, What,
    verify,
};

const EIO: i32 = 5;
const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

fn damage_of(result: Result<impl Sized, LogError>) -> Damage {
    match result {
        Err(LogError::Damaged(damage)) => damage,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

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
        opened.cut.map(|cut| (cut.offset, cut.bytes)),
        Some((HEADER, 51))
    );
    assert_eq!(opened.last_position, 0);
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

/// Three segments of two lives, all but the last sealed.
fn small_log() -> SimFs {
    let fs = SimFs::new();
    let rolling = OpenOptions {
        segment_bytes: 200,
        ..options()
    };
    let mut log = try_open(&fs, rolling).unwrap().log;
    for position in 1..=3 {
        log.append_now(&batch(position * 2 - 1, 2)).unwrap();
    }
    drop(log);
    let mut log = try_open(&fs, rolling).unwrap().log;
    log.append_now(&batch(7, 2)).unwrap();
    drop(log);
    drop(open(&fs));
    assert_eq!(segments(&fs, dir()).len(), 4);
    fs
}

#[test]
fn any_flipped_byte_of_a_sealed_segment_is_refused_with_its_place() {
    let fs = small_log();
    let whole = verify(&fs, dir()).unwrap();
    assert_eq!((whole.batches, whole.last_position), (4, 8));
    assert_eq!(
        (&whole.damage[..], &whole.torn, &whole.ignored[..]),
        (&[][..], &None, &[][..])
    );
    let paths = segments(&fs, dir());
    let originals: Vec<Vec<u8>> = paths.iter().map(|path| read(&fs, path)).collect();
    for (index, path) in paths.iter().enumerate() {
        for (at, byte) in originals[index].iter().enumerate() {
            overwrite(&fs, path, at as u64, &[byte ^ 0x41]);
            let found = match try_open(&fs, options()) {
                Ok(opened) => batches(&opened.log, 1).map(|_| ()),
                Err(error) => Err(error),
            };
            match found {
                // A version that looks newer, and the layout, are refused for what they say.
                Err(LogError::NewerFormat { file, .. }) => {
                    assert_eq!((&file, 8..12), (path, 8..12));
                    assert!((8..12).contains(&at));
                }
                Err(LogError::Damaged(damage)) => {
                    assert_eq!(&damage.file, path, "byte {at}");
                    assert!(damage.offset <= at as u64, "byte {at}: {damage}");
                    let reported = verify(&fs, dir()).unwrap().damage;
                    assert_eq!(reported.len(), 1, "byte {at}: {reported:?}");
                    assert_eq!(
                        (&reported[0].file, reported[0].offset),
                        (path, damage.offset)
                    );
                }
                other => panic!("{path:?} byte {at}: {other:?}"),
            }
            overwrite(&fs, path, at as u64, &[*byte]);
            // Where the log opened before replay refused it, the next round begins from the files as they were.
            for extra in segments(&fs, dir())
                .iter()
                .filter(|path| !paths.contains(path))
            {
                fs.remove(extra).unwrap();
            }
            if !fs.list(dir()).unwrap().contains(&name(&paths[3])) {
                let file = fs.create(&paths[3]).unwrap();
                file.write_at(0, &[io::IoSlice::new(&originals[3])])
                    .unwrap();
            }
        }
    }
    drop(open(&fs));
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn damage_in_the_last_segment_with_a_valid_batch_behind_is_refused() {
    let fs = SimFs::new();
    let mut log = open(&fs).log;
    for position in 1..=3 {
        log.append_now(&batch(position, 1)).unwrap();
    }
    drop(log);
    let path = &segments(&fs, dir())[0];
    let bytes = read(&fs, path);
    let batch_bytes = (bytes.len() as u64 - HEADER) / 3;
    for at in HEADER..HEADER + 2 * batch_bytes {
        overwrite(&fs, path, at, &[bytes[at as usize] ^ 0x41]);
        let damage = damage_of(try_open(&fs, options()));
        let offset = HEADER + (at - HEADER) / batch_bytes * batch_bytes;
        assert_eq!((&damage.file, damage.offset), (path, offset), "byte {at}");
        assert!(
            matches!(damage.what, What::ValidBehind { .. }),
            "byte {at}: {damage}"
        );
        assert_eq!(verify(&fs, dir()).unwrap().damage, [damage]);
        overwrite(&fs, path, at, &[bytes[at as usize]]);
    }
    assert_eq!(read(&fs, path), bytes, "nothing was changed");
}

#[test]
fn missing_or_short_segment_is_refused() {
    let fs = small_log();
    let paths = segments(&fs, dir());
    let length = read(&fs, &paths[1]).len() as u64;
    fs.open_write(&paths[1])
        .unwrap()
        .truncate(length - 1)
        .unwrap();
    let damage = damage_of(try_open(&fs, options()));
    assert_eq!((&damage.file, damage.offset), (&paths[1], length - 1));
    assert_eq!(damage.what, What::Short { sealed: length });
    assert_eq!(verify(&fs, dir()).unwrap().damage, [damage]);
    fs.remove(&paths[1]).unwrap();
    assert_eq!(
        damage_of(try_open(&fs, options())).what,
        What::SegmentMissing
    );
}

#[test]
fn newer_format_and_foreign_segments_are_refused_by_name() {
    let fs = small_log();
    let foreign = [
        (
            OpenOptions {
                partition: 4,
                ..options()
            },
            "partition",
        ),
        (
            OpenOptions {
                layout_generation: 8,
                ..options()
            },
            "layout generation",
        ),
    ];
    for (options, field) in foreign {
        let Err(LogError::Foreign { what, .. }) = try_open(&fs, options) else {
            panic!("{field}")
        };
        assert_eq!(what, field);
    }
    let path = &segments(&fs, dir())[1];
    overwrite(&fs, path, 8, &2u32.to_le_bytes());
    let Err(LogError::NewerFormat {
        file,
        found: 2,
        supported: 1,
    }) = try_open(&fs, options())
    else {
        panic!("opened")
    };
    assert_eq!(&file, path);
}

#[test]
fn reader_begins_with_the_batch_that_holds_the_position() {
    let fs = small_log();
    let log = open(&fs).log;
    for position in 0..=9 {
        let first: Vec<u64> = batches(&log, position)
            .unwrap()
            .iter()
            .map(|batch| batch.first_position)
            .collect();
        let expected: Vec<u64> = [1, 3, 5, 7]
            .into_iter()
            .filter(|first| first + 1 >= position)
            .collect();
        assert_eq!(first, expected, "from {position}");
    }
}

#[test]
fn restarts_without_work_leave_no_files() {
    let fs = SimFs::new();
    for epoch in 1..=5 {
        assert_eq!(open(&fs).epoch, epoch);
    }
    assert_eq!(fs.list(dir()).unwrap(), ["0000000001-0000000005.log"]);
}
