//! WebSocket frames (RFC 6455), sans-IO: bytes in, events out, and back.
//!
//! A server's [`Decoder`] unmasks each frame where it lies in the receive buffer and lends it
//! out from there, so a message that came in one frame is never copied. Only messages that come in
//! fragments or pieces are assembled on the heap. The one extension is [`deflate`].

#![deny(clippy::indexing_slicing)]

mod assembly;
mod close;
mod decoder;
pub mod deflate;
mod encoder;
mod error;
mod header;
mod mask;
mod utf8;

pub use close::{REASON_BYTES_MAX, code_allowed};
pub use decoder::{Decoded, Decoder, Event};
pub use encoder::{
    close_frame, deflated_frame, deflated_frame_with, encode_header, frame, frame_with,
    masked_close_frame, masked_frame,
};
pub use error::{Error, ErrorKind};
pub use header::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};
pub use mask::unmask;

/// Which end of the connection we are.
///
/// A client masks every frame it sends, a server masks none (RFC 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}
