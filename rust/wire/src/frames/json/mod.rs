//! The JSON encoding. Input is read by `serde_json` straight into frames, without a tree of
//! values; output is written by hand ([`write`]), rows straight from their protobuf bytes.

mod client_change;
mod client_decode;
mod client_encode;
mod client_group;
mod content;
mod effect;
mod read;
mod server_decode;
mod server_encode;
mod server_rows;
mod write;

pub use client_decode::{Values, decode_client, decode_verb, values};
pub use client_encode::encode_client;
pub use effect::{Effect, encode_effect};
pub use server_decode::decode_server;
pub use server_encode::{encode_answer, encode_problem, encode_row, encode_server};

use std::borrow::Cow;

use super::FrameError;

/// Where in `text` `serde_json` stopped; it counts lines and columns.
pub(super) fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let line_start = if error.line() <= 1 {
        0
    } else {
        text.bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .nth(error.line() - 2)
            .map_or(text.len(), |(at, _)| at + 1)
    };
    (line_start + error.column()).min(text.len())
}

/// `serde_json`'s error without the place at its end, which `offset` says better. It may quote a
/// whole string of the input, so it is cut.
fn message_of(error: &serde_json::Error) -> Cow<'static, str> {
    const MESSAGE_BYTES: usize = 200;
    let mut message = error.to_string();
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
    Cow::Owned(message)
}

/// The text of a frame that came as bytes.
fn utf8(input: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(input)
        .map_err(|error| FrameError::malformed(error.valid_up_to(), "the frame is not UTF-8"))
}
