//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails at the line that is wrong"
)]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imfast_log::sim::SimFs;
use imfast_log::{Batch, FileSystem, Log, LogError, OpenOptions, Opened, put_command};

/// Directory of the log on a simulated disk.
pub(crate) fn dir() -> &'static Path {
    Path::new("/data/partition-3")
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions::new(3, 7)
}

pub(crate) fn open(fs: &SimFs) -> Opened {
    try_open(fs, options()).unwrap()
}

pub(crate) fn try_open(fs: &SimFs, options: OpenOptions) -> Result<Opened, LogError> {
    Log::open(Arc::new(fs.clone()), dir(), options)
}

/// A batch of `count` commands, each telling its position.
pub(crate) fn batch(first_position: u64, count: u32) -> Batch {
    batch_of(first_position, count, "command")
}

/// A batch whose commands are made of `word` and their position.
pub(crate) fn batch_of(first_position: u64, count: u32, word: &str) -> Batch {
    let mut payload = Vec::new();
    for position in first_position..first_position + u64::from(count) {
        put_command(&mut payload, format!("{word} {position}").as_bytes());
    }
    Batch {
        first_position,
        time_ms: first_position * 10,
        fold_version: 1,
        count,
        payload,
    }
}

/// All batches from the one with `position` on.
pub(crate) fn batches(log: &Log, position: u64) -> Result<Vec<Batch>, LogError> {
    let mut found = Vec::new();
    log.replay::<LogError>(position, &mut |view| {
        found.push(Batch {
            first_position: view.first_position,
            time_ms: view.time_ms,
            fold_version: view.fold_version,
            count: view.count,
            payload: view.payload.to_vec(),
        });
        assert_eq!(view.commands().count(), view.count as usize);
        Ok(())
    })?;
    Ok(found)
}

/// The segments in the log's directory, in order.
pub(crate) fn segments(fs: &dyn FileSystem, dir: &Path) -> Vec<PathBuf> {
    let names = fs.list(dir).unwrap();
    names
        .iter()
        .filter(|name| *name != "lock")
        .map(|name| dir.join(name))
        .collect()
}

pub(crate) fn read(fs: &dyn FileSystem, path: &Path) -> Vec<u8> {
    let file = fs.open_read(path).unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

pub(crate) fn overwrite(fs: &dyn FileSystem, path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs.open_write(path).unwrap();
    assert_eq!(
        file.write_at(offset, &[IoSlice::new(bytes)]).unwrap(),
        bytes.len()
    );
    file.sync_all().unwrap();
}
