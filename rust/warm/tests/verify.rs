//! An archive that is checked from outside: whole, damaged anywhere, and while it is written.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fixture::{History, fill};
use imfast_partition::archive::Archive;
use imfast_warm::{FjallArchive, verify};

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
    found
}

/// Tables in more than one level, and nothing on disk that the next opening would remove.
fn some_archive(dir: &Path) {
    let archive = FjallArchive::open(dir).unwrap();
    let mut history = History::new(7);
    fill(&archive, &mut history, 9, 60);
    while archive.tidy().unwrap() {}
    fill(&archive, &mut history, 2, 60);
    drop(archive);
    drop(FjallArchive::open(dir).unwrap());
}

#[test]
fn whole_archive_is_found_whole_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify(&dir.path().join("nothing")).unwrap().is_none());
    some_archive(dir.path());
    let before: Vec<_> = files(dir.path())
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    let found = verify(dir.path()).unwrap().unwrap();
    assert_eq!(found.damage, []);
    assert!(found.rows > 100 && found.keys > 0 && found.bytes > 1_000);
    let archive = FjallArchive::open(dir.path()).unwrap();
    assert_eq!(found.reached, archive.reached());
    for (bytes, path) in before {
        assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn flipped_byte_anywhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    some_archive(dir.path());
    for path in files(dir.path()) {
        let whole = fs::read(&path).unwrap();
        let step = whole.len().div_ceil(25).max(1);
        for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            let found = verify(dir.path()).unwrap().unwrap();
            assert!(
                !found.damage.is_empty(),
                "{}, byte {at} of {}",
                path.display(),
                whole.len()
            );
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(verify(dir.path()).unwrap().unwrap().damage, []);
}

#[test]
fn file_that_is_missing_or_short_is_found() {
    let dir = tempfile::tempdir().unwrap();
    some_archive(dir.path());
    for path in files(dir.path()) {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let found = verify(dir.path()).unwrap().unwrap();
        assert!(!found.damage.is_empty(), "{} cut", path.display());
        fs::remove_file(&path).unwrap();
        let found = verify(dir.path()).unwrap().unwrap();
        assert!(!found.damage.is_empty(), "{} missing", path.display());
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn archive_that_is_written_meanwhile_is_found_whole_at_every_look() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Arc::new(FjallArchive::open(dir.path()).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (archive, done) = (Arc::clone(&archive), Arc::clone(&done));
        move || {
            let mut history = History::new(3);
            for _ in 0..60 {
                fill(archive.as_ref(), &mut history, 1, 50);
                while archive.tidy().unwrap() {}
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    let mut last = 0;
    while !done.load(Ordering::SeqCst) {
        let found = verify(dir.path()).unwrap().unwrap();
        assert_eq!(found.damage, []);
        assert!(found.reached.position >= last);
        last = found.reached.position;
    }
    writer.join().unwrap();
    assert_eq!(
        verify(dir.path()).unwrap().unwrap().reached,
        archive.reached()
    );
}
