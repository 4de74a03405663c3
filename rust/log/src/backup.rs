//! Copies a log while a server may be writing it.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::chain::{Segment, SegmentId};
use crate::error::{Damage, LogError, What};
use crate::file_system::{File, FileSystem};
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::inspect::listed;
use crate::readers;
use crate::scanner::{ScanError, Scanner};
use crate::writer::create_segment;

/// Copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What [`copy`] copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Segments.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Position of the first command in them; one past the last where there is none.
    pub first_position: u64,
    /// Position of the last command in them.
    pub last_position: u64,
}

/// Copies every batch that is in the log at `from` into the directory `to`, durably.
///
/// The copy is the log as a crash at this moment might have left it, so it opens. Every batch is
/// verified on the way; damage fails the copy. `generation` replaces the layout generation, which
/// makes clients' sync tokens from before worthless. Segments that the server removes meanwhile are
/// left out: the copy begins behind them.
pub fn copy(
    fs: &dyn FileSystem,
    from: &Path,
    to: &Path,
    generation: Option<u64>,
) -> Result<Copied, LogError> {
    fs.create_dir_all(to).map_err(LogError::io("create", to))?;
    // Before the segments: positions of readers only grow.
    readers::copy(fs, from, to)?;
    let (chain, headers) = listed(fs, from)?;
    let mut copied = Copied::default();
    // The newest first, for the oldest may go meanwhile.
    for (index, (&id, header)) in chain.segments.iter().zip(&headers).enumerate().rev() {
        let sealed = headers.get(index + 1).map(|next| next.predecessor_length);
        let path = id.path(from);
        let file = match fs.open_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && sealed.is_some() => break,
            opened => opened.map_err(LogError::io("open", &path))?,
        };
        let (length, next_position) = valid_length(from, id, header, sealed, Arc::clone(&file))?;
        let written = SegmentHeader {
            layout_generation: generation.unwrap_or(header.layout_generation),
            ..*header
        };
        let target = create_segment(fs, to, id, &written).map_err(|error| LogError::Io {
            operation: "create",
            file: id.path(to),
            source: error.into_inner(),
        })?;
        copy_bytes(
            file.as_ref(),
            target.as_ref(),
            SEGMENT_HEADER_BYTES as u64..length,
        )
        .and_then(|()| target.sync_all())
        .map_err(LogError::io("write", &id.path(to)))?;
        copied.segments += 1;
        copied.bytes += length;
        copied.first_position = header.base_position;
        copied.last_position = copied.last_position.max(next_position - 1);
    }
    fs.sync_dir(to).map_err(LogError::io("sync", to))?;
    Ok(copied)
}

/// Begins a log, durably, whose first command will have `position`: what came before is elsewhere.
pub fn begin(
    fs: &dyn FileSystem,
    dir: &Path,
    partition: u32,
    layout_generation: u64,
    position: u64,
) -> Result<(), LogError> {
    fs.create_dir_all(dir)
        .map_err(LogError::io("create", dir))?;
    let id = SegmentId { index: 1, epoch: 1 };
    let header = SegmentHeader {
        partition,
        layout_generation,
        epoch: id.epoch,
        base_position: position,
        predecessor_length: 0,
        salt: 0,
    };
    let created = create_segment(fs, dir, id, &header);
    created.map(drop).map_err(|error| LogError::Io {
        operation: "create",
        file: id.path(dir),
        source: error.into_inner(),
    })
}

/// Where the valid batches of a segment end, and the position that follows them.
fn valid_length(
    dir: &Path,
    id: SegmentId,
    header: &SegmentHeader,
    sealed: Option<u64>,
    file: Arc<dyn File>,
) -> Result<(u64, u64), LogError> {
    let path = id.path(dir);
    let found = file.length().map_err(LogError::io("read", &path))?;
    let length = sealed.unwrap_or(found);
    let segment = Segment {
        id,
        base_position: header.base_position,
        length,
        salt: header.salt,
    };
    let mut scanner = Scanner::new(file, &segment, Vec::new());
    let what = loop {
        match scanner.advance() {
            Ok(true) => {}
            Ok(false) => return Ok((length, scanner.next_position())),
            Err(ScanError::Damage(what)) => break what,
            Err(ScanError::Io(source)) => return Err(LogError::io("read", &path)(source)),
        }
    };
    let offset = scanner.offset();
    let what = match what {
        What::Batch | What::Short { .. } if sealed.is_none() => {
            // The batch in flight, or one torn by a crash; with a valid one behind it, neither.
            let behind = scanner
                .valid_behind()
                .map_err(LogError::io("read", &path))?;
            match behind {
                None => return Ok((offset, scanner.next_position())),
                Some((at, _)) => What::ValidBehind { at },
            }
        }
        what => what,
    };
    Err(Damage {
        file: path,
        offset,
        what,
    }
    .into())
}

fn copy_bytes(from: &dyn File, to: &dyn File, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = range.start;
    while at < range.end {
        let room = usize::try_from(range.end - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let Some(wanted) = buffer.get_mut(..room) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let read = from.read_at(at, wanted)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut written = 0;
        while written < read {
            let part = buffer.get(written..read).unwrap_or_default();
            match to.write_at(at + written as u64, &[IoSlice::new(part)])? {
                0 => return Err(io::ErrorKind::StorageFull.into()),
                bytes => written += bytes,
            }
        }
        at += read as u64;
    }
    Ok(())
}
