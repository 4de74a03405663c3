//! Checks every byte of an archive that counts, without changing or locking it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imfast_partition::archive::{Reached, StateKey};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::codec::{self, Meta, row_key};
use crate::error::damaged;
use crate::fjall::{Trees, shared};
use crate::home::{self, TREES};
use crate::key_file::KeyFile;
use crate::snapshot::{Held, Snapshot};
use crate::tree::{Order, Tree};
use crate::{OpenOptions, places};

/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Report {
    /// Up to where the archive has everything, if that can be read.
    pub reached: Reached,
    pub rows: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Of all files.
    pub bytes: u64,
    /// File or directory, and what is wrong with it. Empty: the archive is whole.
    pub damage: Vec<(PathBuf, String)>,
}

/// Reads the whole archive in `dir` as of one moment; none where there is no archive yet.
///
/// # Errors
/// The system's answer. Damage is none: it is in the report.
pub fn verify(dir: &Path) -> io::Result<Option<Report>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let snapshot = Snapshot::take(dir)?;
    if !home::has_tables(dir)? && !home::is_formatted(dir) {
        return Ok(None);
    }
    let links = tempfile::tempdir()?;
    snapshot.link(links.path())?;
    let mut check = Check {
        dir,
        links: links.path(),
        report: Report {
            bytes: snapshot.files.iter().map(|held| held.bytes).sum(),
            ..Report::default()
        },
    };
    let read = check.all(&snapshot);
    check.note(dir, read)?;
    Ok(Some(check.report))
}

struct Check<'a> {
    dir: &'a Path,
    links: &'a Path,
    report: Report,
}

impl Check<'_> {
    /// Damage goes to the report, everything else to the caller.
    fn note(&mut self, place: &Path, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // The links have the names of what they lead to.
                let links = self.links.display().to_string();
                let text = error
                    .to_string()
                    .replace(&links, &self.dir.display().to_string());
                self.report.damage.push((place.to_owned(), text));
                Ok(())
            }
            other => other,
        }
    }

    fn all(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if !home::is_formatted(self.dir) {
            return Err(damaged(
                &self.dir.join("format"),
                "not a format that this program reads",
            ));
        }
        let shared = shared(OpenOptions::default());
        let [rows, state] = TREES.map(|name| Tree::open(&self.links.join(name), &shared));
        let trees = Trees {
            rows: rows?,
            state: state?,
        };
        for (name, tree) in [("rows", &trees.rows), ("state", &trees.state)] {
            for (id, checksum) in tree.tables() {
                let table = Path::new(name).join("tables").join(id.to_string());
                let held = snapshot.files.iter().find(|held| held.name == table);
                let whole = held.map_or(Ok(false), |held| matches(held, checksum))?;
                if !whole {
                    let place = self.dir.join(&table);
                    let text =
                        format!("{}: the table does not match its checksum", place.display());
                    self.report.damage.push((place, text));
                }
            }
        }
        let meta = trees.meta(self.dir)?;
        self.report.reached = meta.reached;
        let content = self.content(&trees, &meta);
        self.note(self.dir, content)?;
        let keys = self.keys(&meta);
        self.note(self.dir, keys)
    }

    /// Places lead to every row that counts, and rows of a conversation have no gaps.
    fn content(&mut self, trees: &Trees, meta: &Meta) -> io::Result<()> {
        let reached = meta.reached.position;
        let files = places::files(self.links, meta.places.clone());
        let (mut count, mut mixed, mut last, mut falls) = (0_u64, 0_u64, 0, false);
        places::read(&files, 0..u64::MAX, &mut |position, conversation, seq| {
            falls |= position <= last || position > reached;
            last = position;
            count += 1;
            mixed = mixed.wrapping_add(mix(position, conversation, seq));
            true
        })?;
        if falls {
            return Err(damaged(
                self.dir,
                "positions of places do not rise up to the last one",
            ));
        }
        let (mut rows, mut mixed_rows) = (0_u64, 0_u64);
        let mut expected = (0, 1);
        let ends = row_key(0, 0)..[u8::MAX; 12];
        trees.rows.range(ends, Order::Ascending, |key, value| {
            let row =
                codec::row(key, value).ok_or_else(|| damaged(self.dir, "an entry is not a row"))?;
            if row.position > reached {
                return Ok(true);
            }
            if row.conversation != expected.0 {
                expected = (row.conversation, 1);
            }
            if row.seq != expected.1 {
                let (conversation, seq) = expected;
                let what = format!("row {seq} of conversation {conversation} is missing");
                return Err(damaged(self.dir, what));
            }
            expected.1 += 1;
            rows += 1;
            mixed_rows = mixed_rows.wrapping_add(mix(row.position, row.conversation, row.seq));
            Ok(true)
        })?;
        self.report.rows = rows;
        if (rows, mixed_rows) != (count, mixed) {
            return Err(damaged(self.dir, "places and rows do not belong together"));
        }
        let pieces = StateKey::new(1, 0, 0, 0).0..[u8::MAX; 13];
        trees.state.range(pieces, Order::Ascending, |key, _| {
            codec::state_key(key)
                .map(|_| true)
                .ok_or_else(|| damaged(self.dir, "an entry is not a piece of state"))
        })
    }

    /// Every file of keys is what the flip says, and they follow each other.
    fn keys(&mut self, meta: &Meta) -> io::Result<()> {
        let mut end = 0;
        for part in &meta.keys {
            let mut found = Vec::new();
            KeyFile::open(self.links, *part)?.read(&mut found)?;
            self.report.keys += found.len() as u64;
            if part.first_position <= end || part.last_position > meta.reached.position {
                let what = "positions of keys do not rise up to the last one";
                return Err(damaged(self.dir, what));
            }
            end = part.last_position;
        }
        Ok(())
    }
}

fn mix(position: u64, conversation: u32, seq: u64) -> u64 {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..12].copy_from_slice(&conversation.to_le_bytes());
    bytes[12..].copy_from_slice(&seq.to_le_bytes());
    xxh3_64(&bytes)
}

fn matches(held: &Held, checksum: u128) -> io::Result<bool> {
    let mut hash = Xxh3::new();
    read_all(&held.file, held.bytes, |bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    Ok(hash.digest128() == checksum)
}

/// Gives the first `bytes` of a file to `each`, part by part.
pub(crate) fn read_all(
    file: &File,
    bytes: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let room = usize::try_from(bytes - offset).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        let part = buffer.get_mut(..room).unwrap_or_default();
        file.read_exact_at(part, offset)?;
        each(part)?;
        offset += room as u64;
    }
    Ok(())
}
