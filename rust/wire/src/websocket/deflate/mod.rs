//! Compression of messages: the extension permessage-deflate (RFC 7692).
//!
//! Context takeover is never agreed on: each message is compressed by itself. So a connection
//! owns neither a compressor nor a window, and what one compressor wrote can be sent to every
//! subscriber of a group. An [`Inflater`] and a [`Deflater`] serve all connections of a thread.

mod agreement;
mod deflater;
mod inflater;

pub use agreement::{Agreement, Malformed, negotiate};
pub use deflater::{COMPRESS_BYTES_MIN, Deflater};
pub use inflater::Inflater;

/// Log2 of the largest window DEFLATE has, and of the one we compress with for sharing.
pub const WINDOW_BITS_MAX: u8 = 15;

/// What a sender strips from the end of a message: an empty stored block without its first byte
/// (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Bytes a compressed message may have that inflates to `message_bytes`: DEFLATE's longest code
/// for a literal has 9 bits where the fixed codes are used, and blocks have headers.
pub(super) fn compressed_bytes_max(message_bytes: usize) -> usize {
    message_bytes
        .saturating_add(message_bytes / 8)
        .saturating_add(64)
}
