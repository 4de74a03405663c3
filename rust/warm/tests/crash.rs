//! An archive whose process is killed, at any moment of any chunk, or whose disk takes no more.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

mod fixture;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fixture::{History, content};
use imfast_partition::archive::Archive;
use imfast_warm::{FjallArchive, MemoryArchive};

const CHUNK: u64 = 150;
const KILLS: u64 = 12;
const CHILD_DIR: &str = "IMFAST_WARM_CRASH_DIR";
const FULL_DIR: &str = "IMFAST_WARM_FULL_DIR";
const SEED: u64 = 4711;

/// The history and an archive in memory up to `position`, which ends a chunk.
fn up_to(position: u64) -> (History, MemoryArchive) {
    let mut history = History::new(SEED);
    let memory = MemoryArchive::new();
    while memory.reached().position < position {
        memory.apply(&history.chunk(CHUNK).settle()).unwrap();
    }
    (history, memory)
}

/// Not a test of its own: what the killed process does. It tells every chunk that is in.
#[test]
fn child_that_applies_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let archive = FjallArchive::open(Path::new(&dir)).unwrap();
    let (mut history, _) = up_to(archive.reached().position);
    loop {
        archive.apply(&history.chunk(CHUNK).settle()).unwrap();
        println!("reached {}", archive.reached().position);
        archive.tidy().unwrap();
    }
}

/// Runs the child until it has told of `chunks` chunks and `longer` has passed; what it told last.
fn run_and_kill(dir: &Path, chunks: usize, longer: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "child_that_applies_until_it_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("reached ")?.1.parse::<u64>().ok());
    let mut last = told.by_ref().take(chunks).last().unwrap();
    // Where in a chunk the kill meets it is up to the machine; nothing below depends on it.
    std::thread::sleep(longer);
    child.kill().unwrap();
    child.wait().unwrap();
    for position in told {
        last = position;
    }
    last
}

#[test]
fn killed_archive_opens_with_whole_chunks_and_all_that_it_told() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let longer = Duration::from_micros(round * 2777);
        let told = run_and_kill(dir.path(), 1 + round as usize % 3, longer);
        let archive = FjallArchive::open(dir.path()).unwrap();
        let position = archive.reached().position;
        assert!(
            told <= position,
            "round {round}: {told} was told, {position} is there"
        );
        assert_eq!(position % CHUNK, 0);
        let (mut history, memory) = up_to(position);
        assert_eq!(
            content(&archive).unwrap(),
            content(&memory).unwrap(),
            "round {round}"
        );
        // Another cut of the same commits, as a replay of the log may make it.
        if round % 4 == 3 {
            for commands in [CHUNK / 3, CHUNK - CHUNK / 3] {
                archive.apply(&history.chunk(commands).settle()).unwrap();
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            let _ = fs::remove_dir_all(&target);
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

/// Copies what `names` begin with.
fn copy_some(from: &Path, to: &Path, names: &[&str]) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if names.iter().any(|begin| name.starts_with(begin)) {
            let target = to.join(name);
            if path.is_dir() {
                fs::remove_dir_all(&target).unwrap();
                copy(&path, &target);
            } else {
                fs::copy(&path, target).unwrap();
            }
        }
    }
}

#[test]
fn chunk_that_came_to_no_flip_leaves_nothing_wherever_it_ended() {
    let steps: [&[&str]; 3] = [
        &["places"],
        &["places", "rows"],
        &["places", "rows", "keys"],
    ];
    for done in steps {
        let [before, after] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (mut history, memory) = up_to(3 * CHUNK);
        let archive = FjallArchive::open(before.path()).unwrap();
        let mut again = History::new(SEED);
        for _ in 0..3 {
            archive.apply(&again.chunk(CHUNK).settle()).unwrap();
        }
        drop(archive);
        copy(before.path(), after.path());
        let archive = FjallArchive::open(after.path()).unwrap();
        archive.apply(&again.chunk(CHUNK).settle()).unwrap();
        drop(archive);
        copy_some(after.path(), before.path(), done);

        let archive = FjallArchive::open(before.path()).unwrap();
        assert_eq!(
            content(&archive).unwrap(),
            content(&memory).unwrap(),
            "{done:?}"
        );
        // Other commits than those that were cut: nothing of the latter may shine through.
        history.diverge();
        for _ in 0..2 {
            let chunk = history.chunk(CHUNK / 2).settle();
            archive.apply(&chunk).unwrap();
            memory.apply(&chunk).unwrap();
        }
        assert_eq!(
            content(&archive).unwrap(),
            content(&memory).unwrap(),
            "{done:?}"
        );
    }
}

/// Not a test of its own: runs where files may have 256 KiB at most.
#[test]
fn child_whose_files_may_not_grow() {
    let Ok(dir) = std::env::var(FULL_DIR) else {
        return;
    };
    let archive = FjallArchive::open(Path::new(&dir)).unwrap();
    let (mut history, memory) = up_to(2 * CHUNK);
    let mut again = History::new(SEED);
    for _ in 0..2 {
        archive.apply(&again.chunk(CHUNK).settle()).unwrap();
    }
    let whole = again.clone().chunk(20 * CHUNK).settle();
    for _ in 0..5 {
        let error = archive.apply(&whole).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
        assert_eq!(content(&archive).unwrap(), content(&memory).unwrap());
    }
    let left: u64 = ["places", "rows/tables", "state/tables"]
        .iter()
        .map(|name| bytes_below(&Path::new(&dir).join(name)))
        .sum();
    assert!(left < 600 << 10, "failed attempts left {left} bytes");
    for _ in 0..4 {
        let chunk = history.chunk(CHUNK).settle();
        archive.apply(&chunk).unwrap();
        memory.apply(&chunk).unwrap();
    }
    assert_eq!(content(&archive).unwrap(), content(&memory).unwrap());
    println!("all is well");
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn disk_that_takes_no_more_is_told_and_a_chunk_that_fits_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // A write beyond the limit fails like one to a full disk, with another name for it.
    let out = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["child_whose_files_may_not_grow", "--exact", "--nocapture"])
        .env(FULL_DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("all is well"), "{said}\n{complaint}");
}
