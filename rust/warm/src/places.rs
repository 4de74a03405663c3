//! Where the row at a position is: blocks of records in the order of positions.
//!
//! ```text
//! places-<first position>.bin = block block block …   4,096 bytes each
//! block = crc32c u32 | count u32 | count × (position u64 | conversation u32 | seq u64) | zeros
//! ```
//!
//! Numbers are little-endian; the checksum covers all behind it. A chunk begins a new block.
//! Positions only grow, so a sorted tree would do nothing here but rename tables; a search over
//! blocks finds a position, and a write is an append.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::append_files::{AppendFiles, Part};
use crate::error::{at, damaged};

const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 8;
const RECORD_BYTES: usize = 20;
/// Records of a block: 204.
const BLOCK_RECORDS: usize = (BLOCK_BYTES - HEADER_BYTES) / RECORD_BYTES;
/// Three million rows.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// (position, conversation, seq).
pub(crate) type Place = (u64, u32, u64);
type Block = [u8; BLOCK_BYTES];

/// The files of places of an archive.
pub(crate) fn files(dir: &Path, parts: Vec<Part>) -> AppendFiles {
    AppendFiles::new(dir, "places", FILE_BYTES_MAX, parts)
}

/// Appends a chunk's places, ascending by position.
pub(crate) fn append(files: &mut AppendFiles, places: &[Place]) -> io::Result<()> {
    let Some(&(first_position, ..)) = places.first() else {
        return Ok(());
    };
    let mut bytes = Vec::with_capacity(places.len().div_ceil(BLOCK_RECORDS) * BLOCK_BYTES);
    for places in places.chunks(BLOCK_RECORDS) {
        put_block(&mut bytes, places);
    }
    files.append(first_position, &bytes)
}

/// Places in what a chunk left that did not come to its flip, as far as they are whole.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Place> {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    let whole = blocks.iter().map_while(records);
    whole.flatten().map(place).collect()
}

/// Places in `positions`, ascending, until `each` returns false.
pub(crate) fn read(
    files: &AppendFiles,
    positions: Range<u64>,
    each: &mut dyn FnMut(u64, u32, u64) -> bool,
) -> io::Result<()> {
    let parts = files.parts();
    let begun = parts.partition_point(|part| part.first_position <= positions.start);
    for part in parts.iter().skip(begun.saturating_sub(1)) {
        if part.first_position >= positions.end {
            break;
        }
        let mut blocks = Blocks::open(files.path(part.first_position), part.bytes)?;
        let mut number = blocks.first_that_ends_behind(positions.start)?;
        while let Some(records) = blocks.records(number)? {
            for (position, conversation, seq) in records.iter().map(place) {
                if position >= positions.end {
                    return Ok(());
                }
                if position >= positions.start && !each(position, conversation, seq) {
                    return Ok(());
                }
            }
            number += 1;
        }
    }
    Ok(())
}

/// A file, block by block.
struct Blocks {
    path: PathBuf,
    file: File,
    count: u64,
    block: Block,
}

impl Blocks {
    fn open(path: PathBuf, bytes: u64) -> io::Result<Self> {
        let file = File::open(&path).map_err(|e| at(&path, &e))?;
        Ok(Self {
            path,
            file,
            count: bytes / BLOCK_BYTES as u64,
            block: [0; BLOCK_BYTES],
        })
    }

    /// Records of a block; none behind the last.
    fn records(&mut self, number: u64) -> io::Result<Option<&[[u8; RECORD_BYTES]]>> {
        if number >= self.count {
            return Ok(None);
        }
        self.file
            .read_exact_at(&mut self.block, number * BLOCK_BYTES as u64)
            .map_err(|e| at(&self.path, &e))?;
        records(&self.block)
            .map(Some)
            .ok_or_else(|| damaged(&self.path, format!("block {number} is not valid")))
    }

    /// Number of the first block with a position from `position` on.
    fn first_that_ends_behind(&mut self, position: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let last = self.records(middle)?.and_then(<[_]>::last).map(place);
            if last.is_some_and(|(last, ..)| last < position) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

fn put_block(into: &mut Vec<u8>, places: &[Place]) {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(&(places.len() as u32).to_le_bytes());
    for (position, conversation, seq) in places {
        block.extend_from_slice(&position.to_le_bytes());
        block.extend_from_slice(&conversation.to_le_bytes());
        block.extend_from_slice(&seq.to_le_bytes());
    }
    block.resize(BLOCK_BYTES - 4, 0);
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

fn place(record: &[u8; RECORD_BYTES]) -> Place {
    let [p0, p1, p2, p3, p4, p5, p6, p7, conversation_and_seq @ ..] = *record;
    let [c0, c1, c2, c3, seq @ ..] = conversation_and_seq;
    (
        u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
        u32::from_le_bytes([c0, c1, c2, c3]),
        u64::from_le_bytes(seq),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Every third position, as if the others had no rows.
    fn some(numbers: Range<u64>) -> Vec<Place> {
        numbers.map(|n| (n * 3 + 1, n as u32, n * 2)).collect()
    }

    fn found(files: &AppendFiles, positions: Range<u64>) -> Vec<Place> {
        let mut found = Vec::new();
        let mut each = |position, conversation, seq| {
            found.push((position, conversation, seq));
            true
        };
        read(files, positions, &mut each).unwrap();
        found
    }

    #[test]
    fn any_range_is_found_over_chunks_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = AppendFiles::new(dir.path(), "places", 3 * BLOCK_BYTES as u64, Vec::new());
        let all = some(0..2000);
        for chunk in all.chunks(333) {
            append(&mut files, chunk).unwrap();
        }
        assert!(files.parts().len() > 2);
        assert_eq!(found(&files, 0..u64::MAX), all);
        for start in (0..6100).step_by(7) {
            for length in [0, 1, 3, 50, 1300] {
                let range = start..start + length;
                let expected = all.iter().filter(|place| range.contains(&place.0));
                let expected: Vec<Place> = expected.copied().collect();
                assert_eq!(found(&files, range.clone()), expected, "{range:?}");
            }
        }
    }

    #[test]
    fn any_changed_byte_is_noticed_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = files(dir.path(), Vec::new());
        append(&mut files, &some(0..300)).unwrap();
        let path = files.path(1);
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len(), 2 * BLOCK_BYTES);
        for at in (0..whole.len()).step_by(13) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            let error = read(&files, 0..u64::MAX, &mut |_, _, _| true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
    }

    #[test]
    fn torn_tail_gives_its_whole_blocks() {
        let mut bytes = Vec::new();
        put_block(&mut bytes, &some(0..204));
        put_block(&mut bytes, &some(204..300));
        assert_eq!(parse(&bytes), some(0..300));
        bytes.truncate(BLOCK_BYTES + 700);
        assert_eq!(parse(&bytes), some(0..204));
        bytes.resize(2 * BLOCK_BYTES, 0);
        assert_eq!(parse(&bytes), some(0..204));
    }
}
