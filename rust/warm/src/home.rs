//! The archive's directory: its lock, and whether it was made whole once.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{at, damaged};

const LOCK: &str = "lock";
const FORMAT: &str = "format";
const FORMAT_TEXT: &str = "imfast archive 3\n";

/// Directories of the trees.
pub(crate) const TREES: [&str; 2] = ["rows", "state"];

/// The directory, locked for as long as this lives. A killed process frees the lock.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Creates the directory if need be and locks it: `WouldBlock` when it is held.
    pub(crate) fn lock(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{}: held by another opener", path.display()),
            )),
            Err(TryLockError::Error(error)) => Err(at(&path, &error)),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the trees are there. What a creation left that did not come to its end is removed.
    pub(crate) fn is_made(&self) -> io::Result<bool> {
        let path = self.dir.join(FORMAT);
        let mut text = String::new();
        match File::open(&path).and_then(|mut file| file.read_to_string(&mut text)) {
            Ok(_) if text == FORMAT_TEXT => return Ok(true),
            Ok(_) => return Err(damaged(&path, "not a format that this program reads")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path, &error)),
        }
        if has_tables(&self.dir)? {
            return Err(damaged(&path, "missing, and there are tables"));
        }
        for tree in TREES {
            let tree = self.dir.join(tree);
            if tree.is_dir() {
                fs::remove_dir_all(&tree)?;
            }
        }
        Ok(false)
    }

    /// Makes files that were created in the directory durable with their names.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|e| at(&self.dir, &e))
    }

    /// Says durably that the trees are there.
    pub(crate) fn made(&self) -> io::Result<()> {
        let path = self.dir.join(FORMAT);
        let part = self.dir.join("format.part");
        let write = || -> io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(FORMAT_TEXT.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(&self.dir)?.sync_all()?;
            match self.dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
                _ => Ok(()),
            }
        };
        write().map_err(|e| at(&path, &e))
    }
}

/// Whether a tree in `dir` has a table.
pub(crate) fn has_tables(dir: &Path) -> io::Result<bool> {
    for tree in TREES {
        let tables = dir.join(tree).join("tables");
        if tables.is_dir() && fs::read_dir(&tables)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `dir` says that it is an archive of a format that is read here.
pub(crate) fn is_formatted(dir: &Path) -> bool {
    fs::read(dir.join(FORMAT)).is_ok_and(|text| text == FORMAT_TEXT.as_bytes())
}
