//! Writing JSON into a byte buffer. Commas need no state: a member or element that does not
//! follow an opening bracket follows another one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::frames::server::position_text;

/// Appends the comma between two members or elements, where one is due.
pub(super) fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[' | b':')) {
        out.push(b',');
    }
}

/// Appends `"name":`. Names are the protocol's own and need no escapes.
pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    comma(out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    digits(out, value);
}

/// A number, left out when it is 0.
pub(super) fn optional_number(out: &mut Vec<u8>, name: &str, value: u64) {
    if value != 0 {
        number(out, name, value);
    }
}

/// A number as a string: one that may be above 2^53−1. Left out when it is 0.
pub(super) fn optional_wide(out: &mut Vec<u8>, name: &str, value: u64) {
    if value != 0 {
        key(out, name);
        out.push(b'"');
        digits(out, value);
        out.push(b'"');
    }
}

pub(super) fn position(out: &mut Vec<u8>, name: &str, partition: u16, position: u64) {
    if position != 0 {
        key(out, name);
        out.push(b'"');
        position_text(partition, position, out);
        out.push(b'"');
    }
}

pub(super) fn flag(out: &mut Vec<u8>, name: &str, value: bool) {
    key(out, name);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// A flag, left out when it is false.
pub(super) fn optional_flag(out: &mut Vec<u8>, name: &str, value: bool) {
    if value {
        flag(out, name, value);
    }
}

pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    string(out, value);
}

/// A string, left out when it is empty.
pub(super) fn optional_text(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        text(out, name, value);
    }
}

/// Text that is JSON already.
pub(super) fn raw(out: &mut Vec<u8>, name: &str, json: &str) {
    key(out, name);
    out.extend_from_slice(json.as_bytes());
}

pub(super) fn base64(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    key(out, name);
    out.push(b'"');
    let at = out.len();
    // Four characters for every three bytes begun: the length is exact.
    out.resize(at + data.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(data, &mut out[at..]);
    debug_assert_eq!(written, Ok(out.len() - at));
    out.push(b'"');
}

pub(super) fn object(out: &mut Vec<u8>, name: &str, members: impl FnOnce(&mut Vec<u8>)) {
    key(out, name);
    braces(out, members);
}

/// An object without a name: an element, or the frame itself.
pub(super) fn braces(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'{');
    members(out);
    out.push(b'}');
}

pub(super) fn array(out: &mut Vec<u8>, name: &str, elements: impl FnOnce(&mut Vec<u8>)) {
    key(out, name);
    out.push(b'[');
    elements(out);
    out.push(b']');
}

fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a string with its quotes.
pub(super) fn string(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let run = plain_run(rest);
        out.extend_from_slice(&rest[..run]);
        let Some(&byte) = rest.get(run) else { break };
        escape(out, byte);
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}

/// How many bytes from the start need no escape; eight at a time.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A byte's high bit is set where the byte is below `limit` (≤ 0x80); a borrow can mark a
    // byte behind a marked one too, which the byte-wise search below puts right.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        if below(word, 0x20) | below(quote, 1) | below(slash, 1) != 0 {
            break;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\'))
        .unwrap_or(bytes.len() - at)
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_that_json_forbids_in_a_string_is_escaped() {
        // Miri takes a tenth of a second for each.
        let step = if cfg!(miri) { 19 } else { 1 };
        for at in (0..20).step_by(step) {
            for byte in 0..0x80u8 {
                let mut text = vec![b'a'; 20];
                text[at] = byte;
                let text = String::from_utf8(text).expect("ASCII");
                let mut out = Vec::new();
                string(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), text);
            }
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), text);
        }
    }
}
