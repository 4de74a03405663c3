//! One file of idempotency keys, sorted by key, written once.
//!
//! ```text
//! keys-<first position>-<last position>.bin = block block … | tail
//! block = crc32c u32 | count u32 | count × 64 bytes | zeros       4,096 bytes
//! tail  = crc32c u32 | first key of each block u64 … | filter     the checksum covers what is behind it
//! ```
//!
//! Numbers are little-endian. The tail is in memory while the file counts; a key that the filter does
//! not rule out costs one read of a block.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imfast_partition::archive::ArchivedKey;

use crate::error::{at, damaged};
use crate::filter::Filter;

const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 8;
const RECORD_BYTES: usize = ArchivedKey::BYTES;
const BLOCK_RECORDS: usize = (BLOCK_BYTES - HEADER_BYTES) / RECORD_BYTES;
const CHECKSUM_BYTES: usize = 4;
/// How far a key's time is believed to be ahead of the batch that it came in.
pub(crate) const MADE_AHEAD_MS_MAX: u64 = 5_000;

type Block = [u8; BLOCK_BYTES];

/// What the flip says about a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) first_position: u64,
    pub(crate) last_position: u64,
    pub(crate) count: u64,
    /// Times of the first and last batch with a key in it.
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
    /// The latest time that a key says it was made.
    pub(crate) made_max_ms: u64,
    /// The same, as far as it is believed: keys of up to then are refused once the file is forgotten.
    pub(crate) believed_ms: u64,
    /// Merges that led to it.
    pub(crate) level: u64,
}

impl KeyPart {
    pub(crate) const NUMBERS: usize = 8;

    pub(crate) fn numbers(&self) -> [u64; Self::NUMBERS] {
        [
            self.first_position,
            self.last_position,
            self.count,
            self.oldest_ms,
            self.newest_ms,
            self.made_max_ms,
            self.believed_ms,
            self.level,
        ]
    }

    pub(crate) fn from_numbers(numbers: [u64; Self::NUMBERS]) -> Self {
        let [
            first_position,
            last_position,
            count,
            oldest_ms,
            newest_ms,
            made_max_ms,
            believed_ms,
            level,
        ] = numbers;
        Self {
            first_position,
            last_position,
            count,
            oldest_ms,
            newest_ms,
            made_max_ms,
            believed_ms,
            level,
        }
    }

    pub(crate) fn of(keys: &[ArchivedKey], level: u64) -> Self {
        let mut part = Self {
            first_position: u64::MAX,
            oldest_ms: u64::MAX,
            count: keys.len() as u64,
            level,
            ..Self::default()
        };
        for key in keys {
            part.first_position = part.first_position.min(key.position);
            part.last_position = part.last_position.max(key.position);
            part.oldest_ms = part.oldest_ms.min(key.time_ms);
            part.newest_ms = part.newest_ms.max(key.time_ms);
            part.made_max_ms = part.made_max_ms.max(key.made_ms);
            let believed = key.made_ms.min(key.time_ms + MADE_AHEAD_MS_MAX);
            part.believed_ms = part.believed_ms.max(believed);
        }
        part
    }

    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        let (first, last) = (self.first_position, self.last_position);
        dir.join(format!("keys-{first:020}-{last:020}.bin"))
    }

    /// Whole length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        (self.blocks() * BLOCK_BYTES + self.tail_bytes()) as u64
    }

    fn blocks(&self) -> usize {
        (self.count as usize).div_ceil(BLOCK_RECORDS)
    }

    fn tail_bytes(&self) -> usize {
        CHECKSUM_BYTES + 8 * self.blocks() + Filter::bytes_for(self.count as usize)
    }
}

/// A file that counts, open.
#[derive(Debug)]
pub(crate) struct KeyFile {
    pub(crate) part: KeyPart,
    path: PathBuf,
    file: File,
    /// High half of the first key of each block.
    fences: Vec<u64>,
    filter: Filter,
}

impl KeyFile {
    /// Writes `keys`, in any order, durably; the directory is the caller's to sync. Of one key that
    /// is there twice the later one stays.
    pub(crate) fn write(dir: &Path, mut keys: Vec<ArchivedKey>, level: u64) -> io::Result<Self> {
        let order = |key: &ArchivedKey| (key.key_high, key.key_low, u64::MAX - key.position);
        keys.sort_unstable_by_key(order);
        keys.dedup_by_key(|key| (key.key_high, key.key_low));
        let part = KeyPart::of(&keys, level);
        let mut filter = Filter::new(keys.len());
        let mut fences = Vec::with_capacity(part.blocks());
        let mut bytes = Vec::with_capacity(part.bytes() as usize);
        for records in keys.chunks(BLOCK_RECORDS) {
            fences.extend(records.first().map(|key| key.key_high));
            put_block(&mut bytes, records);
        }
        for key in &keys {
            filter.add(key.key_high, key.key_low);
        }
        let mut tail = Vec::with_capacity(part.tail_bytes());
        for fence in &fences {
            tail.extend_from_slice(&fence.to_le_bytes());
        }
        tail.extend_from_slice(filter.bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&tail).to_le_bytes());
        bytes.extend_from_slice(&tail);
        let path = part.path(dir);
        let written = || {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = written().map_err(|e: io::Error| at(&path, &e))?;
        Ok(Self {
            part,
            path,
            file,
            fences,
            filter,
        })
    }

    /// Opens a file that the flip names. Its blocks are checked when they are read.
    pub(crate) fn open(dir: &Path, part: KeyPart) -> io::Result<Self> {
        let path = part.path(dir);
        let file = File::open(&path).map_err(|e| at(&path, &e))?;
        if file.metadata().map_err(|e| at(&path, &e))?.len() != part.bytes() {
            return Err(damaged(&path, "not as long as what was synced"));
        }
        let mut tail = vec![0; part.tail_bytes()];
        file.read_exact_at(&mut tail, (part.blocks() * BLOCK_BYTES) as u64)
            .map_err(|e| at(&path, &e))?;
        let wrong = || damaged(&path, "the index of keys does not match its checksum");
        let (expected, tail) = tail.split_first_chunk::<4>().ok_or_else(wrong)?;
        if crc32c::crc32c(tail) != u32::from_le_bytes(*expected) {
            return Err(wrong());
        }
        let (fences, filter) = tail.split_at_checked(8 * part.blocks()).ok_or_else(wrong)?;
        let (fences, _) = fences.as_chunks();
        Ok(Self {
            part,
            fences: fences
                .iter()
                .map(|fence| u64::from_le_bytes(*fence))
                .collect(),
            filter: Filter::from_bytes(filter),
            path,
            file,
        })
    }

    /// The key, if it is in the file.
    pub(crate) fn find(&self, high: u64, low: u64) -> io::Result<Option<ArchivedKey>> {
        if !self.filter.may_have(high, low) {
            return Ok(None);
        }
        // Keys with one high half may begin in the block before.
        let last = self.fences.partition_point(|&fence| fence <= high);
        let first = self.fences.partition_point(|&fence| fence < high);
        for number in first.saturating_sub(1)..last {
            let mut block = [0; BLOCK_BYTES];
            let records = self.block(number, &mut block)?;
            let halves = |record: &[u8; RECORD_BYTES]| {
                let key = ArchivedKey::from_bytes(record);
                (key.key_high, key.key_low)
            };
            if let Ok(place) = records.binary_search_by_key(&(high, low), halves) {
                return Ok(records.get(place).map(ArchivedKey::from_bytes));
            }
        }
        Ok(None)
    }

    /// All keys, by key.
    pub(crate) fn read(&self, into: &mut Vec<ArchivedKey>) -> io::Result<()> {
        let (mut block, before) = ([0; BLOCK_BYTES], into.len());
        for number in 0..self.fences.len() {
            let records = self.block(number, &mut block)?;
            into.extend(records.iter().map(ArchivedKey::from_bytes));
        }
        let read = into.get(before..).unwrap_or_default();
        let rise =
            |a: &ArchivedKey, b: &ArchivedKey| (a.key_high, a.key_low) < (b.key_high, b.key_low);
        if KeyPart::of(read, self.part.level) != self.part || !read.is_sorted_by(rise) {
            return Err(damaged(
                &self.path,
                "the keys are not those that were written",
            ));
        }
        Ok(())
    }

    fn block<'a>(
        &self,
        number: usize,
        block: &'a mut Block,
    ) -> io::Result<&'a [[u8; RECORD_BYTES]]> {
        self.file
            .read_exact_at(block, (number * BLOCK_BYTES) as u64)
            .map_err(|e| at(&self.path, &e))?;
        records(block).ok_or_else(|| damaged(&self.path, format!("block {number} is not valid")))
    }
}

/// Removes the files of keys in `dir` that are not among `parts`.
pub(crate) fn remove_others(dir: &Path, parts: &[KeyPart]) -> io::Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| at(dir, &e))? {
        let path = entry.map_err(|e| at(dir, &e))?.path();
        let ours = path.file_name().and_then(|name| name.to_str());
        let is_keys = ours
            .is_some_and(|name| name.starts_with("keys-") && name.strip_suffix(".bin").is_some());
        if is_keys && !parts.iter().any(|part| part.path(dir) == path) {
            fs::remove_file(&path).map_err(|e| at(&path, &e))?;
        }
    }
    Ok(())
}

fn put_block(into: &mut Vec<u8>, keys: &[ArchivedKey]) {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(&(keys.len() as u32).to_le_bytes());
    for key in keys {
        block.extend_from_slice(&key.to_bytes());
    }
    block.resize(BLOCK_BYTES - CHECKSUM_BYTES, 0);
    into.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
    into.extend_from_slice(&block);
}

/// The records of a block, none if it is not valid.
fn records(block: &Block) -> Option<&[[u8; RECORD_BYTES]]> {
    let (expected, rest) = block.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*expected) {
        return None;
    }
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (records, _) = rest.as_chunks::<RECORD_BYTES>();
    records.get(..u32::from_le_bytes(*count) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_128;

    pub(crate) fn some(positions: std::ops::RangeInclusive<u64>) -> Vec<ArchivedKey> {
        positions
            .map(|position| {
                let hash = xxh3_128(&position.to_le_bytes());
                ArchivedKey {
                    key_high: (hash >> 64) as u64,
                    key_low: hash as u64,
                    payload: 3,
                    seq: position * 2,
                    message_id: 5,
                    position,
                    time_ms: 1_000 + position,
                    made_ms: 7,
                }
            })
            .collect()
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let written = KeyFile::write(dir.path(), some(1..=2_000), 0).unwrap();
        let opened = KeyFile::open(dir.path(), written.part).unwrap();
        assert_eq!(opened.fences.len(), 32);
        for file in [&written, &opened] {
            for key in some(1..=2_000) {
                assert_eq!(file.find(key.key_high, key.key_low).unwrap(), Some(key));
                assert_eq!(file.find(key.key_high, key.key_low ^ 1).unwrap(), None);
            }
            for key in some(2_001..=6_000) {
                assert_eq!(file.find(key.key_high, key.key_low).unwrap(), None);
            }
        }
        let part = opened.part;
        assert_eq!((part.first_position, part.last_position), (1, 2_000));
        assert_eq!((part.oldest_ms, part.newest_ms), (1_001, 3_000));
    }

    #[test]
    fn keys_that_share_their_high_half_are_found_over_several_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = some(1..=300);
        for key in &mut keys[50..250] {
            key.key_high = 77 << 40;
        }
        let file = KeyFile::write(dir.path(), keys.clone(), 0).unwrap();
        for key in keys {
            assert_eq!(file.find(key.key_high, key.key_low).unwrap(), Some(key));
        }
    }

    #[test]
    fn later_one_of_two_with_one_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = some(1..=3);
        keys[2].key_high = keys[0].key_high;
        keys[2].key_low = keys[0].key_low;
        let file = KeyFile::write(dir.path(), keys.clone(), 0).unwrap();
        let found = file.find(keys[0].key_high, keys[0].key_low).unwrap();
        assert_eq!((found, file.part.count), (Some(keys[2]), 2));
    }

    #[test]
    fn any_changed_byte_is_noticed_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let part = KeyFile::write(dir.path(), some(1..=100), 0).unwrap().part;
        let path = part.path(dir.path());
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            let read = KeyFile::open(dir.path(), part).and_then(|file| file.read(&mut Vec::new()));
            let error = read.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {place}");
        }
    }
}
