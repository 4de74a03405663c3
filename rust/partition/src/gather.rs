//! What commits changed since the archive last took something, and how far the archive has come.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::archive::{Archive, ArchivedKey, ArchivedRow, Chunk, Reached, StateKey, StateValue};
use crate::record::Record;

/// A chunk that was taken and is not yet known to be archived.
#[derive(Debug, Clone, Copy)]
struct Taken {
    position: u64,
    row_bytes: usize,
}

/// The chunk being gathered. Nothing is gathered without an archive.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    archive: Option<Arc<dyn Archive>>,
    chunk: Chunk,
    /// Oldest first.
    taken: VecDeque<Taken>,
    taken_bytes: usize,
    /// The last position known to be archived.
    archived: u64,
    /// Time of the last batch with a command, milliseconds since 1970.
    time_ms: u64,
}

impl Gather {
    /// Gathers what follows the position that `archive` has reached.
    pub(crate) fn new(archive: Arc<dyn Archive>, reached: Reached) -> Self {
        Self {
            archive: Some(archive),
            chunk: Chunk {
                after: reached.position,
                ..Chunk::default()
            },
            taken: VecDeque::new(),
            taken_bytes: 0,
            archived: reached.position,
            time_ms: reached.time_ms,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.archive.is_some()
    }

    pub(crate) fn archive(&self) -> Option<&dyn Archive> {
        self.archive.as_deref()
    }

    /// The last position in a chunk that was taken, or that the archive had from the beginning.
    pub(crate) fn after(&self) -> u64 {
        self.chunk.after
    }

    pub(crate) fn archived(&self) -> u64 {
        self.archived
    }

    pub(crate) fn chunk_row_bytes(&self) -> usize {
        self.chunk.row_bytes
    }

    pub(crate) fn unarchived_bytes(&self) -> usize {
        self.chunk.row_bytes + self.taken_bytes
    }

    #[inline]
    pub(crate) fn row(&mut self, row: ArchivedRow) {
        self.chunk.row_bytes += row.bytes.len();
        self.chunk.rows.push(row);
    }

    #[inline]
    pub(crate) fn key(&mut self, record: &Record, made_ms: u64) {
        self.chunk.keys.push(ArchivedKey {
            key_high: record.key_high,
            key_low: record.key_low,
            payload: record.payload,
            seq: record.seq,
            message_id: record.message_id,
            position: record.position,
            time_ms: record.time_ms,
            made_ms,
        });
    }

    #[inline]
    pub(crate) fn number(&mut self, key: StateKey, number: u64) {
        self.chunk.state.push((key, StateValue::Number(number)));
    }

    pub(crate) fn bytes(&mut self, key: StateKey, bytes: Box<[u8]>) {
        self.chunk.state.push((key, StateValue::Bytes(bytes)));
    }

    pub(crate) fn removed(&mut self, key: StateKey) {
        self.chunk.state.push((key, StateValue::Removed));
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    pub(crate) fn batch_ended(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
    }

    /// Hands the chunk over and starts the next one, with room for as much.
    pub(crate) fn take(&mut self, position: u64, message_id: u64, keys_from: u64) -> Chunk {
        let next = Chunk {
            after: position,
            rows: Vec::with_capacity(self.chunk.rows.len()),
            keys: Vec::with_capacity(self.chunk.keys.len()),
            state: Vec::with_capacity(self.chunk.state.len()),
            ..Chunk::default()
        };
        let mut chunk = core::mem::replace(&mut self.chunk, next);
        chunk.reached = Reached {
            position,
            time_ms: self.time_ms,
            message_id,
            keys_from,
        };
        let row_bytes = chunk.row_bytes;
        self.taken_bytes += row_bytes;
        self.taken.push_back(Taken {
            position,
            row_bytes,
        });
        chunk
    }

    /// Notes that the archive has everything up to `position`.
    pub(crate) fn note_archived(&mut self, position: u64) {
        while let Some(taken) = self
            .taken
            .front()
            .filter(|taken| taken.position <= position)
        {
            self.archived = taken.position;
            self.taken_bytes -= taken.row_bytes;
            self.taken.pop_front();
        }
    }
}
