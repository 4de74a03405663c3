//! Opening a log: lock, scan, cut, seal, new epoch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::{Chain, LOCK_NAME, Segment, SegmentId, SegmentList, highest_epoch};
use crate::error::{Damage, LogError, What};
use crate::file_system::{File, FileSystem};
use crate::format::{FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::{Log, OpenOptions, Opened};
use crate::reader::{LogReader, scan_error};
use crate::readers::Readers;
use crate::scanner::{ScanError, Scanner, read_full};
use crate::writer::{SegmentWriter, Start, create_segment};
use imfast_faults::{Fault, on};

/// A torn write that was cut off the end of the log. No batch in it was ever reported as durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Its length now.
    pub offset: u64,
    /// Bytes that were cut off.
    pub bytes: u64,
}

pub(crate) fn open(
    fs: Arc<dyn FileSystem>,
    dir: &Path,
    options: OpenOptions,
) -> Result<Opened, LogError> {
    fs.create_dir_all(dir)
        .map_err(LogError::io("create", dir))?;
    let lock_path = dir.join(LOCK_NAME);
    let lock = fs.lock(&lock_path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => LogError::Locked {
            file: lock_path.clone(),
        },
        _ => LogError::Io {
            operation: "lock",
            file: lock_path.clone(),
            source,
        },
    })?;

    // Publish first, then look: an older writer that is still alive looks after it wrote.
    let before = fs.list(dir).map_err(LogError::io("list", dir))?;
    let published = lock
        .published()
        .map_err(LogError::io("read", &lock_path))?
        .unwrap_or(0);
    let epoch = highest_epoch(&before).max(published) + 1;
    lock.publish(epoch)
        .map_err(LogError::io("write", &lock_path))?;
    let names = fs.list(dir).map_err(LogError::io("list", dir))?;
    let chain = Chain::of(dir, &names)?;

    let readers = Arc::new(Readers::open(Arc::clone(&fs), dir)?);
    let headers = read_headers(fs.as_ref(), dir, &chain.segments)?;
    for (id, header) in chain.segments.iter().zip(&headers) {
        check_layout(&id.path(dir), header, &options)?;
    }
    let mut segments = sealed_segments(fs.as_ref(), dir, &chain.segments, &headers)?;
    let tail = match (chain.segments.last(), headers.last()) {
        (Some(&id), Some(header)) => Some(recover_tail(fs.as_ref(), dir, id, header)?),
        _ => None,
    };

    // An empty last segment is replaced rather than followed, so that restarts without work leave no files.
    let mut next = SegmentHeader {
        partition: options.partition,
        layout_generation: options.layout_generation,
        epoch,
        base_position: 1,
        predecessor_length: 0,
        salt: options.salt,
    };
    let mut index = 1;
    let mut obsolete = chain.superseded;
    let mut cut = None;
    if let (Some(tail), Some(last)) = (tail, headers.last()) {
        next.base_position = tail.next_position;
        index = tail.segment.id.index;
        if tail.segment.length == SEGMENT_HEADER_BYTES as u64 {
            next.predecessor_length = last.predecessor_length;
            obsolete.push(tail.segment.id);
        } else {
            next.predecessor_length = tail.segment.length;
            index += 1;
            segments.push(tail.segment);
        }
        cut = tail.cut;
    }
    let id = SegmentId { index, epoch };
    let file = create_segment(fs.as_ref(), dir, id, &next).map_err(|error| LogError::Io {
        operation: "create",
        file: id.path(dir),
        source: error.into_inner(),
    })?;
    segments.push(Segment {
        id,
        base_position: next.base_position,
        length: SEGMENT_HEADER_BYTES as u64,
        salt: next.salt,
    });
    // Never read again, whether or not the removal succeeds.
    for id in obsolete {
        let _ = fs.remove(&id.path(dir));
    }
    for id in chain.unfinished {
        let _ = fs.remove(&id.path_unfinished(dir));
    }

    let last_position = next.base_position - 1;
    let segments = Arc::new(SegmentList::new(segments, last_position, Arc::clone(&file)));
    let reader = LogReader::new(Arc::clone(&fs), dir.to_owned(), Arc::clone(&segments));
    let writer = SegmentWriter::new(Start {
        fs,
        dir: dir.to_owned(),
        lock,
        options,
        file,
        id,
        next_position: next.base_position,
        segments,
    });
    Ok(Opened {
        epoch,
        last_position,
        cut,
        log: Log::new(writer, reader, readers),
    })
}

/// The headers of all segments, each valid and of the epoch in its file's name.
pub(crate) fn read_headers(
    fs: &dyn FileSystem,
    dir: &Path,
    ids: &[SegmentId],
) -> Result<Vec<SegmentHeader>, LogError> {
    ids.iter()
        .map(|id| {
            let path = id.path(dir);
            let file = fs.open_read(&path).map_err(LogError::io("open", &path))?;
            read_header(file.as_ref(), &path, *id)
        })
        .collect()
}

pub(crate) fn read_header(
    file: &dyn File,
    path: &Path,
    id: SegmentId,
) -> Result<SegmentHeader, LogError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = read_full(file, 0, &mut bytes).map_err(LogError::io("read", path))?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.epoch == id.epoch => Ok(header),
        Err(HeaderFault::Newer(found)) => Err(LogError::NewerFormat {
            file: path.to_owned(),
            found,
            supported: FORMAT_VERSION,
        }),
        Ok(_) | Err(HeaderFault::Invalid) => Err(Damage {
            file: path.to_owned(),
            offset: 0,
            what: What::Header,
        }
        .into()),
    }
}

fn check_layout(
    path: &Path,
    header: &SegmentHeader,
    options: &OpenOptions,
) -> Result<(), LogError> {
    let pairs = [
        (
            "partition",
            u64::from(header.partition),
            u64::from(options.partition),
        ),
        (
            "layout generation",
            header.layout_generation,
            options.layout_generation,
        ),
    ];
    for (what, found, expected) in pairs {
        if found != expected {
            return Err(LogError::Foreign {
                file: path.to_owned(),
                what,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// All segments but the last, with the lengths their successors sealed.
fn sealed_segments(
    fs: &dyn FileSystem,
    dir: &Path,
    ids: &[SegmentId],
    headers: &[SegmentHeader],
) -> Result<Vec<Segment>, LogError> {
    let mut sealed = Vec::with_capacity(ids.len() + 1);
    for (index, pair) in headers.windows(2).enumerate() {
        let (id, length) = (ids[index], pair[1].predecessor_length);
        let path = id.path(dir);
        let file = fs.open_read(&path).map_err(LogError::io("open", &path))?;
        let found = file.length().map_err(LogError::io("read", &path))?;
        if found < length {
            let what = What::Short { sealed: length };
            return Err(Damage {
                file: path,
                offset: found,
                what,
            }
            .into());
        }
        if pair[1].base_position < pair[0].base_position || length < SEGMENT_HEADER_BYTES as u64 {
            return Err(Damage {
                file: ids[index + 1].path(dir),
                offset: 0,
                what: What::BasePosition {
                    expected: pair[0].base_position,
                    found: pair[1].base_position,
                },
            }
            .into());
        }
        sealed.push(Segment {
            id,
            base_position: pair[0].base_position,
            length,
            salt: pair[0].salt,
        });
    }
    Ok(sealed)
}

struct Tail {
    segment: Segment,
    next_position: u64,
    cut: Option<Cut>,
}

/// Makes the last segment durable as the disk has it, verifies every batch and cuts a torn one off.
fn recover_tail(
    fs: &dyn FileSystem,
    dir: &Path,
    id: SegmentId,
    header: &SegmentHeader,
) -> Result<Tail, LogError> {
    let path = id.path(dir);
    let file = fs.open_write(&path).map_err(LogError::io("open", &path))?;
    // Both before reading: what is verified must be what the disk holds, not what the cache believes.
    file.sync_all().map_err(LogError::io("fsync", &path))?;
    file.evict().map_err(LogError::io("evict", &path))?;
    let found = file.length().map_err(LogError::io("read", &path))?;
    let mut segment = Segment {
        id,
        base_position: header.base_position,
        length: found,
        salt: header.salt,
    };
    let mut scanner = Scanner::new(Arc::clone(&file), &segment, Vec::new());
    let mut cut = None;
    loop {
        match scanner.advance() {
            Ok(true) => {}
            Ok(false) => break,
            Err(ScanError::Damage(What::Batch)) if on(Fault::TornTailKept) => break,
            Err(ScanError::Damage(What::Batch)) => {
                let offset = scanner.offset();
                if let Some((at, _)) = scanner
                    .valid_behind()
                    .map_err(LogError::io("read", &path))?
                {
                    return Err(Damage {
                        file: path,
                        offset,
                        what: What::ValidBehind { at },
                    }
                    .into());
                }
                file.truncate(offset)
                    .map_err(LogError::io("truncate", &path))?;
                // Needs no sync of its own: the seal alone keeps the rest from being read.
                segment.length = offset;
                cut = Some(Cut {
                    file: path,
                    offset,
                    bytes: found - offset,
                });
                break;
            }
            Err(error) => return Err(scan_error(dir, &segment, &scanner, error)),
        }
    }
    Ok(Tail {
        segment,
        next_position: scanner.next_position(),
        cut,
    })
}
