//! Damaged, missing and foreign files: refused with file, offset and cure.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::io;

use fixture::{batch, batches, dir, open, options, overwrite, read, segments, try_open};
use imfast_log::sim::SimFs;
use imfast_log::{
    Batch, Damage, FileSystem, LogError, OpenOptions, SEGMENT_HEADER_BYTES, What, put_command,
    verify,
};

const HEADER: u64 = SEGMENT_HEADER_BYTES as u64;

fn damage_of(result: Result<impl Sized, LogError>) -> Damage {
    match result {
        Err(LogError::Damaged(damage)) => damage,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
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
    overwrite(&fs, path, 8, &3u32.to_le_bytes());
    let Err(LogError::NewerFormat {
        file,
        found: 3,
        supported: 2,
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
fn verify_lists_every_damage_and_the_torn_end_and_changes_nothing() {
    let fs = small_log();
    let mut log = open(&fs).log;
    log.append_now(&batch(9, 2)).unwrap();
    drop(log);
    let paths = segments(&fs, dir());
    overwrite(&fs, &paths[0], HEADER + 50, b"?");
    overwrite(&fs, &paths[1], HEADER + 50, b"?");
    let end = read(&fs, &paths[3]).len() as u64;
    overwrite(&fs, &paths[3], end, &[7; 30]);
    let before: Vec<_> = paths.iter().map(|path| read(&fs, path)).collect();

    let report = verify(&fs, dir()).unwrap();
    let places: Vec<_> = report
        .damage
        .iter()
        .map(|damage| (damage.file.clone(), damage.offset))
        .collect();
    assert_eq!(
        places,
        [(paths[0].clone(), HEADER), (paths[1].clone(), HEADER)]
    );
    let torn = report.torn.unwrap();
    assert_eq!((&torn.file, torn.offset, torn.bytes), (&paths[3], end, 30));
    assert_eq!(
        (report.segments, report.batches, report.last_position),
        (4, 3, 10)
    );
    assert_eq!(
        paths.iter().map(|path| read(&fs, path)).collect::<Vec<_>>(),
        before
    );
}

#[test]
fn positions_below_the_first_segment_are_missing() {
    let fs = small_log();
    let paths = segments(&fs, dir());
    fs.remove(&paths[0]).unwrap();
    let log = open(&fs).log;
    assert!(matches!(
        batches(&log, 4),
        Err(LogError::Missing {
            wanted: 4,
            oldest: 5
        })
    ));
    assert_eq!(batches(&log, 5).unwrap(), [batch(5, 2), batch(7, 2)]);
}

#[test]
fn damage_names_file_offset_and_cure() {
    let fs = small_log();
    let path = &segments(&fs, dir())[0];
    overwrite(&fs, path, 3, b"?");
    let text = damage_of(try_open(&fs, options())).to_string();
    assert!(
        text.starts_with(&format!("{}: damaged at byte 0: ", path.display())),
        "{text}"
    );
    assert!(text.contains("restore the file from a backup"), "{text}");
}

#[test]
fn stale_batch_of_another_epoch_behind_the_end_is_cut_and_not_believed() {
    // As a disk may show that gives a file blocks of a deleted one.
    let fs = small_log();
    let stale = read(&fs, &segments(&fs, dir())[0])[SEGMENT_HEADER_BYTES..].to_vec();
    let path = &segments(&fs, dir())[3];
    overwrite(&fs, path, HEADER, &stale);
    let opened = open(&fs);
    let cut = opened.cut.unwrap();
    assert_eq!(
        (&cut.file, cut.offset, cut.bytes),
        (path, HEADER, stale.len() as u64)
    );
    assert_eq!(opened.last_position, 8);
}

/// A batch as a client could have made it: that of a log whose checksums begin with nothing.
fn batch_within_a_command(first_position: u64) -> Batch {
    let other = SimFs::new();
    open(&other).log.append_now(&batch(1, 1)).unwrap();
    let bytes = read(&other, &segments(&other, dir())[0]);
    let inner = &bytes[SEGMENT_HEADER_BYTES..];
    let mut payload = Vec::new();
    put_command(
        &mut payload,
        &[&[b'x'; 40][..], inner, &[b'y'; 40]].concat(),
    );
    Batch {
        first_position,
        time_ms: 1,
        fold_version: 1,
        count: 1,
        payload,
    }
}

#[test]
fn torn_batch_with_something_like_a_batch_in_a_clients_content_is_cut() {
    for (salt, opens) in [(0x5eed, true), (0, false)] {
        let options = OpenOptions { salt, ..options() };
        let fs = SimFs::new();
        let mut log = try_open(&fs, options).unwrap().log;
        log.append_now(&batch(1, 2)).unwrap();
        log.append_now(&batch_within_a_command(3)).unwrap();
        drop(log);
        let path = segments(&fs, dir()).pop().unwrap();
        let whole = read(&fs, &path).len() as u64;
        fs.open_write(&path).unwrap().truncate(whole - 1).unwrap();
        let opened = try_open(&fs, options);
        assert_eq!(opened.is_ok(), opens, "salt {salt}");
        if let Ok(opened) = opened {
            assert_eq!(opened.last_position, 2);
        }
    }
}
