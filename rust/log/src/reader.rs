//! Reading what is durable, segment by segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::BatchView;
use crate::chain::{Segment, SegmentList};
use crate::error::{Damage, LogError, What};
use crate::file_system::FileSystem;
use crate::scanner::{ScanError, Scanner};

/// Reads a log beside its writer, from any thread. Sees durable batches only.
#[derive(Clone)]
pub struct LogReader {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    segments: Arc<SegmentList>,
}

impl LogReader {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, dir: PathBuf, segments: Arc<SegmentList>) -> Self {
        Self { fs, dir, segments }
    }

    /// Position of the last durable command, 0 when there is none.
    pub fn last_position(&self) -> u64 {
        self.segments.last_position()
    }

    /// First position that the log still has; one past the last where it is empty.
    pub fn first_position(&self) -> u64 {
        self.segments.from(u64::MAX).0
    }

    /// The batches from the one that holds `position` up to what is durable now. The first batch may begin
    /// below `position`. Beyond the end there are none.
    pub fn read_from(&self, position: u64) -> Result<BatchReader, LogError> {
        let position = position.max(1);
        let (oldest, segments) = self.segments.from(position);
        if position < oldest {
            return Err(LogError::Missing {
                wanted: position,
                oldest,
            });
        }
        Ok(BatchReader {
            fs: Arc::clone(&self.fs),
            dir: self.dir.clone(),
            segments: segments.into_iter(),
            open: None,
            buffer: Vec::new(),
            next_position: None,
            from: position,
        })
    }
}

/// Goes through batches in order; made by [`LogReader::read_from`].
pub struct BatchReader {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    segments: std::vec::IntoIter<Segment>,
    open: Option<(Segment, Scanner)>,
    buffer: Vec<u8>,
    /// Where the next segment must begin, once one was read.
    next_position: Option<u64>,
    from: u64,
}

impl BatchReader {
    /// The next batch, borrowed from the reader's buffer; `None` at the end. After an error the reader is of no
    /// further use.
    pub fn next_batch(&mut self) -> Result<Option<BatchView<'_>>, LogError> {
        while self.advance()? {
            let wanted = self
                .open
                .as_ref()
                .is_some_and(|(_, scanner)| scanner.next_position() > self.from);
            if wanted {
                return Ok(self.open.as_ref().map(|(_, scanner)| scanner.current()));
            }
        }
        Ok(None)
    }

    fn advance(&mut self) -> Result<bool, LogError> {
        loop {
            if let Some((segment, scanner)) = &mut self.open {
                match scanner.advance() {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(error) => return Err(scan_error(&self.dir, segment, scanner, error)),
                }
                self.next_position = Some(scanner.next_position());
            }
            if let Some((_, scanner)) = self.open.take() {
                self.buffer = scanner.into_buffer();
            }
            let Some(segment) = self.segments.next() else {
                return Ok(false);
            };
            if let Some(expected) = self.next_position
                && expected != segment.base_position
            {
                let found = segment.base_position;
                return Err(LogError::Damaged(Damage {
                    file: segment.id.path(&self.dir),
                    offset: 0,
                    what: What::BasePosition { expected, found },
                }));
            }
            let path = segment.id.path(&self.dir);
            let file = self
                .fs
                .open_read(&path)
                .map_err(LogError::io("open", &path))?;
            let scanner = Scanner::new(file, &segment, std::mem::take(&mut self.buffer));
            self.open = Some((segment, scanner));
        }
    }
}

pub(crate) fn scan_error(
    dir: &Path,
    segment: &Segment,
    scanner: &Scanner,
    error: ScanError,
) -> LogError {
    let file = segment.id.path(dir);
    match error {
        ScanError::Io(source) => LogError::Io {
            operation: "read",
            file,
            source,
        },
        ScanError::Damage(what) => LogError::Damaged(Damage {
            file,
            offset: scanner.offset(),
            what,
        }),
    }
}
