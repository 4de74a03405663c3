//! Keys and values of the trees, as bytes. Keys are big-endian, so that bytes order like
//! numbers; values little-endian.

use std::sync::Arc;

use imfast_partition::RowKind;
use imfast_partition::archive::{ArchivedRow, Reached, StateKey};

use crate::append_files::Part;
use crate::key_file::KeyPart;
use crate::keys::Forgotten;

const META_VERSION: u8 = 2;
const MESSAGE: u8 = 0;
const EVENT: u8 = 1;

/// The entry of the state tree that belongs to the store itself: state of the fold has tags from 1.
pub(crate) const META_KEY: [u8; 13] = [0; 13];

/// What one flip says about everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) reached: Reached,
    /// Files of places, oldest first.
    pub(crate) places: Vec<Part>,
    /// Files of idempotency keys, oldest first.
    pub(crate) keys: Vec<KeyPart>,
    pub(crate) forgotten: Forgotten,
}

pub(crate) fn row_key(conversation: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&conversation.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Position, ordinal, kind, bytes. Replaces what `into` holds.
pub(crate) fn put_row(into: &mut Vec<u8>, row: &ArchivedRow) {
    into.clear();
    into.extend_from_slice(&row.position.to_le_bytes());
    into.extend_from_slice(&row.ordinal.to_le_bytes());
    into.push(match row.kind {
        RowKind::Message => MESSAGE,
        RowKind::Event => EVENT,
    });
    into.extend_from_slice(&row.bytes);
}

/// The row, or none if the bytes are no row.
pub(crate) fn row(key: &[u8], value: &[u8]) -> Option<ArchivedRow> {
    let (conversation, seq) = key.split_first_chunk::<4>()?;
    let (position, rest) = value.split_first_chunk::<8>()?;
    let (ordinal, rest) = rest.split_first_chunk::<4>()?;
    let (kind, bytes) = rest.split_first()?;
    Some(ArchivedRow {
        conversation: u32::from_be_bytes(*conversation),
        seq: u64::from_be_bytes(seq.try_into().ok()?),
        position: u64::from_le_bytes(*position),
        ordinal: u32::from_le_bytes(*ordinal),
        kind: match *kind {
            MESSAGE => RowKind::Message,
            EVENT => RowKind::Event,
            _ => return None,
        },
        bytes: Arc::from(bytes),
    })
}

pub(crate) fn state_key(key: &[u8]) -> Option<StateKey> {
    Some(StateKey(key.try_into().ok()?))
}

impl Meta {
    /// A version, the numbers of what was reached, the times of forgotten keys, and the number of
    /// files of places before those and the files of keys.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let reached = &self.reached;
        let numbers = [
            reached.position,
            reached.time_ms,
            reached.message_id,
            reached.keys_from,
            self.forgotten.expired_until_ms,
            self.forgotten.last_ms,
            self.places.len() as u64,
        ];
        let places = self.places.iter();
        let places = places.flat_map(|part| [part.first_position, part.bytes]);
        let keys = self.keys.iter().flat_map(KeyPart::numbers);
        let mut bytes = vec![META_VERSION];
        for number in numbers.into_iter().chain(places).chain(keys) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&META_VERSION, bytes) = bytes.split_first()? else {
            return None;
        };
        let (numbers, []) = bytes.as_chunks::<8>() else {
            return None;
        };
        let numbers: Vec<u64> = numbers.iter().map(|n| u64::from_le_bytes(*n)).collect();
        let (
            &[
                position,
                time_ms,
                message_id,
                keys_from,
                expired_until_ms,
                last_ms,
                places,
            ],
            rest,
        ) = numbers.split_first_chunk()?;
        let (places, keys) = rest.split_at_checked((places as usize).checked_mul(2)?)?;
        let (places, _) = places.as_chunks::<2>();
        let (keys, []) = keys.as_chunks::<{ KeyPart::NUMBERS }>() else {
            return None;
        };
        let part = |&[first_position, bytes]: &[u64; 2]| Part {
            first_position,
            bytes,
        };
        Some(Self {
            reached: Reached {
                position,
                time_ms,
                message_id,
                keys_from,
            },
            forgotten: Forgotten {
                expired_until_ms,
                last_ms,
            },
            places: places.iter().map(part).collect(),
            keys: keys
                .iter()
                .map(|numbers| KeyPart::from_numbers(*numbers))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_way_through_bytes() {
        for kind in [RowKind::Message, RowKind::Event] {
            let given = ArchivedRow {
                conversation: 0x0102_0304,
                seq: u64::MAX - 1,
                position: 1 << 40,
                ordinal: 77,
                kind,
                bytes: Arc::from(&b"row"[..]),
            };
            let mut bytes = vec![9; 3];
            put_row(&mut bytes, &given);
            assert_eq!(
                row(&row_key(given.conversation, given.seq), &bytes),
                Some(given)
            );
        }
    }

    #[test]
    fn keys_of_rows_order_like_conversation_and_seq() {
        let keys = [
            row_key(1, 256),
            row_key(1, 257),
            row_key(2, 1),
            row_key(256, 0),
        ];
        assert!(keys.is_sorted());
    }

    #[test]
    fn meta_is_read_back_and_half_of_it_refused() {
        let part = |first_position| Part {
            first_position,
            bytes: 80,
        };
        let meta = Meta {
            reached: Reached {
                position: 9,
                time_ms: 8,
                message_id: 7,
                keys_from: 6,
            },
            places: vec![part(1), part(2)],
            keys: vec![KeyPart::from_numbers([1, 2, 3, 4, 5, 6, 7, 8])],
            forgotten: Forgotten {
                expired_until_ms: 77,
                last_ms: 78,
            },
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for length in 0..bytes.len() {
            let found = Meta::decode(&bytes[..length]);
            assert!(found.is_none_or(|meta| meta.keys.is_empty()), "{length}");
        }
    }
}
