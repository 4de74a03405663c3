//! Keys and values of the three trees, as bytes. Keys are big-endian, so that bytes order like
//! numbers; values little-endian.

use std::sync::Arc;

use imfast_partition::RowKind;
use imfast_partition::archive::{ArchivedRow, Reached, StateKey};

use crate::key_files::KeyFile;

const META_VERSION: u8 = 1;
const MESSAGE: u8 = 0;
const EVENT: u8 = 1;

/// The entry of the state tree that belongs to the store itself: state of the fold has tags from 1.
pub(crate) const META_KEY: [u8; 13] = [0; 13];

/// What one flip says about everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) reached: Reached,
    /// Files of idempotency keys, oldest first.
    pub(crate) key_files: Vec<KeyFile>,
}

pub(crate) fn row_key(conversation: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&conversation.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(crate) fn place_key(position: u64) -> [u8; 8] {
    position.to_be_bytes()
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

/// Conversation and seq of the row at a position.
pub(crate) fn place_value(conversation: u32, seq: u64) -> [u8; 12] {
    let mut value = [0; 12];
    value[..4].copy_from_slice(&conversation.to_le_bytes());
    value[4..].copy_from_slice(&seq.to_le_bytes());
    value
}

/// (position, conversation, seq).
pub(crate) fn place(key: &[u8], value: &[u8]) -> Option<(u64, u32, u64)> {
    let (conversation, seq) = value.split_first_chunk::<4>()?;
    Some((
        u64::from_be_bytes(key.try_into().ok()?),
        u32::from_le_bytes(*conversation),
        u64::from_le_bytes(seq.try_into().ok()?),
    ))
}

pub(crate) fn state_key(key: &[u8]) -> Option<StateKey> {
    Some(StateKey(key.try_into().ok()?))
}

impl Meta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let reached = &self.reached;
        let mut bytes = vec![META_VERSION];
        for number in [
            reached.position,
            reached.time_ms,
            reached.message_id,
            reached.keys_from,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for file in &self.key_files {
            bytes.extend_from_slice(&file.first_position.to_le_bytes());
            bytes.extend_from_slice(&file.bytes.to_le_bytes());
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
        let (&[position, time_ms, message_id, keys_from], files) = numbers.split_first_chunk()?;
        let (files, []) = files.as_chunks::<2>() else {
            return None;
        };
        Some(Self {
            reached: Reached {
                position,
                time_ms,
                message_id,
                keys_from,
            },
            key_files: files
                .iter()
                .map(|&[first_position, bytes]| KeyFile {
                    first_position,
                    bytes,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_places_survive_the_way_through_bytes() {
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
        assert_eq!(place(&place_key(5), &place_value(6, 7)), Some((5, 6, 7)));
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
        let meta = Meta {
            reached: Reached {
                position: 9,
                time_ms: 8,
                message_id: 7,
                keys_from: 6,
            },
            key_files: vec![KeyFile {
                first_position: 1,
                bytes: 80,
            }],
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for length in 0..bytes.len() {
            let found = Meta::decode(&bytes[..length]);
            assert!(
                found.is_none_or(|meta| meta.key_files.is_empty()),
                "{length}"
            );
        }
    }
}
