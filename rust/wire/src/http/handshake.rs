//! The key exchange of the handshake, for both ends (RFC 6455 sections 1.3 and 4.2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Bytes of a `Sec-WebSocket-Accept` value: base64 of a SHA-1.
const ACCEPT_BYTES: usize = 28;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Accept` value, without a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AcceptValue([u8; ACCEPT_BYTES]);

impl AcceptValue {
    /// Where no key is asked.
    pub(super) const NONE: Self = Self([b'A'; ACCEPT_BYTES]);

    /// The answer to a key, given as it stands in the header.
    pub(super) fn of(key: &str) -> Self {
        let digest = Sha1::new()
            .chain_update(key.as_bytes())
            .chain_update(GUID)
            .finalize();
        let mut value = [0; ACCEPT_BYTES];
        let written = STANDARD.encode_slice(digest, &mut value);
        debug_assert_eq!(written, Ok(ACCEPT_BYTES), "20 bytes are 28 characters");
        Self(value)
    }

    pub(super) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("")
    }
}

/// Whether `key` is the base64 of 16 bytes (RFC 6455 section 4.2.1).
pub(super) fn key_is_valid(key: &str) -> bool {
    // Decoders want room for the next multiple of three.
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

/// A key's header value.
pub(super) fn key_value(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_1_3_the_rfcs_key_gives_the_rfcs_answer() {
        let value = AcceptValue::of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(value.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn section_4_2_1_a_key_is_sixteen_bytes_of_base64() {
        assert!(key_is_valid("dGhlIHNhbXBsZSBub25jZQ=="));
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25jZSEh",
            "dGhlIHNhbXBsZSBub25jZQ==AAAA",
            "dGhlIHNhbXBsZSBub2!jZQ==",
        ] {
            assert!(!key_is_valid(key), "{key}");
        }
    }
}
