//! The protobuf encoding: `imfast.v1.ClientFrame` and `imfast.v1.ServerFrame` of
//! `spec/imfast.proto`, decoded without a copy. Over TCP a u32 length precedes each frame, in a
//! WebSocket message a varint ([`frames`], [`put_delimited`]).

mod client;
mod client_group;
mod server;

pub use client::{decode_client, encode_client};
pub use server::{decode_server, encode_server};

use super::client::ClientFrame;
use super::{FrameError, MAX_NUMBER};
use crate::protobuf::{Reader, Value};

/// The frames of one WebSocket message, each behind its length as a varint. Ends after the
/// first error: what follows has no known beginning.
pub fn frames(message: &[u8]) -> Delimited<'_> {
    Delimited {
        reader: Reader::new(message),
        broken: false,
    }
}

/// See [`frames`].
#[derive(Debug, Clone)]
pub struct Delimited<'a> {
    reader: Reader<'a>,
    broken: bool,
}

impl<'a> Iterator for Delimited<'a> {
    type Item = Result<&'a [u8], FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.reader.rest().is_empty() {
            return None;
        }
        let frame = self.reader.varint().and_then(|length| {
            self.reader
                .take(usize::try_from(length).unwrap_or(usize::MAX))
        });
        Some(frame.map_err(|error| {
            self.broken = true;
            FrameError::protobuf(0, error)
        }))
    }
}

/// The client frames of one WebSocket message, each with the number of bytes of the message that
/// are read once it is taken. A frame that is not valid does not hide the ones behind it.
pub fn values(
    message: &[u8],
) -> impl Iterator<Item = (Result<ClientFrame<'_>, FrameError>, usize)> {
    let mut frames = frames(message);
    std::iter::from_fn(move || {
        let frame = frames.next()?;
        let end = frames.reader.offset();
        let decoded = frame.and_then(|bytes| {
            decode_client(bytes).map_err(|error| FrameError {
                offset: error.offset + end - bytes.len(),
                ..error
            })
        });
        Some((decoded, end))
    })
}

/// Walks the fields of a message that may stand inside another; offsets count from the frame.
struct Fields<'a> {
    reader: Reader<'a>,
    base: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], base: usize) -> Self {
        Self {
            reader: Reader::new(bytes),
            base,
        }
    }

    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, FrameError> {
        self.reader
            .field()
            .map_err(|error| FrameError::protobuf(self.base, error))
    }

    /// Bytes of the frame read so far.
    fn offset(&self) -> usize {
        self.base + self.reader.offset()
    }

    /// The fields of the message that was just read.
    fn nested(&self, bytes: &'a [u8]) -> Self {
        Self::new(bytes, self.offset() - bytes.len())
    }

    /// The text that was just read.
    fn text(&self, bytes: &'a [u8]) -> Result<&'a str, FrameError> {
        std::str::from_utf8(bytes).map_err(|error| {
            let at = self.offset() - bytes.len() + error.valid_up_to();
            FrameError::malformed(at, "string is not UTF-8")
        })
    }

    /// The number that was just read, where JSON has to be able to say it too.
    fn number(&self, name: &str, value: u64) -> Result<u64, FrameError> {
        if value <= MAX_NUMBER {
            Ok(value)
        } else {
            Err(self.invalid(format!("{name}: above 2^53-1")))
        }
    }

    fn invalid(&self, message: impl Into<std::borrow::Cow<'static, str>>) -> FrameError {
        FrameError::invalid(self.offset(), message)
    }
}
