//! Copies of logs that are written, torn or damaged.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::path::Path;
use std::sync::Arc;

use fixture::{batch, batches, dir, open, options, overwrite, read, segments, try_open};
use imfast_log::sim::SimFs;
use imfast_log::{Copied, Log, LogError, OpenOptions, Opened, SEGMENT_HEADER_BYTES, copy};

fn target() -> &'static Path {
    Path::new("/backup/partition-3")
}

fn open_copy(fs: &SimFs, options: OpenOptions) -> Result<Opened, LogError> {
    Log::open(Arc::new(fs.clone()), target(), options)
}

/// Two lives and several segments; the log of the second is still open.
fn written(fs: &SimFs) -> Log {
    let rolling = OpenOptions {
        segment_bytes: 200,
        ..options()
    };
    let mut first = open(fs).log;
    first.append_now(&batch(1, 3)).unwrap();
    drop(first);
    let mut log = try_open(fs, rolling).unwrap().log;
    for position in [4, 6, 8, 10] {
        log.append_now(&batch(position, 2)).unwrap();
    }
    log
}

#[test]
fn copy_of_an_open_log_opens_with_every_command() {
    let fs = SimFs::new();
    let log = written(&fs);
    let copied = copy(&fs, dir(), target(), None).unwrap();
    assert_eq!(copied.last_position, 11);
    assert_eq!(copied.segments, segments(&fs, dir()).len() as u64);
    let opened = open_copy(&fs, options()).unwrap();
    assert_eq!(opened.last_position, 11);
    assert_eq!(batches(&opened.log, 1).unwrap(), batches(&log, 1).unwrap());
    assert!(opened.cut.is_none());
}

#[test]
fn copy_leaves_out_the_batch_in_flight() {
    let fs = SimFs::new();
    let log = written(&fs);
    let last = segments(&fs, dir()).pop().unwrap();
    let whole = read(&fs, &last).len() as u64;
    overwrite(&fs, &last, whole, b"half of a batch");
    let copied = copy(&fs, dir(), target(), None).unwrap();
    assert_eq!(copied.last_position, 11);
    assert!(open_copy(&fs, options()).unwrap().cut.is_none());
    drop(log);
}

#[test]
fn copy_of_a_damaged_log_is_refused_with_the_place() {
    let fs = SimFs::new();
    drop(written(&fs));
    for path in segments(&fs, dir()) {
        let original = read(&fs, &path);
        let at = SEGMENT_HEADER_BYTES as u64 + 9;
        if original.len() as u64 <= at || Some(&path) == segments(&fs, dir()).last() {
            continue;
        }
        overwrite(&fs, &path, at, &[original[at as usize] ^ 1]);
        let error = copy(&fs, dir(), &target().join("x"), None).unwrap_err();
        let LogError::Damaged(damage) = error else {
            panic!("{error}");
        };
        assert_eq!(damage.file, path);
        overwrite(&fs, &path, 0, &original);
        for left in segments(&fs, &target().join("x")) {
            imfast_log::FileSystem::remove(&fs, &left).unwrap();
        }
    }
}

#[test]
fn copy_survives_a_power_cut_once_it_is_done() {
    let fs = SimFs::new();
    drop(written(&fs));
    let copied = copy(&fs, dir(), target(), None).unwrap();
    let after = fs.crash(imfast_log::sim::Tear::Lost);
    assert_eq!(
        open_copy(&after, options()).unwrap().last_position,
        copied.last_position
    );
}

#[test]
fn copy_with_another_generation_belongs_to_that_layout_only() {
    let fs = SimFs::new();
    drop(written(&fs));
    copy(&fs, dir(), target(), Some(8)).unwrap();
    assert!(matches!(
        open_copy(&fs, options()),
        Err(LogError::Foreign {
            found: 8,
            expected: 7,
            ..
        })
    ));
    assert_eq!(
        open_copy(&fs, OpenOptions::new(3, 8))
            .unwrap()
            .last_position,
        11
    );
}

#[test]
fn copy_of_nothing_is_an_empty_log() {
    let fs = SimFs::new();
    imfast_log::FileSystem::create_dir_all(&fs, dir()).unwrap();
    assert_eq!(copy(&fs, dir(), target(), None).unwrap(), Copied::default());
    assert_eq!(open_copy(&fs, options()).unwrap().last_position, 0);
}
