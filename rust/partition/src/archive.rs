//! The port to the archive: what commits change, as a store behind the fold takes it, and how the
//! store gives it back.
//!
//! ```text
//! commit, commit, commit … ─▶ Chunk ─ settle (archive's thread) ─▶ Settled ─▶ Archive::apply
//!                                                                              │ durable, whole
//! queries ◀─ rows and places that left memory ──────────────────── Archive ◀───┘
//! opening ◀─ state and keys as of the last chunk, then the log from there on
//! ```
//!
//! The log stays the truth: an archive that is lost is made again by a replay from position 1.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use imfast_faults::{Fault, on};

use crate::conversation::Head;
use crate::outcome::RowKind;
use crate::state_keys as keys;

/// A committed row as an archive holds it, by (conversation, seq).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedRow {
    /// Dense index of the conversation in its partition.
    pub conversation: u32,
    pub seq: u64,
    pub position: u64,
    /// Messages (not events) up to and including this row.
    pub ordinal: u32,
    pub kind: RowKind,
    pub bytes: Arc<[u8]>,
}

/// An idempotency key with its first result, as the sequencer remembers it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchivedKey {
    pub key_high: u64,
    pub key_low: u64,
    pub payload: u64,
    pub seq: u64,
    pub message_id: u64,
    pub position: u64,
    pub time_ms: u64,
    /// When the key says that it was made, milliseconds since 1970; 0 where it does not say.
    pub made_ms: u64,
}

impl ArchivedKey {
    /// Bytes of a key as archives and the sequencer take it.
    pub const BYTES: usize = 64;

    /// The fields in their order, little-endian.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let fields = [
            self.key_high,
            self.key_low,
            self.payload,
            self.seq,
            self.message_id,
            self.position,
            self.time_ms,
            self.made_ms,
        ];
        let mut bytes = [0; Self::BYTES];
        for (place, field) in bytes.as_chunks_mut().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut fields = [0; 8];
        for (field, place) in fields.iter_mut().zip(bytes.as_chunks().0) {
            *field = u64::from_le_bytes(*place);
        }
        let [
            key_high,
            key_low,
            payload,
            seq,
            message_id,
            position,
            time_ms,
            made_ms,
        ] = fields;
        Self {
            key_high,
            key_low,
            payload,
            seq,
            message_id,
            position,
            time_ms,
            made_ms,
        }
    }
}

/// What an archive knows of a key that the sequencer has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFound {
    /// It was used, and this came of it.
    First(ArchivedKey),
    /// It was not used, or is forgotten. A key that says it was made by then may be one of those.
    Unknown { expired_until_ms: u64 },
}

/// Names a piece of state: a tag and up to three numbers, big-endian, so that order of bytes is
/// order of tag and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey(pub [u8; 13]);

impl StateKey {
    /// A tag without numbers.
    pub const fn bare(tag: u8) -> Self {
        let mut key = [0; 13];
        key[0] = tag;
        Self(key)
    }

    pub fn new(tag: u8, a: u32, b: u32, c: u32) -> Self {
        let mut key = [0; 13];
        key[0] = tag;
        key[1..5].copy_from_slice(&a.to_be_bytes());
        key[5..9].copy_from_slice(&b.to_be_bytes());
        key[9..].copy_from_slice(&c.to_be_bytes());
        Self(key)
    }

    /// Tag and numbers.
    pub fn parts(self) -> (u8, u32, u32, u32) {
        let number = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&self.0[at..at + 4]);
            u32::from_be_bytes(bytes)
        };
        (self.0[0], number(1), number(5), number(9))
    }
}

/// What a piece of state becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateValue {
    /// Stored as 8 bytes, little-endian.
    Number(u64),
    Bytes(Box<[u8]>),
    Removed,
}

/// How far an archive has come. `Default` is an empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// The last position whose changes are all in.
    pub position: u64,
    /// Time of the batch that ended there, milliseconds since 1970.
    pub time_ms: u64,
    /// Highest message id up to there.
    pub message_id: u64,
    /// Position of the oldest idempotency key that the sequencer remembered there; `position + 1`
    /// for none. The archive may know older ones.
    pub keys_from: u64,
}

/// What the commits of some batches changed, in their order.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The chunk follows one that reached this position.
    pub after: u64,
    pub reached: Reached,
    pub rows: Vec<ArchivedRow>,
    pub keys: Vec<ArchivedKey>,
    pub state: Vec<(StateKey, StateValue)>,
    /// Bytes of the rows, for budgets.
    pub row_bytes: usize,
}

/// A chunk in the order in which stores like to take it.
#[derive(Debug)]
pub struct Settled {
    pub after: u64,
    pub reached: Reached,
    /// By (conversation, seq).
    pub rows: Vec<ArchivedRow>,
    /// (position, conversation, seq) by position.
    pub places: Vec<(u64, u32, u64)>,
    /// By position.
    pub keys: Vec<ArchivedKey>,
    /// By key, each once.
    pub state: BTreeMap<StateKey, StateValue>,
}

impl Chunk {
    /// Sorts the chunk, keeps the last value of every piece of state and adds the heads of its
    /// conversations. Takes as long as the chunk is big: it is for the archive's own thread.
    pub fn settle(mut self) -> Settled {
        let places = self
            .rows
            .iter()
            .map(|row| (row.position, row.conversation, row.seq))
            .collect();
        self.rows
            .sort_unstable_by_key(|row| (row.conversation, row.seq));
        let mut state: BTreeMap<_, _> = self.state.into_iter().collect();
        for rows in self.rows.chunk_by(|a, b| a.conversation == b.conversation) {
            let newest = if on(Fault::ArchivedHeadStale) {
                rows.first()
            } else {
                rows.last()
            };
            if let Some(last) = newest {
                let head = Head {
                    seq: last.seq,
                    position: last.position,
                    ordinal: last.ordinal,
                };
                let value = StateValue::Bytes(keys::head_value(head));
                state.insert(keys::head(last.conversation), value);
            }
        }
        Settled {
            after: self.after,
            reached: self.reached,
            rows: self.rows,
            places,
            keys: self.keys,
            state,
        }
    }
}

/// A store of what left memory. Methods may be called from any thread while another applies.
pub trait Archive: Send + Sync + fmt::Debug {
    /// How far the archive has come, durably.
    fn reached(&self) -> Reached;

    /// Takes a chunk as a whole: after a crash all of it is there, or as far as readers bounded by
    /// [`Self::reached`] can tell nothing. Durable when it returns.
    ///
    /// # Errors
    /// The store cannot take it, or the chunk does not follow what was reached. It may be tried
    /// again with the same chunk.
    fn apply(&self, chunk: &Settled) -> io::Result<()>;

    /// Does one step of the work that makes later reads quicker, if some is due, and returns
    /// whether it did. For the archive's own thread, between chunks.
    ///
    /// # Errors
    /// As [`Self::apply`]; nothing that was applied is lost.
    fn tidy(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// One row, none where the conversation has no such number.
    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>>;

    /// Rows of a conversation in `seqs`, ascending, until `each` returns false.
    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()>;

    /// The same, descending.
    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()>;

    /// (position, conversation, seq) of the rows whose positions are in `positions`, ascending,
    /// until `each` returns false.
    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()>;

    /// One piece of state as of `reached`.
    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>>;

    /// Every piece of state as of `reached`, by key.
    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()>;

    /// Idempotency keys from `reached().keys_from` up to `reached().position`, by position.
    fn keys(&self) -> io::Result<Vec<ArchivedKey>>;

    /// What is known of the key (high and low half) that is not among those from position `before`
    /// on, which the sequencer has. `made_ms` is when it says that it was made, 0 where it does not.
    fn find_key(&self, key: (u64, u64), made_ms: u64, before: u64) -> io::Result<KeyFound>;

    /// The latest time that a key says it was made of those that are known from before position
    /// `before`, or forgotten; none where there are none. Later dated keys need not be looked for.
    fn old_keys_made_ms(&self, before: u64) -> Option<u64>;

    /// Time of the last batch with a key that was forgotten; 0 while none was.
    fn keys_forgotten_ms(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_its_bytes() {
        let key = ArchivedKey {
            key_high: 1,
            key_low: u64::MAX,
            payload: 3,
            seq: 4,
            message_id: 5,
            position: 6,
            time_ms: 7,
            made_ms: 8,
        };
        assert_eq!(ArchivedKey::from_bytes(&key.to_bytes()), key);
    }

    #[test]
    fn keys_of_state_order_like_their_numbers() {
        let keys = [
            StateKey::new(1, 2, 0, 9),
            StateKey::new(1, 256, 0, 0),
            StateKey::new(1, 256, 1, 0),
            StateKey::new(2, 0, 0, 0),
        ];
        assert!(keys.is_sorted());
        assert_eq!(keys[2].parts(), (1, 256, 1, 0));
    }

    #[test]
    fn settled_chunk_is_sorted_and_keeps_the_last_value_of_a_key() {
        let row = |conversation, seq, position| ArchivedRow {
            conversation,
            seq,
            position,
            ordinal: 1,
            kind: RowKind::Message,
            bytes: Arc::from(&b"x"[..]),
        };
        let key = StateKey::new(1, 0, 0, 0);
        let chunk = Chunk {
            rows: vec![row(2, 1, 1), row(1, 1, 2), row(2, 2, 3)],
            state: vec![(key, StateValue::Number(1)), (key, StateValue::Number(2))],
            ..Chunk::default()
        };
        let settled = chunk.settle();
        let order: Vec<_> = settled.rows.iter().map(|r| r.position).collect();
        assert_eq!(order, [2, 1, 3]);
        assert_eq!(settled.places, [(1, 2, 1), (2, 1, 1), (3, 2, 2)]);
        assert_eq!(settled.state[&key], StateValue::Number(2));
    }
}
