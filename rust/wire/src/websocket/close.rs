//! The close frame's payload (RFC 6455 sections 5.5.1 and 7.4): nothing, or a big-endian u16
//! code and a UTF-8 reason.

use super::header::CONTROL_PAYLOAD_BYTES_MAX;
use super::{Error, ErrorKind};

/// Bytes a close reason may have.
pub const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// Whether an endpoint may send this code: those the RFC and the IANA registry define for the
/// wire (1000–1003, 1007–1014) and those free for libraries and applications (3000–4999).
pub fn code_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads a close payload; `offset` is where it starts in the input, for errors.
pub(super) fn parse(payload: &[u8], offset: usize) -> Result<(Option<u16>, &str), Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok((None, ""))
        } else {
            Err(Error {
                offset,
                kind: ErrorKind::CloseTooShort,
            })
        };
    };
    let code = u16::from_be_bytes(*code);
    if !code_allowed(code) {
        return Err(Error {
            offset,
            kind: ErrorKind::CloseCode { code },
        });
    }
    match core::str::from_utf8(reason) {
        Ok(reason) => Ok((Some(code), reason)),
        Err(error) => Err(Error {
            offset: offset + 2 + error.valid_up_to(),
            kind: ErrorKind::Utf8,
        }),
    }
}

/// The part of `reason` that fits a close frame, cut at a character's boundary.
pub(super) fn fitting(reason: &str) -> &str {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_7_4_only_codes_meant_for_the_wire_are_allowed() {
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            assert!(code_allowed(code), "{code}");
        }
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
        ] {
            assert!(!code_allowed(code), "{code}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "é".repeat(80);
        assert_eq!(fitting(&reason).len(), 122);
        assert_eq!(fitting("bye"), "bye");
    }
}
