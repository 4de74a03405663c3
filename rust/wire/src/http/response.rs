//! Writes the two responses a handshake can have.

use super::headers::{put, put_text};
use super::upgrade::Accept;

/// Appends `101 Switching Protocols` (RFC 6455 section 4.2.2); frames follow at once.
pub fn write_switching_protocols(out: &mut Vec<u8>, accept: &Accept<'_>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    put(out, "Sec-WebSocket-Accept", accept.value());
    if let Some(subprotocol) = accept.subprotocol {
        put(out, "Sec-WebSocket-Protocol", subprotocol);
    }
    if let Some(deflate) = accept.deflate {
        put(out, "Sec-WebSocket-Extensions", &deflate.to_string());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a complete response after which the connection is closed.
///
/// `reason` is the reason phrase; an empty `body` is sent as one of length 0.
pub fn write_error(
    out: &mut Vec<u8>,
    status: u16,
    reason: &str,
    extra_headers: &[(&str, &str)],
    body: &[u8],
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    put_text(out, reason);
    out.extend_from_slice(b"\r\n");
    for (name, value) in extra_headers {
        put(out, name, value);
    }
    put(out, "Connection", "close");
    put(out, "Content-Length", &body.len().to_string());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}
