//! Copies an archive while a server may be writing it, and gives a copy to another layout.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use imfast_partition::archive::{Archive, Reached, Settled, StateValue};
use imfast_partition::{LAYOUT_KEY, with_generation};

use crate::error::{at, damaged};
use crate::fjall::FjallArchive;
use crate::home;
use crate::snapshot::Snapshot;
use crate::verify::read_all;

/// What [`copy`] copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Up to where the copy has everything.
    pub reached: Reached,
    pub bytes: u64,
}

/// Copies the archive in `from`, as of one moment, to `to`, durably; none where there is none.
/// [`verify`](crate::verify()) tells whether the copy is whole.
///
/// # Errors
/// The system's answer; `InvalidData` where the copy does not open.
pub fn copy(from: &Path, to: &Path) -> io::Result<Option<Copied>> {
    if !from.is_dir() || !home::is_formatted(from) {
        return Ok(None);
    }
    let mut bytes = 0;
    for held in Snapshot::take(from)?.files {
        let place = to.join(&held.name);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(|e| at(parent, &e))?;
        }
        let copied = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&place)?;
            read_all(&held.file, held.bytes, |part| file.write_all(part))?;
            file.sync_all()
        };
        copied().map_err(|e| at(&place, &e))?;
        bytes += held.bytes;
    }
    for folder in home::TREES.iter().map(|tree| to.join(tree)) {
        fs::create_dir_all(folder.join("tables")).map_err(|e| at(&folder, &e))?;
        for folder in [folder.join("tables"), folder] {
            sync(&folder)?;
        }
    }
    sync(to)?;
    if let Some(parent) = to.parent() {
        sync(parent)?;
    }
    // What a chunk left that had not come to its flip goes here.
    let reached = FjallArchive::open(to)?.reached();
    Ok(Some(Copied { reached, bytes }))
}

/// Gives an archive to another generation of its layout, durably. Nobody may have it open.
///
/// # Errors
/// As [`FjallArchive::open`].
pub fn set_generation(dir: &Path, generation: u32) -> io::Result<()> {
    let archive = FjallArchive::open(dir)?;
    let reached = archive.reached();
    let Some(layout) = archive.piece(LAYOUT_KEY)? else {
        // Nothing was ever archived.
        return Ok(());
    };
    let layout = with_generation(&layout, generation)
        .ok_or_else(|| damaged(dir, "the layout it belongs to cannot be read"))?;
    archive.apply(&Settled {
        after: reached.position,
        reached,
        rows: Vec::new(),
        places: Vec::new(),
        keys: Vec::new(),
        state: [(LAYOUT_KEY, StateValue::Bytes(layout))].into(),
    })
}

fn sync(folder: &Path) -> io::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| at(folder, &e))
}
