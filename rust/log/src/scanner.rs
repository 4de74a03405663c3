//! Reads the batches of one segment in order and verifies each.

use std::io;
use std::sync::Arc;

use crate::batch::{BatchView, commands_fill};
use crate::chain::Segment;
use crate::error::What;
use crate::file_system::File;
use crate::format::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, batch_bytes,
    batch_checksum_holds,
};

/// Read at once; large enough to hide the call, small enough to stay in the second-level cache.
const READ_BYTES: usize = 512 << 10;

/// Why a scan stopped before its end.
#[derive(Debug)]
pub(crate) enum ScanError {
    Io(io::Error),
    /// The batch at `Scanner::offset` is damaged.
    Damage(What),
}

/// Position within one segment file. After `advance` said true, `current` is the batch it stands on.
pub(crate) struct Scanner {
    file: Arc<dyn File>,
    epoch: u64,
    salt: u64,
    next_position: u64,
    /// Where the next batch begins.
    offset: u64,
    /// Bytes that count.
    length: u64,
    buffer: Vec<u8>,
    /// File offset of the buffer's first byte.
    buffer_offset: u64,
    filled: usize,
    /// The current batch within the buffer.
    current: std::ops::Range<usize>,
}

impl Scanner {
    /// Scans the bytes of a segment that count. `buffer` is only for reuse.
    pub(crate) fn new(file: Arc<dyn File>, segment: &Segment, buffer: Vec<u8>) -> Self {
        let offset = SEGMENT_HEADER_BYTES as u64;
        Self {
            file,
            epoch: segment.id.epoch,
            salt: segment.salt,
            next_position: segment.base_position,
            offset,
            length: segment.length,
            buffer,
            buffer_offset: offset,
            filled: 0,
            current: 0..0,
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn next_position(&self) -> u64 {
        self.next_position
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Goes to the next batch; false at the end. After an error it stays where it was.
    pub(crate) fn advance(&mut self) -> Result<bool, ScanError> {
        let left = self.length - self.offset;
        if left == 0 {
            return Ok(false);
        }
        if left < BATCH_HEADER_BYTES as u64 {
            return Err(ScanError::Damage(What::Batch));
        }
        let start = self.fill(BATCH_HEADER_BYTES)?;
        let bytes = match batch_bytes(&self.buffer[start..]) {
            Some(bytes) if bytes as u64 <= left => bytes,
            _ => return Err(ScanError::Damage(What::Batch)),
        };
        let start = self.fill(bytes)?;
        let batch = &self.buffer[start..start + bytes];
        let header = BatchHeader::decode(batch);
        if !batch_checksum_holds(batch, self.salt) || header.epoch != self.epoch {
            return Err(ScanError::Damage(What::Batch));
        }
        if header.first_position != self.next_position {
            return Err(ScanError::Damage(What::Position {
                expected: self.next_position,
                found: header.first_position,
            }));
        }
        if !commands_fill(&batch[BATCH_HEADER_BYTES..], header.count) {
            return Err(ScanError::Damage(What::Commands));
        }
        self.offset += bytes as u64;
        self.next_position += u64::from(header.count);
        self.current = start..start + bytes;
        Ok(true)
    }

    /// The batch that `advance` went to.
    pub(crate) fn current(&self) -> BatchView<'_> {
        let batch = &self.buffer[self.current.clone()];
        let header = BatchHeader::decode(batch);
        BatchView {
            epoch: header.epoch,
            first_position: header.first_position,
            time_ms: header.time_ms,
            fold_version: header.fold_version,
            flags: header.flags,
            count: header.count,
            payload: &batch[BATCH_HEADER_BYTES..],
        }
    }

    /// Offset of the first valid batch behind the present offset, wherever it begins, and its first position.
    pub(crate) fn valid_behind(&mut self) -> io::Result<Option<(u64, u64)>> {
        let mut rest = vec![0; (self.length - self.offset) as usize];
        let read = read_full(self.file.as_ref(), self.offset, &mut rest)?;
        rest.truncate(read);
        for start in 1..rest.len().saturating_sub(BATCH_HEADER_BYTES - 1) {
            let candidate = &rest[start..];
            let Some(bytes) = batch_bytes(candidate) else {
                continue;
            };
            // Cheap tests first: a payload rarely looks so, and checksums over every offset would be quadratic.
            let header = BatchHeader::decode(candidate);
            if bytes <= candidate.len()
                && header.epoch == self.epoch
                && header.count > 0
                && batch_checksum_holds(&candidate[..bytes], self.salt)
            {
                return Ok(Some((self.offset + start as u64, header.first_position)));
            }
        }
        Ok(None)
    }

    /// Goes on at a batch behind damage.
    pub(crate) fn resume_at(&mut self, offset: u64, position: u64) {
        self.offset = offset;
        self.next_position = position;
        self.buffer_offset = offset;
        self.filled = 0;
    }

    /// Makes `need` bytes from `offset` present and says where they begin in the buffer.
    fn fill(&mut self, need: usize) -> Result<usize, ScanError> {
        let start = (self.offset - self.buffer_offset) as usize;
        if self.filled >= start + need {
            return Ok(start);
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.buffer_offset = self.offset;
        self.filled -= start;
        if self.buffer.len() < need.max(READ_BYTES) {
            self.buffer.resize(need.max(READ_BYTES), 0);
        }
        while self.filled < need {
            let at = self.buffer_offset + self.filled as u64;
            let room = (self.buffer.len() - self.filled).min((self.length - at) as usize);
            let into = &mut self.buffer[self.filled..self.filled + room];
            match self.file.read_at(at, into).map_err(ScanError::Io)? {
                0 => {
                    return Err(ScanError::Damage(What::Short {
                        sealed: self.length,
                    }));
                }
                read => self.filled += read,
            }
        }
        Ok(0)
    }
}

/// Reads until the buffer is full or the file ends; says how many bytes came.
pub(crate) fn read_full(file: &dyn File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

const _: () = assert!(BATCH_PREFIX_BYTES < BATCH_HEADER_BYTES && BATCH_HEADER_BYTES < READ_BYTES);
