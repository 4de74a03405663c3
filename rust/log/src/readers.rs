//! Who reads a log besides its archive, and how far each has come: a file `readers` beside the segments.
//!
//! ```text
//! imfast readers 1
//! <position> <name>
//! …
//! <CRC-32C of everything above, 8 hexadecimal digits>
//! ```
//!
//! A reader tells where it is only once it keeps that durably itself. The file may be behind, which
//! makes segments stay longer, never shorter; it is there so that a reader holds its segments also
//! while it does not run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Damage, LogError, What};
use crate::file_system::FileSystem;

pub(crate) const READERS_NAME: &str = "readers";
const UNFINISHED: &str = "readers.new";
const FIRST_LINE: &str = "imfast readers 1";
/// More than anybody has; a longer file is none of ours.
const BYTES_MAX: u64 = 1 << 20;

/// The named readers of one log.
pub struct Readers {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    unfinished: PathBuf,
    dir: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    positions: BTreeMap<String, u64>,
    /// What the file says.
    saved: BTreeMap<String, u64>,
}

impl Readers {
    /// The readers that the file in `dir` names; none without a file.
    pub(crate) fn open(fs: Arc<dyn FileSystem>, dir: &Path) -> Result<Self, LogError> {
        let saved = read(fs.as_ref(), dir)?;
        Ok(Self {
            fs,
            path: dir.join(READERS_NAME),
            unfinished: dir.join(UNFINISHED),
            dir: dir.to_owned(),
            known: Mutex::new(Known {
                positions: saved.clone(),
                saved,
            }),
        })
    }

    /// Makes a reader known, durably, before the first segment that it needs can go. One that was
    /// known stays where it was. Returns its position: everything up to there may go.
    ///
    /// # Errors
    /// A name that does not fit in a line, or a disk that refuses; the reader holds its segments
    /// until the end of this process all the same.
    pub fn register(&self, name: &str, position: u64) -> Result<u64, LogError> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            let what = io::Error::new(
                io::ErrorKind::InvalidInput,
                "a reader's name is 1 to 64 printable bytes",
            );
            return Err(LogError::io("write", &self.path)(what));
        }
        let position = *self
            .known()
            .positions
            .entry(name.to_owned())
            .or_insert(position);
        self.save()?;
        Ok(position)
    }

    /// A reader needs nothing up to `position` any more, also after a crash. It never goes back.
    pub fn passed(&self, name: &str, position: u64) {
        if let Some(known) = self.known().positions.get_mut(name) {
            *known = position.max(*known);
        }
    }

    /// A reader is gone for good.
    ///
    /// # Errors
    /// The disk refuses: it will be known again after a restart.
    pub fn forget(&self, name: &str) -> Result<(), LogError> {
        self.known().positions.remove(name);
        self.save()
    }

    /// Every reader with its position.
    pub fn positions(&self) -> Vec<(String, u64)> {
        let known = self.known();
        known
            .positions
            .iter()
            .map(|(name, at)| (name.clone(), *at))
            .collect()
    }

    /// Everybody has passed this position; the highest there is without readers.
    pub fn floor(&self) -> u64 {
        self.known()
            .positions
            .values()
            .copied()
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Writes the file, if it says something else.
    pub(crate) fn save(&self) -> Result<(), LogError> {
        let mut known = self.known();
        if known.positions == known.saved {
            return Ok(());
        }
        let text = encode(&known.positions);
        self.write(text.as_bytes())
            .map_err(LogError::io("write", &self.path))?;
        known.saved = known.positions.clone();
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        // One that a crash left.
        let _ = self.fs.remove(&self.unfinished);
        let file = self.fs.create(&self.unfinished)?;
        if file.write_at(0, &[IoSlice::new(bytes)])? != bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.sync_all()?;
        self.fs.rename(&self.unfinished, &self.path)?;
        self.fs.sync_dir(&self.dir)
    }

    /// Nothing that runs under this lock can panic half-way, so a poisoned one is still whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the file in `dir` says; nothing without one.
pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<BTreeMap<String, u64>, LogError> {
    let path = dir.join(READERS_NAME);
    let bytes = match read_bytes(fs, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(LogError::io("read", &path)(error)),
    };
    decode(&bytes).ok_or(LogError::Damaged(Damage {
        file: path,
        offset: 0,
        what: What::Readers,
    }))
}

/// Brings the file, if there is one, from `from` to `to`, durably but for its name.
pub(crate) fn copy(fs: &dyn FileSystem, from: &Path, to: &Path) -> Result<(), LogError> {
    let readers = read(fs, from)?;
    if readers.is_empty() {
        return Ok(());
    }
    let path = to.join(READERS_NAME);
    let text = encode(&readers);
    let written = || {
        let file = fs.create(&path)?;
        if file.write_at(0, &[IoSlice::new(text.as_bytes())])? != text.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.sync_all()
    };
    written().map_err(LogError::io("write", &path))
}

fn read_bytes(fs: &dyn FileSystem, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open_read(path)?;
    let mut bytes = vec![0; file.length()?.min(BYTES_MAX) as usize];
    let read = crate::scanner::read_full(file.as_ref(), 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn encode(positions: &BTreeMap<String, u64>) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    for (name, position) in positions {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{position} {name}");
    }
    let checksum = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "{checksum:08x}");
    text
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<String, u64>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let (body, checksum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = body.to_owned() + "\n";
    if checksum != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let reader = |line: &str| {
        let (position, name) = line.split_once(' ')?;
        Some((name.to_owned(), position.parse().ok()?))
    };
    lines.map(reader).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimFs;

    const DIR: &str = "/log";

    fn open(fs: &SimFs) -> Result<Readers, LogError> {
        fs.create_dir_all(Path::new(DIR)).expect("a directory");
        Readers::open(Arc::new(fs.clone()), Path::new(DIR))
    }

    #[test]
    fn floor_is_that_of_the_slowest_reader_and_survives_a_restart() {
        let fs = SimFs::new();
        let readers = open(&fs).expect("opens");
        assert_eq!(readers.floor(), u64::MAX);
        assert_eq!(readers.register("home", 4).expect("registers"), 4);
        assert_eq!(readers.register("push 2", 9).expect("registers"), 9);
        assert_eq!(readers.floor(), 4);
        readers.passed("home", 20);
        readers.passed("home", 11);
        readers.passed("nobody", 1);
        assert_eq!(readers.floor(), 9);
        readers.save().expect("saves");
        let again = open(&fs.kill()).expect("opens again");
        assert_eq!(again.register("home", 0).expect("known"), 20);
        assert_eq!(again.floor(), 9);
        again.forget("push 2").expect("forgets");
        assert_eq!(again.positions(), [("home".to_owned(), 20)]);
        assert_eq!(open(&fs.kill()).expect("opens").floor(), 20);
    }

    #[test]
    fn name_that_is_no_line_is_refused() {
        let readers = open(&SimFs::new()).expect("opens");
        for name in ["", "two\nlines", &"x".repeat(65)] {
            assert!(readers.register(name, 1).is_err(), "{name:?}");
        }
        assert_eq!(readers.floor(), u64::MAX);
    }

    #[test]
    fn file_with_any_flipped_bit_is_refused() {
        let fs = SimFs::new();
        open(&fs)
            .expect("opens")
            .register("home", 4)
            .expect("registers");
        let path = Path::new(DIR).join(READERS_NAME);
        let whole = read_bytes(&fs, &path).expect("reads");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let file = fs.open_write(&path).expect("opens");
            file.write_at(0, &[IoSlice::new(&bytes)]).expect("writes");
            assert!(matches!(open(&fs), Err(LogError::Damaged(_))), "bit {bit}");
        }
    }
}
