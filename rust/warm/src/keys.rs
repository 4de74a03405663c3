//! Idempotency keys on disk: written once, read once at the next start.
//!
//! ```text
//! keys-<first position>.bin = run run run …        one run a chunk
//! run = count u32 | crc32c u32 | count × 64 bytes  the checksum covers the count and the records
//! ```
//!
//! Numbers are little-endian. In a sorted tree random keys would cost more than all rows do.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use imfast_partition::archive::ArchivedKey;

use crate::append_files::{AppendFiles, Part};
use crate::error::{at, damaged};

const RECORD_BYTES: usize = ArchivedKey::BYTES;
const RUN_HEADER_BYTES: usize = 8;
/// 262,144 keys.
const FILE_BYTES_MAX: u64 = 262_144 * RECORD_BYTES as u64;

/// The files of keys of an archive.
pub(crate) fn files(dir: &Path, parts: Vec<Part>) -> AppendFiles {
    AppendFiles::new(dir, "keys", FILE_BYTES_MAX, parts)
}

/// Appends a chunk's keys.
pub(crate) fn append(files: &mut AppendFiles, keys: &[ArchivedKey]) -> io::Result<()> {
    match keys.first() {
        Some(first) => files.append(first.position, &encode_run(keys)),
        None => Ok(()),
    }
}

/// Keys of all files from position `from` on, in the order in which they were appended.
pub(crate) fn read(files: &AppendFiles, from: u64) -> io::Result<Vec<ArchivedKey>> {
    let bytes: u64 = files.parts().iter().map(|part| part.bytes).sum();
    let mut keys = Vec::with_capacity(bytes as usize / RECORD_BYTES);
    for part in files.parts() {
        let path = files.path(part.first_position);
        let mut buffer = vec![0; part.bytes as usize];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut buffer, 0))
            .map_err(|e| at(&path, &e))?;
        read_runs(&buffer, from, &mut keys)
            .ok_or_else(|| damaged(&path, "a run of keys does not match its checksum"))?;
    }
    Ok(keys)
}

fn encode_run(keys: &[ArchivedKey]) -> Vec<u8> {
    let mut run = Vec::with_capacity(RUN_HEADER_BYTES + keys.len() * RECORD_BYTES);
    let count = (keys.len() as u32).to_le_bytes();
    run.extend_from_slice(&count);
    run.extend_from_slice(&[0; 4]);
    for key in keys {
        run.extend_from_slice(&key.to_bytes());
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
        keys.extend(
            records
                .iter()
                .map(ArchivedKey::from_bytes)
                .filter(|key| key.position >= from),
        );
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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
                made_ms: 7,
            })
            .collect()
    }

    #[test]
    fn keys_are_read_back_from_a_position_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), Vec::new());
        append(&mut files, &some(1..=100)).unwrap();
        append(&mut files, &[]).unwrap();
        append(&mut files, &some(101..=150)).unwrap();
        assert_eq!(read(&files, 0).unwrap(), some(1..=150));
        assert_eq!(read(&files, 120).unwrap(), some(120..=150));
        assert!(read(&files, 151).unwrap().is_empty());
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), Vec::new());
        append(&mut files, &some(1..=2)).unwrap();
        append(&mut files, &some(3..=3)).unwrap();
        let path = files.path(1);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            let error = read(&files, 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
    }
}
