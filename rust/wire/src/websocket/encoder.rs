//! Writes frames to the end of a buffer. Every message is one frame: we have its length.

use super::close;
use super::header::{Header, Opcode};
use super::mask::unmask;

/// Appends the header of an unfragmented frame with `payload_len` bytes of payload.
pub fn encode_header(opcode: Opcode, payload_len: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    Header {
        fin: true,
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
    const RESERVED: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    write(out);
    let payload_start = start + RESERVED;
    let payload_len = out.len().checked_sub(payload_start);
    let payload_len = payload_len.expect("the payload's writer only appends");

    // The header goes behind the payload first, where its size shows, then to its place.
    let payload_end = out.len();
    encode_header(opcode, payload_len, None, out);
    let header_len = out.len() - payload_end;
    let mut header = [0u8; super::HEADER_BYTES_MAX];
    header[..header_len].copy_from_slice(&out[payload_end..]);
    out.truncate(payload_end);
    match header_len {
        RESERVED => {}
        len if len < RESERVED => {
            out.copy_within(payload_start.., start + len);
            out.truncate(payload_end - (RESERVED - len));
        }
        len => {
            out.resize(payload_end + (len - RESERVED), 0);
            out.copy_within(payload_start..payload_end, start + len);
        }
    }
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
}

/// Appends a client's frame, masked with `mask`, which must not be predictable by whoever chose
/// the payload (RFC 6455 section 10.3).
pub fn masked_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    encode_header(opcode, payload.len(), Some(mask), out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
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
        unmask(&mut out[start..], mask);
    }
}
