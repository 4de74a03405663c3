//! Files of idempotency keys: appended to, never changed, removed when their keys are forgotten.
//!
//! ```text
//! keys-<first position>.bin = run run run …        one run a chunk
//! run = count u32 | crc32c u32 | count × 56 bytes  the checksum covers the count and the records
//! ```
//!
//! Numbers are little-endian. How many bytes of which files count is said by the flip (see
//! `codec::Meta`): what stands behind them was never reached and is cut off. Random keys would cost
//! a sorted tree more than all rows do; in here they are written once and read once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imfast_partition::archive::ArchivedKey;

use crate::error::{at, damaged};

/// Bytes of a record: seven numbers.
const RECORD_BYTES: usize = 56;
const RUN_HEADER_BYTES: usize = 8;
/// A file that has reached this is not appended to: 262,144 keys.
const FILE_BYTES_MAX: u64 = 262_144 * RECORD_BYTES as u64;

/// A file of keys as the flip knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// Position of its first key; its name.
    pub(crate) first_position: u64,
    /// Length up to which it counts.
    pub(crate) bytes: u64,
}

/// The files of one archive. After an error only [`KeyFiles::open`] gives a true picture again.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    dir: PathBuf,
    /// Oldest first.
    files: Vec<KeyFile>,
}

impl KeyFiles {
    /// Brings the directory to what the flip says: cuts and removes what came behind it.
    pub(crate) fn open(dir: &Path, files: Vec<KeyFile>) -> io::Result<Self> {
        let opened = Self {
            dir: dir.to_owned(),
            files,
        };
        for file in &opened.files {
            let path = opened.path(file.first_position);
            let handle = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|e| at(&path, &e))?;
            let length = handle.metadata().map_err(|e| at(&path, &e))?.len();
            if length < file.bytes {
                return Err(damaged(&path, "shorter than what was synced"));
            }
            if length > file.bytes {
                handle
                    .set_len(file.bytes)
                    .and_then(|()| handle.sync_all())
                    .map_err(|e| at(&path, &e))?;
            }
        }
        opened.remove_others()?;
        Ok(opened)
    }

    /// Appends a chunk's keys, durably. They count from the flip on that names [`Self::files`].
    pub(crate) fn append(&mut self, keys: &[ArchivedKey]) -> io::Result<()> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let file = match self.files.last() {
            Some(file) if file.bytes < FILE_BYTES_MAX => *file,
            _ => KeyFile {
                first_position: first.position,
                bytes: 0,
            },
        };
        let path = self.path(file.first_position);
        let run = encode_run(keys);
        self.write(&path, file, &run).map_err(|e| at(&path, &e))?;
        if file.bytes > 0 {
            self.files.pop();
        }
        self.files.push(KeyFile {
            bytes: file.bytes + run.len() as u64,
            ..file
        });
        Ok(())
    }

    fn write(&self, path: &Path, file: KeyFile, run: &[u8]) -> io::Result<()> {
        let handle = OpenOptions::new()
            .write(true)
            .create(file.bytes == 0)
            .truncate(file.bytes == 0)
            .open(path)?;
        handle.write_all_at(run, file.bytes)?;
        handle.sync_data()?;
        if file.bytes == 0 {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Forgets files that hold only keys from before `keys_from`. They stay on disk until
    /// [`Self::remove_others`].
    pub(crate) fn forget_before(&mut self, keys_from: u64) {
        let wholly_before = self
            .files
            .iter()
            .skip(1)
            .take_while(|next| next.first_position <= keys_from)
            .count();
        self.files.drain(..wholly_before);
    }

    pub(crate) fn files(&self) -> &[KeyFile] {
        &self.files
    }

    /// Removes key files that are not (or no longer) among ours.
    pub(crate) fn remove_others(&self) -> io::Result<()> {
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(&self.dir)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let position = name
                    .strip_prefix("keys-")
                    .and_then(|rest| rest.strip_suffix(".bin"))
                    .and_then(|position| position.parse::<u64>().ok());
                if let Some(position) = position
                    && !self.files.iter().any(|f| f.first_position == position)
                {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        remove().map_err(|e| at(&self.dir, &e))
    }

    /// Keys of all files from position `from` on, in the order in which they were appended.
    pub(crate) fn read(&self, from: u64) -> io::Result<Vec<ArchivedKey>> {
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        let mut keys = Vec::with_capacity(bytes as usize / RECORD_BYTES);
        for file in &self.files {
            let path = self.path(file.first_position);
            let mut buffer = vec![0; file.bytes as usize];
            File::open(&path)
                .and_then(|handle| handle.read_exact_at(&mut buffer, 0))
                .map_err(|e| at(&path, &e))?;
            read_runs(&buffer, from, &mut keys)
                .ok_or_else(|| damaged(&path, "a run of keys does not match its checksum"))?;
        }
        Ok(keys)
    }

    fn path(&self, first_position: u64) -> PathBuf {
        self.dir.join(format!("keys-{first_position:020}.bin"))
    }
}

fn encode_run(keys: &[ArchivedKey]) -> Vec<u8> {
    let mut run = Vec::with_capacity(RUN_HEADER_BYTES + keys.len() * RECORD_BYTES);
    let count = (keys.len() as u32).to_le_bytes();
    run.extend_from_slice(&count);
    run.extend_from_slice(&[0; 4]);
    for key in keys {
        for number in numbers(key) {
            run.extend_from_slice(&number.to_le_bytes());
        }
    }
    let checksum = checksum(count, run.get(RUN_HEADER_BYTES..).unwrap_or_default());
    if let Some(place) = run.get_mut(4..RUN_HEADER_BYTES) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    run
}

fn checksum(count: [u8; 4], records: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&count), records)
}

/// None for bytes that are not whole runs with right checksums.
fn read_runs(mut bytes: &[u8], from: u64, keys: &mut Vec<ArchivedKey>) -> Option<()> {
    while !bytes.is_empty() {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let (expected, rest) = rest.split_first_chunk::<4>()?;
        let length = (u32::from_le_bytes(*count) as usize).checked_mul(RECORD_BYTES)?;
        let (records, rest) = rest.split_at_checked(length)?;
        if checksum(*count, records) != u32::from_le_bytes(*expected) {
            return None;
        }
        let (records, _) = records.as_chunks::<RECORD_BYTES>();
        keys.extend(records.iter().map(key).filter(|key| key.position >= from));
        bytes = rest;
    }
    Some(())
}

fn numbers(key: &ArchivedKey) -> [u64; 7] {
    [
        key.key_high,
        key.key_low,
        key.payload,
        key.seq,
        key.message_id,
        key.position,
        key.time_ms,
    ]
}

fn key(record: &[u8; RECORD_BYTES]) -> ArchivedKey {
    let mut read = record.as_chunks::<8>().0.iter();
    let mut next = || read.next().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    ArchivedKey {
        key_high: next(),
        key_low: next(),
        payload: next(),
        seq: next(),
        message_id: next(),
        position: next(),
        time_ms: next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(positions: std::ops::RangeInclusive<u64>) -> Vec<ArchivedKey> {
        positions
            .map(|position| ArchivedKey {
                key_high: position * 7,
                key_low: !position,
                payload: 3,
                seq: 4,
                message_id: 5,
                position,
                time_ms: 6,
            })
            .collect()
    }

    #[test]
    fn keys_behind_the_flip_are_cut_at_opening_and_those_before_it_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = KeyFiles::open(dir.path(), Vec::new()).unwrap();
        files.append(&some(1..=100)).unwrap();
        let flipped = files.files().to_vec();
        files.append(&some(101..=150)).unwrap();
        assert_eq!(files.read(0).unwrap(), some(1..=150));

        let mut files = KeyFiles::open(dir.path(), flipped).unwrap();
        assert_eq!(files.read(40).unwrap(), some(40..=100));
        files.append(&some(101..=120)).unwrap();
        assert_eq!(files.read(0).unwrap(), some(1..=120));
        let files = KeyFiles::open(dir.path(), Vec::new()).unwrap();
        assert!(files.read(0).unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn full_files_are_followed_by_new_ones_and_removed_when_their_keys_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = KeyFiles::open(dir.path(), Vec::new()).unwrap();
        for round in 0..3 {
            let first = round * 300_000 + 1;
            files.append(&some(first..=first + 299_999)).unwrap();
        }
        let firsts: Vec<_> = files.files().iter().map(|f| f.first_position).collect();
        assert_eq!(firsts, [1, 300_001, 600_001]);
        files.forget_before(300_000);
        assert_eq!(files.files().len(), 3, "position 300,000 is in the first");
        files.forget_before(300_001);
        files.remove_others().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(files.read(300_001).unwrap().len(), 600_000);
    }

    #[test]
    fn any_changed_byte_or_length_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = KeyFiles::open(dir.path(), Vec::new()).unwrap();
        files.append(&some(1..=2)).unwrap();
        files.append(&some(3..=3)).unwrap();
        let path = files.path(1);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            let error = files.read(0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let error = KeyFiles::open(dir.path(), files.files().to_vec()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "length {length}");
        }
        fs::remove_file(&path).unwrap();
        let error = KeyFiles::open(dir.path(), files.files().to_vec()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
