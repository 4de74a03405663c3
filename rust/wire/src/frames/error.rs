//! Why a frame was not understood.

use std::borrow::Cow;
use std::fmt;

use super::codes::{self, Code};
use crate::protobuf::Malformed;

/// A frame that is not valid. Whether the connection goes on is the code's to say:
/// [`codes::MALFORMED_FRAME`] closes it, [`codes::INVALID_ARGUMENT`] answers the frame's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// The frame's id, where it could be read although the rest could not; otherwise 0.
    pub id: u64,
    /// The catalogue's code to answer with.
    pub code: &'static Code,
    /// Bytes from the start of the input to where reading stopped.
    pub offset: usize,
    /// What is wrong, naming the field. Quotes no more than a few bytes of the input.
    pub message: Cow<'static, str>,
}

impl FrameError {
    /// Bytes that are not a frame at all.
    pub(super) fn malformed(offset: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: 0,
            code: &codes::MALFORMED_FRAME,
            offset,
            message: message.into(),
        }
    }

    /// A frame whose fields do not fit together.
    pub(super) fn invalid(offset: usize, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: 0,
            code: &codes::INVALID_ARGUMENT,
            offset,
            message: message.into(),
        }
    }

    /// The protobuf reader's error, whose offset counts from `base`.
    pub(super) fn protobuf(base: usize, error: Malformed) -> Self {
        let offset = match error {
            Malformed::Truncated { offset, .. }
            | Malformed::Varint { offset }
            | Malformed::Tag { offset }
            | Malformed::Utf8 { offset } => base + offset,
        };
        let what = match error {
            Malformed::Truncated { .. } => "the frame ends inside a field",
            Malformed::Varint { .. } => "varint too long",
            Malformed::Tag { .. } => "invalid field tag",
            Malformed::Utf8 { .. } => "string is not UTF-8",
        };
        Self::malformed(offset, what)
    }

    /// Whether the connection has to be closed after this frame.
    pub fn closes(&self) -> bool {
        self.code.close.is_some()
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at offset {}: {}",
            self.code.name, self.offset, self.message
        )
    }
}

impl std::error::Error for FrameError {}
