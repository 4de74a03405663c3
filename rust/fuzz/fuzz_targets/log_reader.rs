//! The log on a disk whose bytes somebody changed: opening and verifying never panic, and what is
//! read is a beginning of what was written, or an error.
#![no_main]

use arbitrary::Arbitrary;
use imfast_log::sim::SimFs;
use imfast_log::{Batch, FileSystem, Log, LogError, OpenOptions, put_command, verify};
use libfuzzer_sys::fuzz_target;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
struct Case {
    batches: Vec<Vec<u8>>,
    small_segments: bool,
    edits: Vec<Edit>,
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Write {
        file: u8,
        at: u16,
        bytes: Vec<u8>,
    },
    Truncate {
        file: u8,
        length: u16,
    },
    Remove {
        file: u8,
    },
    /// A file that looks like a segment by its name only.
    Create {
        name: u8,
        bytes: Vec<u8>,
    },
}

fuzz_target!(|case: Case| {
    let fs = SimFs::new();
    let dir = Path::new("/log");
    let mut options = OpenOptions::new(3, 1);
    if case.small_segments {
        options.segment_bytes = 4096;
    }
    let written = write(&fs, dir, options, &case.batches);
    let fs = fs.kill();
    let mut changed = false;
    for edit in &case.edits {
        changed |= apply(&fs, dir, edit);
    }
    let report = verify(&fs, dir);
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let opened = Log::open(shared, dir, options);
    if !changed {
        assert!(report.is_ok_and(|report| report.damage.is_empty()));
    }
    let Ok(opened) = opened else {
        assert!(changed, "an untouched log opens");
        return;
    };
    let mut read = Vec::new();
    let replayed = opened.log.replay(1, &mut |batch| -> Result<(), LogError> {
        read.extend(batch.commands().map(<[u8]>::to_vec));
        Ok(())
    });
    assert!(written.starts_with(&read), "commands nobody wrote");
    if !changed {
        assert!(replayed.is_ok() && read == written);
    }
});

/// Writes one batch for each of `batches`, a command for each run between zeros.
fn write(fs: &SimFs, dir: &Path, options: OpenOptions, batches: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let opened = Log::open(shared, dir, options);
    let Ok(mut opened) = opened else {
        panic!("an empty directory opens");
    };
    let mut written = Vec::new();
    for (at, commands) in batches.iter().take(32).enumerate() {
        let mut batch = Batch {
            first_position: written.len() as u64 + 1,
            time_ms: at as u64,
            fold_version: 1,
            count: 0,
            payload: Vec::new(),
        };
        for command in commands.split(|byte| *byte == 0) {
            put_command(&mut batch.payload, command);
            batch.count += 1;
            written.push(command.to_vec());
        }
        assert!(opened.log.append_now(&batch).is_ok());
    }
    written
}

/// Whether the edit may have changed anything.
fn apply(fs: &SimFs, dir: &Path, edit: &Edit) -> bool {
    let names = fs.list(dir).unwrap_or_default();
    let path = |file: &u8| {
        let at = *file as usize % names.len().max(1);
        names.get(at).map(|name| dir.join(name))
    };
    match edit {
        Edit::Write { file, at, bytes } => {
            let Some(file) = path(file).and_then(|path| fs.open_write(&path).ok()) else {
                return false;
            };
            let length = file.length().unwrap_or(0);
            let at = u64::from(*at) % (length + 1);
            file.write_at(at, &[IoSlice::new(bytes)]).is_ok()
        }
        Edit::Truncate { file, length } => {
            let Some(file) = path(file).and_then(|path| fs.open_write(&path).ok()) else {
                return false;
            };
            let before = file.length().unwrap_or(0);
            file.truncate(u64::from(*length) % (before + 1)).is_ok()
        }
        Edit::Remove { file } => path(file).is_some_and(|path| fs.remove(&path).is_ok()),
        Edit::Create { name, bytes } => {
            // The last segment's name, one character changed.
            let Some(last) = names.last() else {
                return false;
            };
            let mut other = last.clone().into_bytes();
            let at = *name as usize % other.len();
            other[at] = if other[at] == b'1' { b'2' } else { b'1' };
            let other = String::from_utf8_lossy(&other).into_owned();
            fs.create(&dir.join(other)).is_ok_and(|file| {
                let _ = file.write_at(0, &[IoSlice::new(bytes)]);
                true
            })
        }
    }
}
