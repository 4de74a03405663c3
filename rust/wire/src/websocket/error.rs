//! Why bytes are not a WebSocket stream, and which close code says so to the peer.

use core::fmt;

/// A violation that ends the connection: send [`Error::close_code`], then close the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Byte within the input of the failing call; for text that began in an earlier fragment,
    /// the first byte of this fragment's payload at the earliest.
    pub offset: usize,
    pub kind: ErrorKind,
}

/// The rule that was broken. Sections are those of RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// RSV1, RSV2 or RSV3 is set where no extension that was agreed on allows it (5.2; RFC 7692
    /// section 6.1).
    ReservedBits { bits: u8 },
    /// Opcode 3–7 or 11–15 (5.2).
    ReservedOpcode { opcode: u8 },
    /// A client's frame without a mask (5.1).
    Unmasked,
    /// A server's frame with a mask (5.1).
    Masked,
    /// A length written in more bytes than it needs (5.2).
    LengthNotMinimal { length: u64 },
    /// A 64-bit length with its highest bit set (5.2).
    LengthTooHigh,
    /// A control frame with FIN clear (5.5).
    ControlFragmented,
    /// A control frame with more than 125 bytes of payload (5.5).
    ControlTooLong { length: u64 },
    /// A continuation frame while no message is in flight (5.4).
    ContinuationWithoutStart,
    /// A new message while a fragmented one is in flight (5.4).
    StartWithoutFinish,
    /// A close payload of one byte (5.5.1).
    CloseTooShort,
    /// A close code that no endpoint may send (7.4).
    CloseCode { code: u16 },
    /// A text message or close reason that is not UTF-8 (5.6, 8.1).
    Utf8,
    /// A compressed message that is no DEFLATE data (RFC 7692 section 7.2.2).
    Deflate,
    /// A message longer than our limit; `length` counts all of its fragments so far, or what it
    /// inflated to so far (10.4).
    MessageTooBig { length: u64, limit: usize },
}

impl Error {
    /// The close code to answer with: 1002, 1007 or 1009 (RFC 6455 section 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self.kind {
            ErrorKind::Utf8 | ErrorKind::Deflate => 1007,
            ErrorKind::MessageTooBig { .. } => 1009,
            _ => 1002,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::ReservedBits { bits } => write!(f, "reserved bits {bits:#05b} are set")?,
            ErrorKind::ReservedOpcode { opcode } => write!(f, "opcode {opcode:#x} is reserved")?,
            ErrorKind::Unmasked => f.write_str("client frame is not masked")?,
            ErrorKind::Masked => f.write_str("server frame is masked")?,
            ErrorKind::LengthNotMinimal { length } => {
                write!(f, "length {length} is not in its shortest form")?;
            }
            ErrorKind::LengthTooHigh => f.write_str("length exceeds 63 bits")?,
            ErrorKind::ControlFragmented => f.write_str("control frame is fragmented")?,
            ErrorKind::ControlTooLong { length } => {
                write!(
                    f,
                    "control frame has {length} bytes, at most 125 are allowed"
                )?;
            }
            ErrorKind::ContinuationWithoutStart => f.write_str("continuation without a message")?,
            ErrorKind::StartWithoutFinish => {
                f.write_str("new message before the fragmented one ended")?;
            }
            ErrorKind::CloseTooShort => f.write_str("close payload has one byte")?,
            ErrorKind::CloseCode { code } => write!(f, "close code {code} must not be sent")?,
            ErrorKind::Utf8 => f.write_str("text is not UTF-8")?,
            ErrorKind::Deflate => f.write_str("compressed message is not DEFLATE data")?,
            ErrorKind::MessageTooBig { length, limit } => {
                write!(
                    f,
                    "message has at least {length} bytes, the limit is {limit}"
                )?;
            }
        }
        write!(f, " (offset {})", self.offset)
    }
}

impl core::error::Error for Error {}
