//! imfast's own client protocol, version 1: what a client says ([`client`]), what it is told
//! ([`server`]), and the two encodings of both, [`proto`] and [`json`].
//!
//! The text is `spec/wire.md`, the schema `spec/imfast.proto`. Decoding borrows from the input;
//! encoding appends to a buffer that the caller owns. Nothing here reads a clock or a socket.

pub mod check;
pub mod client;
pub mod codes;
mod error;
pub mod id;
pub mod json;
pub mod limits;
pub mod proto;
pub mod row;
pub mod server;
pub mod token;

pub use error::FrameError;

/// The greatest number that a JSON number carries exactly in every language: 2^53 − 1. Frame
/// ids, seqs and times are held to it in both encodings, so that either can say what the other said.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// How deep a JSON body may nest. Decoders that clients use stop at 64 (.NET) or 128 levels and
/// the envelope takes up to five; a body that some member cannot read must not be stored.
pub const JSON_DEPTH: usize = 50;
