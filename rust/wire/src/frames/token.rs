//! Sync tokens: how far a session has got in every partition. Clients keep them as they are;
//! the layout is the server's own and may change with its version byte.
//!
//! Base64url without padding of {u8 version, u32 little-endian layout generation, varint count,
//! that many varint positions}.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::protobuf::{Reader, put_varint};

const VERSION: u8 = 1;

/// A position per partition, under one layout of the partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncToken {
    /// Changes with restore and reshard; positions of another generation mean nothing.
    pub generation: u32,
    /// The last position seen of each partition; 0: nothing.
    pub positions: Vec<u64>,
}

/// Why a string is not a sync token. A server treats such a token as foreign: it catches up
/// from the device's cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Not base64url without padding.
    Base64,
    /// Of a version that is not known here.
    Version(u8),
    /// Ends before its last position.
    Truncated,
    /// A number above 64 bits.
    Number,
    /// Bytes behind the last position.
    Trailing { bytes: usize },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64 => f.write_str("sync token is not base64url"),
            Self::Version(version) => write!(f, "sync token has the unknown version {version}"),
            Self::Truncated => f.write_str("sync token is cut off"),
            Self::Number => f.write_str("sync token has a number above 64 bits"),
            Self::Trailing { bytes } => write!(f, "sync token has {bytes} bytes too many"),
        }
    }
}

impl std::error::Error for TokenError {}

impl SyncToken {
    /// The token as clients keep it.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(8 + self.positions.len() * 5);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        put_varint(&mut bytes, self.positions.len() as u64);
        for &position in &self.positions {
            put_varint(&mut bytes, position);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(token: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| TokenError::Base64)?;
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(TokenError::Version(version)),
            None => return Err(TokenError::Truncated),
        }
        let mut reader = Reader::new(&bytes[1..]);
        let mut generation = [0; 4];
        generation.copy_from_slice(reader.take(4).map_err(|_| TokenError::Truncated)?);
        let count = varint(&mut reader)?;
        // Each position takes a byte at least: nothing is allocated for a count that lies.
        if count > reader.rest().len() as u64 {
            return Err(TokenError::Truncated);
        }
        let positions = (0..count)
            .map(|_| varint(&mut reader))
            .collect::<Result<_, _>>()?;
        match reader.rest().len() {
            0 => Ok(Self {
                generation: u32::from_le_bytes(generation),
                positions,
            }),
            bytes => Err(TokenError::Trailing { bytes }),
        }
    }
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, TokenError> {
    reader.varint().map_err(|error| match error {
        crate::protobuf::Malformed::Truncated { .. } => TokenError::Truncated,
        _ => TokenError::Number,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn token_has_the_documented_layout() {
        let token = SyncToken {
            generation: 3,
            positions: vec![0, 300],
        };
        // 01 | 03 00 00 00 | 02 | 00 | ac 02
        assert_eq!(token.encode(), "AQMAAAACAKwC");
    }

    #[test]
    fn each_fault_of_a_token_is_named() {
        let of = |bytes: &[u8]| SyncToken::decode(&URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(SyncToken::decode("!!"), Err(TokenError::Base64));
        assert_eq!(of(&[]), Err(TokenError::Truncated));
        assert_eq!(of(&[2, 0]), Err(TokenError::Version(2)));
        assert_eq!(of(&[1, 0, 0]), Err(TokenError::Truncated));
        assert_eq!(of(&[1, 0, 0, 0, 0, 2, 1]), Err(TokenError::Truncated));
        assert_eq!(
            of(&[1, 0, 0, 0, 0, 1, 1, 9]),
            Err(TokenError::Trailing { bytes: 1 })
        );
        let mut huge = vec![1, 0, 0, 0, 0];
        huge.extend([0xff; 11]);
        assert_eq!(of(&huge), Err(TokenError::Number));
        huge.truncate(5);
        put_varint(&mut huge, u64::MAX);
        assert_eq!(of(&huge), Err(TokenError::Truncated));
    }

    proptest! {
        #[test]
        fn any_token_comes_back(generation: u32, positions: Vec<u64>) {
            let token = SyncToken { generation, positions };
            prop_assert_eq!(SyncToken::decode(&token.encode()), Ok(token));
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in "[A-Za-z0-9_-]{0,60}") {
            let _ = SyncToken::decode(&text);
        }
    }
}
