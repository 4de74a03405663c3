//! Files that are appended to and never changed: `<name>-<first position>.bin`.
//!
//! How many bytes of which files count is said by the flip (see `codec::Meta`): what stands behind
//! them belongs to a chunk that never counted and is cut off.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{at, damaged};

/// A file as the flip knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Position of the first record in it; its name.
    pub(crate) first_position: u64,
    /// Length up to which it counts.
    pub(crate) bytes: u64,
}

/// The files of one kind, in order. After an error only what the last flip says is true.
#[derive(Debug, Clone)]
pub(crate) struct AppendFiles {
    dir: PathBuf,
    name: &'static str,
    /// A file that has come to this is not appended to.
    bytes_max: u64,
    parts: Vec<Part>,
}

impl AppendFiles {
    /// The files as the flip says, before anything was looked at.
    pub(crate) fn new(dir: &Path, name: &'static str, bytes_max: u64, parts: Vec<Part>) -> Self {
        Self {
            dir: dir.to_owned(),
            name,
            bytes_max,
            parts,
        }
    }

    /// What a chunk that did not come to its flip left behind the end; it went to one file.
    pub(crate) fn behind(&self) -> io::Result<Vec<u8>> {
        let mut begun = self.others()?;
        begun.extend(self.parts.last());
        for part in begun {
            let path = self.path(part.first_position);
            let bytes = read_behind(&path, part.bytes).map_err(|e| at(&path, &e))?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
        Ok(Vec::new())
    }

    /// Brings the directory to what the flip says: cuts and removes what came behind it.
    pub(crate) fn settle(&self) -> io::Result<()> {
        for part in &self.parts {
            let path = self.path(part.first_position);
            let length = fs::metadata(&path).map_err(|e| at(&path, &e))?.len();
            if length < part.bytes {
                return Err(damaged(&path, "shorter than what was synced"));
            }
            if length > part.bytes {
                cut(&path, part.bytes).map_err(|e| at(&path, &e))?;
            }
        }
        self.remove_others()
    }

    /// Appends `bytes`, durably; their first record is at `position`. They count from the flip on
    /// that names [`Self::parts`].
    pub(crate) fn append(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let part = match self.parts.last() {
            Some(part) if part.bytes < self.bytes_max => *part,
            _ => Part {
                first_position: position,
                bytes: 0,
            },
        };
        let path = self.path(part.first_position);
        self.write(&path, part.bytes, bytes)
            .map_err(|e| at(&path, &e))?;
        if part.bytes > 0 {
            self.parts.pop();
        }
        self.parts.push(Part {
            bytes: part.bytes + bytes.len() as u64,
            ..part
        });
        Ok(())
    }

    fn write(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(offset == 0)
            .truncate(offset == 0)
            .open(path)?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()?;
        if offset == 0 {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Oldest first.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Removes files of this kind that are not among ours.
    pub(crate) fn remove_others(&self) -> io::Result<()> {
        for part in self.others()? {
            let path = self.path(part.first_position);
            fs::remove_file(&path).map_err(|e| at(&path, &e))?;
        }
        Ok(())
    }

    /// Files of this kind that do not count.
    fn others(&self) -> io::Result<Vec<Part>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| at(&self.dir, &e))? {
            let name = entry.map_err(|e| at(&self.dir, &e))?.file_name();
            let position = name
                .to_str()
                .and_then(|name| name.strip_prefix(self.name)?.strip_prefix('-'))
                .and_then(|rest| rest.strip_suffix(".bin")?.parse::<u64>().ok());
            if let Some(first_position) = position
                && !self
                    .parts
                    .iter()
                    .any(|p| p.first_position == first_position)
            {
                found.push(Part {
                    first_position,
                    bytes: 0,
                });
            }
        }
        Ok(found)
    }

    pub(crate) fn path(&self, first_position: u64) -> PathBuf {
        self.dir
            .join(format!("{}-{first_position:020}.bin", self.name))
    }
}

fn read_behind(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, parts: &[Part]) -> AppendFiles {
        AppendFiles::new(dir, "some", 10, parts.to_vec())
    }

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_stands_behind_the_flip_is_told_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut some = files(dir.path(), &[]);
        some.append(1, b"123456").unwrap();
        let flipped = some.parts().to_vec();
        some.append(7, b"more").unwrap();
        let again = files(dir.path(), &flipped);
        assert_eq!(again.behind().unwrap(), b"more");
        again.settle().unwrap();
        assert_eq!(again.behind().unwrap(), b"");
        assert_eq!(fs::read(again.path(1)).unwrap(), b"123456");
    }

    #[test]
    fn full_file_is_followed_by_a_new_one_which_goes_when_it_never_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut some = files(dir.path(), &[]);
        some.append(1, b"1234567890").unwrap();
        let flipped = some.parts().to_vec();
        some.append(11, b"new").unwrap();
        assert_eq!(names(dir.path()), 2);
        let again = files(dir.path(), &flipped);
        assert_eq!(again.behind().unwrap(), b"new");
        again.settle().unwrap();
        assert_eq!(names(dir.path()), 1);
    }

    #[test]
    fn file_that_is_short_or_missing_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut some = files(dir.path(), &[]);
        some.append(1, b"123456").unwrap();
        fs::write(some.path(1), b"12345").unwrap();
        let error = some.settle().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        fs::remove_file(some.path(1)).unwrap();
        let error = some.settle().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
