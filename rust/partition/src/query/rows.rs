//! Rows of one conversation, from memory or, where they left it, from the archive.

use core::ops::Range;
use std::io;

use crate::archive::{Archive, ArchivedRow};
use crate::conversation::{Conversation, Row};
use crate::state::State;

/// The rows of a conversation wherever they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    index: u32,
    pub(crate) conversation: &'a Conversation,
    archive: Option<&'a dyn Archive>,
    /// When the rows are looked at, milliseconds since 1970.
    pub(crate) now_ms: u64,
    pub(super) first_expiry_ms: u64,
}

impl From<ArchivedRow> for Row {
    fn from(row: ArchivedRow) -> Self {
        Self {
            bytes: row.bytes,
            position: row.position,
            ordinal: row.ordinal,
            kind: row.kind,
        }
    }
}

impl State {
    /// The rows as they are stored, or as they are shown at a time. It is not before that of the
    /// last batch, so that what has expired stays so when the clock is set back.
    pub(crate) fn rows(&self, index: u32, now_ms: u64) -> Rows<'_> {
        Rows {
            index,
            conversation: self.conversation(index),
            archive: self.gather.archive(),
            now_ms: now_ms.max(self.time_ms),
            first_expiry_ms: self.first_expiry_ms,
        }
    }
}

impl<'a> Rows<'a> {
    /// The row of a number from 1 to the head, as it is stored; as are the others.
    pub(crate) fn row(&self, seq: u64) -> io::Result<Row> {
        if let Some(row) = self.conversation.row(seq) {
            return Ok(row.clone());
        }
        let row = self.archive()?.row(self.index, seq)?;
        row.map(Row::from).ok_or_else(|| missing(self.index, seq))
    }

    /// Messages up to and including number `seq`, which is clamped to the head.
    pub(crate) fn ordinal(&self, seq: u64) -> io::Result<u64> {
        let before = self.conversation.before();
        let ordinal = if seq >= self.conversation.head() {
            self.conversation.head_ordinal()
        } else if let Some(row) = self.conversation.row(seq) {
            row.ordinal
        } else if seq == before.seq {
            before.ordinal
        } else if seq == 0 {
            0
        } else {
            self.row(seq)?.ordinal
        };
        Ok(u64::from(ordinal))
    }

    /// The first number whose row has a position above `position`; head + 1 if none has.
    pub(crate) fn first_after(&self, position: u64) -> io::Result<u64> {
        let before = self.conversation.before();
        if self.conversation.head_position() <= position {
            return Ok(self.conversation.head() + 1);
        }
        if before.position <= position {
            return Ok(self.conversation.first_after_in_memory(position));
        }
        if position == 0 {
            return Ok(1);
        }
        // Most ask for what is new: from the newest archived row back in growing steps, then
        // between the last two of them.
        let (mut below, mut above, mut step) = (0, before.seq, 1);
        while above - below > 1 {
            let probe = if below == 0 && above > step {
                above - step
            } else {
                u64::midpoint(below, above)
            };
            if self.row(probe)?.position <= position {
                below = probe;
            } else {
                above = probe;
            }
            step *= 2;
        }
        Ok(above)
    }

    /// Rows with these numbers, none above the head, ascending until `each` returns false. What
    /// left memory is one read of the archive.
    pub(crate) fn ascending(
        &self,
        seqs: Range<u64>,
        each: &mut dyn FnMut(u64, &Row) -> bool,
    ) -> io::Result<()> {
        let in_memory = self.conversation.before().seq + 1;
        let archived = seqs.start..seqs.end.min(in_memory);
        let mut next = seqs.start;
        if !archived.is_empty() {
            let (end, mut goes_on) = (archived.end, true);
            self.archive()?.rows(self.index, archived, &mut |row| {
                if row.seq != next {
                    return false;
                }
                next += 1;
                goes_on = each(row.seq, &row.into());
                goes_on
            })?;
            if !goes_on {
                return Ok(());
            }
            if next != end {
                return Err(missing(self.index, next));
            }
        }
        for seq in next..seqs.end {
            let Some(row) = self.conversation.row(seq) else {
                return Err(missing(self.index, seq));
            };
            if !each(seq, row) {
                break;
            }
        }
        Ok(())
    }

    /// The same, descending.
    pub(crate) fn descending(
        &self,
        seqs: Range<u64>,
        each: &mut dyn FnMut(u64, &Row) -> bool,
    ) -> io::Result<()> {
        let in_memory = self.conversation.before().seq + 1;
        for seq in (seqs.start.max(in_memory)..seqs.end).rev() {
            let Some(row) = self.conversation.row(seq) else {
                return Err(missing(self.index, seq));
            };
            if !each(seq, row) {
                return Ok(());
            }
        }
        let archived = seqs.start..seqs.end.min(in_memory);
        if archived.is_empty() {
            return Ok(());
        }
        let (start, mut next, mut goes_on) = (archived.start, archived.end, true);
        self.archive()?
            .rows_back(self.index, archived, &mut |row| {
                if row.seq + 1 != next {
                    return false;
                }
                next = row.seq;
                goes_on = each(row.seq, &row.into());
                goes_on
            })?;
        if goes_on && next != start {
            return Err(missing(self.index, next - 1));
        }
        Ok(())
    }

    fn archive(&self) -> io::Result<&'a dyn Archive> {
        self.archive
            .ok_or_else(|| io::Error::other("rows left memory without an archive"))
    }
}

/// The archive lacks a row that it took.
pub(crate) fn missing(conversation: u32, seq: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the archive lacks row {seq} of conversation {conversation}"),
    )
}
