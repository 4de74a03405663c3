//! Why bytes are not an HTTP message we accept.

use core::fmt;

/// A malformed or oversized header block; answer with [`Error::status`] and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The request or status line breaks the grammar (RFC 9112 sections 3 and 4).
    StartLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A field name that is no token, followed by a space, or a folded line (RFC 9112 section 5).
    HeaderName,
    /// A control byte, NUL among them, in a field value (RFC 9110 section 5.5).
    HeaderValue,
    /// A line that does not end in CR LF, or a CR alone.
    LineEnding { offset: usize },
    /// A header block longer than `limit` bytes.
    TooLong { limit: usize },
    /// More than `limit` header fields.
    TooManyHeaders { limit: usize },
}

impl Error {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Version => 505,
            Self::TooLong { .. } | Self::TooManyHeaders { .. } => 431,
            _ => 400,
        }
    }

    /// The reason phrase of [`Error::status`].
    pub fn reason(&self) -> &'static str {
        match self.status() {
            505 => "HTTP Version Not Supported",
            431 => "Request Header Fields Too Large",
            _ => "Bad Request",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartLine => f.write_str("malformed start line"),
            Self::Version => f.write_str("unsupported HTTP version"),
            Self::HeaderName => f.write_str("malformed header name or folded header"),
            Self::HeaderValue => f.write_str("malformed header value"),
            Self::LineEnding { offset } => {
                write!(f, "line does not end in CR LF at offset {offset}")
            }
            Self::TooLong { limit } => write!(f, "header block exceeds {limit} bytes"),
            Self::TooManyHeaders { limit } => write!(f, "more than {limit} headers"),
        }
    }
}

impl core::error::Error for Error {}
