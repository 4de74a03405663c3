//! One conversation: its rows by number, its members.

use std::sync::Arc;

use crate::members::Members;
use crate::outcome::RowKind;

/// A committed row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) position: u64,
    /// Messages (not events) up to and including this row.
    pub(crate) ordinal: u32,
    pub(crate) kind: RowKind,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Direct {
        a: u32,
        b: u32,
    },
    Group {
        title: Arc<str>,
        open: bool,
        /// Nobody once the last member has left.
        owner: Option<u32>,
        /// Hash of the create command, to tell a retry from a conflict.
        create: u64,
    },
}

/// A conversation, which exists for queries as soon as it has a row.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) tenant: u32,
    pub(crate) shape: Shape,
    pub(crate) members: Members,
    /// Row of number n at n - 1.
    rows: Vec<Row>,
    /// Rows that the batch in flight adds.
    pub(crate) staged: u32,
}

impl Conversation {
    pub(crate) fn new(tenant: u32, shape: Shape) -> Self {
        Self {
            tenant,
            shape,
            members: Members::default(),
            rows: Vec::new(),
            staged: 0,
        }
    }

    /// The last committed number, 0 for a conversation that only the batch in flight knows.
    pub(crate) fn head(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The last number with the batch in flight.
    pub(crate) fn staged_head(&self) -> u64 {
        self.head() + u64::from(self.staged)
    }

    pub(crate) fn head_position(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.position)
    }

    pub(crate) fn row(&self, seq: u64) -> &Row {
        &self.rows[seq as usize - 1]
    }

    pub(crate) fn last(&self) -> Option<&Row> {
        self.rows.last()
    }

    /// Messages up to and including number `seq`, which is clamped to the head.
    pub(crate) fn ordinal(&self, seq: u64) -> u64 {
        let seq = seq.min(self.head());
        if seq == 0 {
            0
        } else {
            u64::from(self.row(seq).ordinal)
        }
    }

    /// The first number whose row has a position above `position`; head + 1 if none has.
    pub(crate) fn first_after(&self, position: u64) -> u64 {
        if self.head_position() <= position {
            return self.head() + 1;
        }
        self.rows.partition_point(|row| row.position <= position) as u64 + 1
    }

    pub(crate) fn push(&mut self, bytes: Arc<[u8]>, position: u64, kind: RowKind) {
        assert!(
            position > self.head_position(),
            "rows of a conversation are in position order"
        );
        let before = self.rows.last().map_or(0, |row| row.ordinal);
        let ordinal = before + u32::from(kind == RowKind::Message);
        self.rows.push(Row {
            bytes,
            position,
            ordinal,
            kind,
        });
    }
}
