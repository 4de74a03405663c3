//! One conversation: its rows by number, its members.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::members::Members;
use crate::outcome::RowKind;

/// Below this many rows a window keeps the room it has.
const ROOM_KEPT: usize = 32;

/// A committed row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) position: u64,
    /// Messages (not events) up to and including this row.
    pub(crate) ordinal: u32,
    pub(crate) kind: RowKind,
}

/// What is known of a row without its bytes; all 0 before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) position: u64,
    pub(crate) ordinal: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What became of a row since it was numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alteration {
    /// Its content is gone.
    Erased,
    /// The body is that of the event with this number.
    Edited(u64),
}

impl Alteration {
    /// As archives hold it.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Erased => 0,
            Self::Edited(seq) => seq,
        }
    }

    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Erased,
            seq => Self::Edited(seq),
        }
    }
}

/// A conversation, which exists for queries as soon as it has a row.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) tenant: u32,
    pub(crate) shape: Shape,
    pub(crate) members: Members,
    /// The last row that left memory.
    before: Head,
    /// The rows behind it: number n is at n - before.seq - 1.
    rows: VecDeque<Row>,
    /// Rows that the batch in flight adds.
    pub(crate) staged: u32,
    /// Rows that are shown otherwise than they were stored, by number; most conversations have none.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in each of a million conversations"
    )]
    alterations: Option<Box<BTreeMap<u64, Alteration>>>,
}

impl Conversation {
    pub(crate) fn new(tenant: u32, shape: Shape) -> Self {
        Self {
            tenant,
            shape,
            members: Members::default(),
            before: Head::default(),
            rows: VecDeque::new(),
            staged: 0,
            alterations: None,
        }
    }

    pub(crate) fn alteration_of(&self, seq: u64) -> Option<Alteration> {
        self.alterations.as_ref()?.get(&seq).copied()
    }

    pub(crate) fn set_alteration(&mut self, seq: u64, how: Alteration) {
        self.alterations.get_or_insert_default().insert(seq, how);
    }

    /// Every alteration, by number.
    pub(crate) fn alterations(&self) -> impl Iterator<Item = (u64, Alteration)> {
        let alterations = self
            .alterations
            .iter()
            .flat_map(|alterations| alterations.iter());
        alterations.map(|(seq, how)| (*seq, *how))
    }

    /// Sets the head of a conversation whose rows are all in the archive.
    pub(crate) fn restore_head(&mut self, head: Head) {
        debug_assert!(self.rows.is_empty());
        self.before = head;
    }

    /// The last committed number, 0 for a conversation that only the batch in flight knows.
    pub(crate) fn head(&self) -> u64 {
        self.before.seq + self.rows.len() as u64
    }

    /// The last number with the batch in flight.
    pub(crate) fn staged_head(&self) -> u64 {
        self.head() + u64::from(self.staged)
    }

    pub(crate) fn head_position(&self) -> u64 {
        self.head_row().position
    }

    /// Messages up to and including the head.
    pub(crate) fn head_ordinal(&self) -> u32 {
        self.head_row().ordinal
    }

    /// The last row that left memory: rows up to its number are in the archive only.
    pub(crate) fn before(&self) -> Head {
        self.before
    }

    /// A row that is in memory.
    pub(crate) fn row(&self, seq: u64) -> Option<&Row> {
        let place = seq.checked_sub(self.before.seq + 1)?;
        self.rows.get(place as usize)
    }

    /// The first number in memory whose row has a position above `position`; head + 1 if none has.
    pub(crate) fn first_after_in_memory(&self, position: u64) -> u64 {
        let place = self.rows.partition_point(|row| row.position <= position);
        self.before.seq + place as u64 + 1
    }

    /// Adds the next row. Returns its ordinal.
    pub(crate) fn push(&mut self, bytes: Arc<[u8]>, position: u64, kind: RowKind) -> u32 {
        let head = self.head_row();
        assert!(
            position > head.position,
            "rows of a conversation are in position order"
        );
        let ordinal = head.ordinal + u32::from(kind == RowKind::Message);
        self.rows.push_back(Row {
            bytes,
            position,
            ordinal,
            kind,
        });
        ordinal
    }

    fn head_row(&self) -> Head {
        self.rows.back().map_or(self.before, |row| Head {
            seq: self.head(),
            position: row.position,
            ordinal: row.ordinal,
        })
    }

    /// Lets the oldest row leave memory. Returns its bytes' length, none without a row.
    pub(crate) fn drop_oldest(&mut self) -> Option<usize> {
        let row = self.rows.pop_front()?;
        self.before = Head {
            seq: self.before.seq + 1,
            position: row.position,
            ordinal: row.ordinal,
        };
        let (length, room) = (self.rows.len(), self.rows.capacity());
        if length == 0 || (room > ROOM_KEPT && length < room / 4) {
            self.rows.shrink_to(2 * length);
        }
        Some(row.bytes.len())
    }
}
