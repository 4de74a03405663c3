//! Damaged, missing and foreign files: refused as damage, or told when they are read; never
//! answered from.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fixture::{Content, History, content, fill};
use imfast_partition::archive::Archive;
use imfast_warm::FjallArchive;

/// An archive with tables in more than one level, its content, and all of its files.
fn some_archive(dir: &Path) -> (Content, Vec<PathBuf>) {
    let archive = FjallArchive::open(dir).unwrap();
    let mut history = History::new(99);
    fill(&archive, &mut history, 9, 80);
    while archive.tidy().unwrap() {}
    fill(&archive, &mut history, 2, 80);
    let found = content(&archive).unwrap();
    drop(archive);
    // What an opening removes is gone already when bytes are changed.
    drop(FjallArchive::open(dir).unwrap());
    (found, files(dir))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

fn read(dir: &Path) -> io::Result<Content> {
    content(&FjallArchive::open(dir)?)
}

/// Changes a copy and looks: it must tell of damage or give the right answers. Whether it told.
fn told(from: &Path, expected: &Content, what: &str, change: impl FnOnce(&Path)) -> bool {
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    change(dir.path());
    match read(dir.path()) {
        Ok(found) => {
            assert_eq!(&found, expected, "{what}");
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}: {error}");
            true
        }
    }
}

#[test]
fn flipped_byte_anywhere_is_told_or_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (expected, paths) = some_archive(dir.path());
    let (mut told_of, mut flipped) = (0, 0);
    for path in &paths {
        let name = path.strip_prefix(dir.path()).unwrap();
        let length = fs::metadata(path).unwrap().len() as usize;
        let step = length.div_ceil(30).max(1);
        for at in (0..length).step_by(step) {
            flipped += 1;
            let what = format!("{}, byte {at}", name.display());
            told_of += usize::from(told(dir.path(), &expected, &what, |copy| {
                let mut bytes = fs::read(copy.join(name)).unwrap();
                bytes[at] ^= 0x41;
                fs::write(copy.join(name), bytes).unwrap();
            }));
        }
    }
    assert!(
        flipped > 200 && told_of > flipped / 2,
        "{told_of} of {flipped}"
    );
}

#[test]
fn missing_or_cut_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (expected, paths) = some_archive(dir.path());
    for path in &paths {
        let name = path.strip_prefix(dir.path()).unwrap();
        let what = format!("{} is missing", name.display());
        assert!(
            told(dir.path(), &expected, &what, |copy| {
                fs::remove_file(copy.join(name)).unwrap();
            }),
            "{what}"
        );
        let length = fs::metadata(path).unwrap().len();
        for keep in [0, length / 2, length - 1] {
            let what = format!("{} cut to {keep}", name.display());
            assert!(
                told(dir.path(), &expected, &what, |copy| {
                    let file = fs::OpenOptions::new().write(true).open(copy.join(name));
                    file.unwrap().set_len(keep).unwrap();
                }),
                "{what}"
            );
        }
    }
}

#[test]
fn creation_that_did_not_come_to_its_end_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(FjallArchive::open(dir.path()).unwrap());
    fs::remove_file(dir.path().join("format")).unwrap();
    fs::remove_file(dir.path().join("rows/current")).unwrap();
    let archive = FjallArchive::open(dir.path()).unwrap();
    fill(&archive, &mut History::new(1), 1, 10);
}

#[test]
fn newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    some_archive(dir.path());
    fs::write(dir.path().join("format"), "imfast archive 4\n").unwrap();
    let error = FjallArchive::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn second_opener_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let first = FjallArchive::open(dir.path()).unwrap();
    let error = FjallArchive::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("lock"), "{error}");
    drop(first);
    FjallArchive::open(dir.path()).unwrap();
}
