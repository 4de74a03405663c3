//! The files of an archive as of one moment, while another process may be writing it.
//!
//! Tables never change and are only removed, other files are only appended to: what is held open
//! stays what it is. The lists of tables tell whether something was flipped while files were opened;
//! then they are opened again.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::at;
use crate::home::TREES;

/// How often files are opened again before giving up: flips come chunk by chunk, and opening takes
/// milliseconds.
const ATTEMPTS: usize = 20;

/// A file as it was when it was opened.
pub(crate) struct Held {
    /// Within the archive.
    pub(crate) name: PathBuf,
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

/// All files but the lock.
pub(crate) struct Snapshot {
    pub(crate) files: Vec<Held>,
}

impl Snapshot {
    pub(crate) fn take(dir: &Path) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = currents(dir);
            let taken = open_all(dir);
            let same = before == currents(dir);
            match taken {
                Ok(files) if same => return Ok(Self { files }),
                Err(error) if same && error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(error) if attempts == ATTEMPTS => return Err(error),
                _ if attempts == ATTEMPTS => {
                    let what = "it changed whenever it was looked at";
                    return Err(at(dir, &io::Error::new(io::ErrorKind::TimedOut, what)));
                }
                _ => {}
            }
        }
    }

    /// Makes `dir` look like the archive, without the lock: names that lead to the files held here.
    pub(crate) fn link(&self, dir: &Path) -> io::Result<()> {
        for held in &self.files {
            let place = dir.join(&held.name);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            let target = format!("/proc/self/fd/{}", held.file.as_raw_fd());
            symlink(target, &place).map_err(|e| at(&place, &e))?;
        }
        for tree in TREES {
            fs::create_dir_all(dir.join(tree).join("tables"))?;
        }
        Ok(())
    }
}

/// Which lists of tables count; none for a tree that is not there.
fn currents(dir: &Path) -> [Option<Vec<u8>>; 2] {
    TREES.map(|tree| fs::read(dir.join(tree).join("current")).ok())
}

fn open_all(dir: &Path) -> io::Result<Vec<Held>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).map_err(|e| unmixed(dir, &e))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(name);
                continue;
            }
            if name == Path::new("lock") {
                continue;
            }
            let file = File::open(entry.path()).map_err(|e| unmixed(&entry.path(), &e))?;
            let bytes = file.metadata()?.len();
            found.push(Held { name, file, bytes });
        }
    }
    // Names in a fixed order, for messages.
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// With its place, and of its own kind: a file that has just been removed is no damage here.
fn unmixed(place: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", place.display()))
}
