//! Checks the list of a tree's tables before the tree is opened.
//!
//! `current` names the list in force and its XXH3 checksum, which lsm-tree 3.1 writes and does not
//! look at when it opens; a flipped bit in there could hide rows without a word.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{at, damaged};

const CURRENT: &str = "current";

/// Whether there is a tree in `dir`, one whose list of tables is whole.
pub(crate) fn check(dir: &Path) -> io::Result<()> {
    let current = dir.join(CURRENT);
    let bytes = fs::read(&current).map_err(|e| at(&current, &e))?;
    let (id, checksum) =
        parse(&bytes).ok_or_else(|| damaged(&current, "not a reference to a list of tables"))?;
    let list = dir.join(format!("v{id}"));
    let found = xxhash_rust::xxh3::xxh3_128(&fs::read(&list).map_err(|e| at(&list, &e))?);
    if found != checksum {
        return Err(damaged(
            &list,
            "the list of tables does not match its checksum",
        ));
    }
    Ok(())
}

/// Id u64 and checksum u128, little-endian, and the checksum's kind, 0.
fn parse(bytes: &[u8]) -> Option<(u64, u128)> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, kind) = rest.split_first_chunk::<16>()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*id), u128::from_le_bytes(*checksum)))
}
