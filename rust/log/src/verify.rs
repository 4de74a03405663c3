//! Checks a log without changing or locking it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::chain::{Chain, Segment, SegmentId};
use crate::error::{Damage, LogError, What};
use crate::file_system::FileSystem;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::inspect::LISTINGS_MAX;
use crate::reader::scan_error;
use crate::readers;
use crate::recovery::{Cut, read_header};
use crate::scanner::{ScanError, Scanner};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments of the log.
    pub segments: u64,
    /// Valid batches.
    pub batches: u64,
    /// Commands in them.
    pub commands: u64,
    /// First position of the first segment; 0 where there is none, or its header is damaged.
    pub first_position: u64,
    /// Position of the last valid command.
    pub last_position: u64,
    /// All damage, in the order of the log. Empty: the log is whole.
    pub damage: Vec<Damage>,
    /// Half a batch at the end, which the next opening will cut off. In a log that is being written it may be
    /// the batch in flight.
    pub torn: Option<Cut>,
    /// Bytes behind sealed lengths and files of overtaken writers: they do not count.
    pub ignored: Vec<PathBuf>,
    /// Partition and layout generation in the headers: one pair in a log that nobody has mixed.
    pub layouts: BTreeSet<(u32, u64)>,
}

/// Reads the whole log in `dir` and lists all damage. Fails only where it cannot read, or meets a newer format.
pub fn verify(fs: &dyn FileSystem, dir: &Path) -> Result<Report, LogError> {
    let mut listings = 1;
    loop {
        match verify_listed(fs, dir) {
            // A server removed a segment meanwhile.
            Err(LogError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && listings < LISTINGS_MAX => {}
            verified => return verified,
        }
        listings += 1;
    }
}

fn verify_listed(fs: &dyn FileSystem, dir: &Path) -> Result<Report, LogError> {
    let names = fs.list(dir).map_err(LogError::io("list", dir))?;
    let mut report = Report::default();
    match readers::read(fs, dir) {
        Err(LogError::Damaged(damage)) => report.damage.push(damage),
        other => drop(other?),
    }
    let chain = match Chain::of(dir, &names) {
        Ok(chain) => chain,
        Err(damage) => {
            report.damage.push(damage);
            return Ok(report);
        }
    };
    report
        .ignored
        .extend(chain.superseded.iter().map(|id| id.path(dir)));
    report.segments = chain.segments.len() as u64;
    let mut headers = Vec::with_capacity(chain.segments.len());
    for &id in &chain.segments {
        headers.push(header_of(fs, dir, id, &mut report)?);
    }
    let mut expected = None;
    if let Some(Some(first)) = headers.first() {
        report.first_position = first.base_position;
    }
    for (index, &id) in chain.segments.iter().enumerate() {
        let Some(header) = headers[index] else {
            expected = None;
            continue;
        };
        if let Some(expected) = expected
            && expected != header.base_position
        {
            let found = header.base_position;
            let what = What::BasePosition { expected, found };
            report.damage.push(Damage {
                file: id.path(dir),
                offset: 0,
                what,
            });
        }
        let sealed = match headers.get(index + 1) {
            Some(Some(next)) => Length::Sealed(next.predecessor_length),
            Some(None) => Length::Unknown,
            None => Length::Open,
        };
        expected = scan(fs, dir, id, &header, &sealed, &mut report)?;
    }
    Ok(report)
}

/// How long a segment is meant to be.
enum Length {
    Sealed(u64),
    /// The last segment.
    Open,
    /// The successor's header is damaged.
    Unknown,
}

fn header_of(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    report: &mut Report,
) -> Result<Option<SegmentHeader>, LogError> {
    let path = id.path(dir);
    let file = fs.open_read(&path).map_err(LogError::io("open", &path))?;
    match read_header(file.as_ref(), &path, id) {
        Ok(header) => {
            report
                .layouts
                .insert((header.partition, header.layout_generation));
            Ok(Some(header))
        }
        Err(LogError::Damaged(damage)) => {
            report.damage.push(damage);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Scans one segment, going on behind damage; returns the position after its last batch, if that is known.
fn scan(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    header: &SegmentHeader,
    length: &Length,
    report: &mut Report,
) -> Result<Option<u64>, LogError> {
    let path = id.path(dir);
    let file = fs.open_read(&path).map_err(LogError::io("open", &path))?;
    let found = file.length().map_err(LogError::io("read", &path))?;
    let mut short = false;
    let counts = match *length {
        Length::Sealed(sealed) if found < sealed => {
            short = true;
            let what = What::Short { sealed };
            report.damage.push(Damage {
                file: path.clone(),
                offset: found,
                what,
            });
            found
        }
        Length::Sealed(sealed) => {
            if found > sealed {
                report.ignored.push(path.clone());
            }
            sealed.max(SEGMENT_HEADER_BYTES as u64)
        }
        Length::Open | Length::Unknown => found,
    };
    let segment = Segment {
        id,
        base_position: header.base_position,
        length: counts,
        salt: header.salt,
    };
    let mut scanner = Scanner::new(file, &segment, Vec::new());
    loop {
        let what = match scanner.advance() {
            Ok(true) => {
                report.batches += 1;
                report.commands += u64::from(scanner.current().count);
                report.last_position = scanner.next_position() - 1;
                continue;
            }
            Ok(false) => return Ok((!short).then(|| scanner.next_position())),
            Err(ScanError::Damage(what)) => what,
            Err(error) => return Err(scan_error(dir, &segment, &scanner, error)),
        };
        let offset = scanner.offset();
        let behind = scanner
            .valid_behind()
            .map_err(LogError::io("read", &path))?;
        match (behind, what, length) {
            (None, What::Batch, Length::Open) => {
                report.torn = Some(Cut {
                    file: path,
                    offset,
                    bytes: counts - offset,
                });
                return Ok(None);
            }
            // Cut by the file's end, which has been reported already.
            (None, What::Batch, Length::Sealed(sealed)) if found < *sealed => return Ok(None),
            (Some((at, _)), What::Batch, _) => {
                let what = What::ValidBehind { at };
                report.damage.push(Damage {
                    file: path.clone(),
                    offset,
                    what,
                });
            }
            _ => report.damage.push(Damage {
                file: path.clone(),
                offset,
                what,
            }),
        }
        match behind {
            Some((at, position)) => scanner.resume_at(at, position),
            None => return Ok(None),
        }
    }
}
