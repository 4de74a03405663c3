//! Which files of a directory are the log: names, their order, and what an overtaken writer left behind.
//!
//! A segment's name is `<index>-<epoch>.log`, both decimal. An opener continues behind the last segment with
//! a higher epoch, so of two files with one index the one with the higher epoch counts, and files of a lower
//! epoch than one before them were created by a writer that had been overtaken.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Damage, What};
use crate::file_system::File;

/// Name of the lock file.
pub(crate) const LOCK_NAME: &str = "lock";
const SUFFIX: &str = ".log";
const SUFFIX_UNFINISHED: &str = ".log.new";

/// Index and epoch of a segment, which make its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentId {
    pub(crate) index: u64,
    pub(crate) epoch: u64,
}

impl SegmentId {
    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:010}-{:010}{SUFFIX}", self.index, self.epoch))
    }

    /// Where the segment is written until its header is durable.
    pub(crate) fn path_unfinished(self, dir: &Path) -> PathBuf {
        dir.join(format!(
            "{:010}-{:010}{SUFFIX_UNFINISHED}",
            self.index, self.epoch
        ))
    }

    fn parse(name: &str, suffix: &str) -> Option<Self> {
        let (index, epoch) = name.strip_suffix(suffix)?.split_once('-')?;
        Some(Self {
            index: index.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    }
}

/// The segments of a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The log, in order, with consecutive indexes.
    pub(crate) segments: Vec<SegmentId>,
    /// Segments of overtaken writers.
    pub(crate) superseded: Vec<SegmentId>,
    /// Segments whose creation did not finish.
    pub(crate) unfinished: Vec<SegmentId>,
}

impl Chain {
    pub(crate) fn of(dir: &Path, names: &[String]) -> Result<Self, Damage> {
        let mut chain = Self::default();
        let mut ids: Vec<SegmentId> = names
            .iter()
            .filter_map(|name| SegmentId::parse(name, SUFFIX))
            .collect();
        chain.unfinished = names
            .iter()
            .filter_map(|name| SegmentId::parse(name, SUFFIX_UNFINISHED))
            .collect();
        // By index, the highest epoch of each first.
        ids.sort_unstable_by_key(|id| (id.index, u64::MAX - id.epoch));
        for id in ids {
            match chain.segments.last() {
                Some(last) if id.index == last.index || id.epoch < last.epoch => {
                    chain.superseded.push(id);
                }
                Some(last) if id.index > last.index + 1 => {
                    let missing = SegmentId {
                        index: last.index + 1,
                        epoch: last.epoch,
                    };
                    return Err(Damage {
                        file: missing.path(dir),
                        offset: 0,
                        what: What::SegmentMissing,
                    });
                }
                _ => chain.segments.push(id),
            }
        }
        Ok(chain)
    }
}

/// The highest epoch that any file name carries, 0 when there is none.
pub(crate) fn highest_epoch(names: &[String]) -> u64 {
    names
        .iter()
        .filter_map(|name| {
            SegmentId::parse(name, SUFFIX).or_else(|| SegmentId::parse(name, SUFFIX_UNFINISHED))
        })
        .map(|id| id.epoch)
        .max()
        .unwrap_or(0)
}

/// What readers need to know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) base_position: u64,
    /// Bytes that count: sealed, or durable so far.
    pub(crate) length: u64,
    /// As in the header.
    pub(crate) salt: u64,
}

/// The segments of an open log, shared by its writer and its readers.
pub(crate) struct SegmentList {
    inner: Mutex<Listed>,
}

struct Listed {
    segments: Vec<Segment>,
    last_position: u64,
    /// The last segment, which is written.
    last_file: Arc<dyn File>,
}

impl SegmentList {
    /// `last_file` is the last of `segments`.
    pub(crate) fn new(
        segments: Vec<Segment>,
        last_position: u64,
        last_file: Arc<dyn File>,
    ) -> Self {
        Self {
            inner: Mutex::new(Listed {
                segments,
                last_position,
                last_file,
            }),
        }
    }

    pub(crate) fn push(&self, segment: Segment, file: Arc<dyn File>) {
        self.with(|listed| {
            listed.segments.push(segment);
            listed.last_file = file;
        });
    }

    pub(crate) fn last_file(&self) -> Arc<dyn File> {
        self.with(|listed| Arc::clone(&listed.last_file))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.with(|listed| listed.segments.iter().map(|segment| segment.length).sum())
    }

    /// The oldest segment, if no command behind `floor` is in it and the others have `keep_bytes`.
    /// Never the last.
    pub(crate) fn removable(&self, floor: u64, keep_bytes: u64) -> Option<Segment> {
        self.with(|listed| {
            let [oldest, next, ..] = &listed.segments[..] else {
                return None;
            };
            let others: u64 = listed.segments[1..].iter().map(|other| other.length).sum();
            (next.base_position <= floor.saturating_add(1) && others >= keep_bytes)
                .then_some(*oldest)
        })
    }

    /// The oldest segment is not there any more.
    pub(crate) fn forget(&self, id: SegmentId) {
        self.with(|listed| listed.segments.retain(|segment| segment.id != id));
    }

    /// The last segment now counts `length` bytes, up to `last_position`.
    pub(crate) fn advance(&self, length: u64, last_position: u64) {
        self.with(|listed| {
            if let Some(last) = listed.segments.last_mut() {
                last.length = length;
            }
            listed.last_position = last_position;
        });
    }

    pub(crate) fn last_position(&self) -> u64 {
        self.with(|listed| listed.last_position)
    }

    /// First position the log holds, and the segments from the one that holds `position` on; none beyond the
    /// last position.
    pub(crate) fn from(&self, position: u64) -> (u64, Vec<Segment>) {
        self.with(|listed| {
            let segments = &listed.segments;
            let behind = segments.partition_point(|segment| segment.base_position <= position);
            let oldest = segments.first().map_or(1, |segment| segment.base_position);
            let from = if position > listed.last_position {
                segments.len()
            } else {
                behind.saturating_sub(1)
            };
            (oldest, segments[from..].to_vec())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Listed) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::FileSystem;
    use crate::sim::SimFs;

    fn chain(names: &[&str]) -> Result<Chain, Damage> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Chain::of(Path::new("/log"), &names)
    }

    fn ids(pairs: &[(u64, u64)]) -> Vec<SegmentId> {
        pairs
            .iter()
            .map(|&(index, epoch)| SegmentId { index, epoch })
            .collect()
    }

    #[test]
    fn names_survive_and_strangers_are_left_out() {
        let id = SegmentId {
            index: 12,
            epoch: 345,
        };
        assert_eq!(
            id.path(Path::new("/log")),
            Path::new("/log/0000000012-0000000345.log")
        );
        let found = chain(&[
            "lock",
            "notes.log",
            "0000000012-0000000345.log",
            "13-345.log.new",
        ])
        .unwrap();
        assert_eq!(found.segments, [id]);
        assert_eq!(found.unfinished, ids(&[(13, 345)]));
    }

    #[test]
    fn segments_that_an_overtaken_writer_adds_are_superseded() {
        let found = chain(&[
            "1-1.log", "2-1.log", "3-2.log", "3-1.log", "4-1.log", "9-1.log",
        ])
        .unwrap();
        assert_eq!(found.segments, ids(&[(1, 1), (2, 1), (3, 2)]));
        assert_eq!(found.superseded, ids(&[(3, 1), (4, 1), (9, 1)]));
    }

    #[test]
    fn gap_between_segments_is_damage() {
        let damage = chain(&["1-1.log", "3-1.log"]).unwrap_err();
        assert_eq!(damage.what, What::SegmentMissing);
        assert_eq!(damage.file, Path::new("/log/0000000002-0000000001.log"));
    }

    fn list(segments: Vec<Segment>, last_position: u64) -> SegmentList {
        let fs = SimFs::new();
        fs.create_dir_all(Path::new("/log")).unwrap();
        let file = fs.create(Path::new("/log/some")).unwrap();
        SegmentList::new(segments, last_position, file)
    }

    #[test]
    fn only_the_oldest_segment_is_removable_and_never_the_last() {
        let segment = |index, base_position| Segment {
            id: SegmentId { index, epoch: 1 },
            base_position,
            length: 100,
            salt: 0,
        };
        let list = list(vec![segment(1, 5), segment(2, 9), segment(3, 12)], 20);
        let removable = |floor, keep| list.removable(floor, keep).map(|s| s.id.index);
        assert_eq!(removable(7, 0), None, "8 is in it");
        assert_eq!(removable(8, 0), Some(1));
        assert_eq!(removable(u64::MAX, 200), Some(1));
        assert_eq!(removable(u64::MAX, 201), None);
        list.forget(SegmentId { index: 1, epoch: 1 });
        assert_eq!((list.bytes(), list.from(9).0), (200, 9));
        list.forget(SegmentId { index: 2, epoch: 1 });
        assert_eq!(removable(u64::MAX, 0), None);
    }

    #[test]
    fn reader_gets_the_segments_from_the_one_with_its_position() {
        let segment = |index, base_position| Segment {
            id: SegmentId { index, epoch: 1 },
            base_position,
            length: 64,
            salt: 0,
        };
        let list = list(vec![segment(1, 5), segment(2, 9), segment(3, 9)], 9);
        let indexes = |position| {
            let (oldest, found) = list.from(position);
            assert_eq!(oldest, 5);
            found
                .iter()
                .map(|segment| segment.id.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(indexes(5), [1, 2, 3]);
        assert_eq!(indexes(8), [1, 2, 3]);
        assert_eq!(indexes(9), [3]);
        assert_eq!(indexes(10), [0; 0]);
    }
}
