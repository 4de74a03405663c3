//! Writes frames to the end of a buffer. Every message is one frame: we have its length.

use super::close;
use super::deflate::{COMPRESS_BYTES_MIN, Deflater, WINDOW_BITS_MAX};
use super::header::{Header, Opcode};
use super::mask::unmask;

/// Appends the header of an unfragmented frame with `payload_len` bytes of payload.
pub fn encode_header(opcode: Opcode, payload_len: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    Header {
        fin: true,
        compressed: false,
        opcode,
        mask,
        payload_len: payload_len as u64,
    }
    .write(out);
}

/// Appends a server's frame.
///
/// Panics when a control frame's payload exceeds 125 bytes: the caller's mistake.
pub fn frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    encode_header(opcode, payload.len(), None, out);
    out.extend_from_slice(payload);
}

/// Appends a server's frame whose payload `write` appends.
///
/// Room for a four-byte header (payloads of 126 to 65,535 bytes) is left in front; only where
/// the payload turns out to need another size is it moved. `write` must only append.
pub fn frame_with(opcode: Opcode, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_frame_with(opcode, false, out, write);
}

#[expect(
    clippy::indexing_slicing,
    reason = "offsets of our own into what was just written"
)]
fn put_frame_with(
    opcode: Opcode,
    compressed: bool,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    const RESERVED: usize = 4;
    let start = out.len();
    let payload_start = start + RESERVED;
    out.extend_from_slice(&[0; RESERVED]);
    write(out);
    let payload_end = out.len();
    let payload_len = payload_end.checked_sub(payload_start);
    let payload_len = payload_len.expect("the payload's writer only appends");

    let header = Header {
        fin: true,
        compressed,
        opcode,
        mask: None,
        payload_len: payload_len as u64,
    };
    let header = header.to_bytes();
    let header = header.as_slice();
    if header.len() != RESERVED {
        let end = start + header.len() + payload_len;
        out.resize(end.max(payload_end), 0);
        out.copy_within(payload_start..payload_end, start + header.len());
        out.truncate(end);
    }
    out[start..start + header.len()].copy_from_slice(header);
}

/// Appends a server's frame whose message is compressed, whatever that saves; `window_bits` is
/// what was agreed on (RFC 7692 section 7.1.2.1).
pub fn deflated_frame(
    opcode: Opcode,
    window_bits: u8,
    message: &[u8],
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) {
    put_frame_with(opcode, true, out, |out| {
        deflater.compress(window_bits, message, out);
    });
}

/// Appends a server's frame whose message `write` appends, compressed with the largest window
/// where that saves bytes: an endpoint may send any message as it is (RFC 7692 section 6).
pub fn deflated_frame_with(
    opcode: Opcode,
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let mut message = core::mem::take(&mut deflater.plain);
    message.clear();
    write(&mut message);
    let start = out.len();
    if message.len() >= COMPRESS_BYTES_MIN {
        deflated_frame(opcode, WINDOW_BITS_MAX, &message, deflater, out);
    }
    // Headers are as long or longer where the message is.
    if out.len() == start || out.len() - start >= message.len() {
        out.truncate(start);
        frame(opcode, &message, out);
    }
    deflater.plain = message;
}

/// Appends a client's frame, masked with `mask`, which must not be predictable by whoever chose
/// the payload (RFC 6455 section 10.3).
pub fn masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    encode_header(opcode, payload.len(), Some(mask), out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(out.get_mut(start..).unwrap_or_default(), mask);
}

/// Appends a server's close frame; a reason over 123 bytes is cut between characters.
///
/// Panics on a code that must not be sent (RFC 6455 section 7.4): the caller's mistake.
pub fn close_frame(code: u16, reason: &str, out: &mut Vec<u8>) {
    frame_close(code, reason, None, out);
}

/// Appends a client's close frame, otherwise as [`close_frame`].
pub fn masked_close_frame(code: u16, reason: &str, mask: [u8; 4], out: &mut Vec<u8>) {
    frame_close(code, reason, Some(mask), out);
}

fn frame_close(code: u16, reason: &str, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    assert!(
        close::code_allowed(code),
        "close code {code} must not be sent"
    );
    let reason = close::fitting(reason);
    encode_header(Opcode::Close, 2 + reason.len(), mask, out);
    let start = out.len();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    if let Some(mask) = mask {
        unmask(out.get_mut(start..).unwrap_or_default(), mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_2_lengths_take_their_shortest_form() {
        for (payload_len, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            encode_header(Opcode::Binary, payload_len, None, &mut out);
            assert_eq!(out, header, "{payload_len} bytes");
        }
    }

    #[test]
    fn frame_with_writes_what_frame_writes_around_every_header_size() {
        for payload_len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..payload_len).map(|i| i as u8).collect();
            let mut expected = b"earlier".to_vec();
            frame(Opcode::Text, &payload, &mut expected);
            let mut out = b"earlier".to_vec();
            frame_with(Opcode::Text, &mut out, |out| {
                out.extend_from_slice(&payload);
            });
            assert!(out == expected, "{payload_len} bytes");
        }
    }

    #[test]
    fn section_5_7_a_client_masks_hello_as_the_example_does() {
        let mut out = Vec::new();
        masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn section_5_5_1_a_close_frame_is_code_and_reason() {
        let mut out = Vec::new();
        close_frame(1001, "restart", &mut out);
        assert_eq!(out, b"\x88\x09\x03\xe9restart");
        out.clear();
        masked_close_frame(1001, "", [1, 2, 3, 4], &mut out);
        assert_eq!(out, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
    }

    #[test]
    fn section_5_5_a_close_reason_is_cut_to_what_a_control_frame_holds() {
        let mut out = Vec::new();
        close_frame(4001, &"ß".repeat(100), &mut out);
        assert_eq!(out[1], 124);
        assert_eq!(out.len(), 126);
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn a_ping_over_125_bytes_is_our_own_mistake() {
        frame(Opcode::Ping, &[0; 126], &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "must not be sent")]
    fn section_7_4_1_sending_code_1006_is_our_own_mistake() {
        close_frame(1006, "", &mut Vec::new());
    }
}
