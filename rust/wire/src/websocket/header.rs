//! The frame header (RFC 6455 section 5.2).
//!
//! ```text
//! byte 0   FIN(1) RSV(3) opcode(4); RSV1 = the message is compressed, where that was agreed on
//! byte 1   MASK(1) length(7): 0–125, 126 = u16 follows, 127 = u64 follows
//! then     u16 or u64 length, big-endian; then the 4-byte masking key if MASK is set
//! ```

use super::{Error, ErrorKind, Role};

/// Bytes of the longest header: two, a 64-bit length and a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// Bytes of payload a control frame may carry (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// RSV1: the message is compressed (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;
const MASK: u8 = 0x80;
const LENGTH_U16: u8 = 126;
const LENGTH_U64: u8 = 127;
const TEXT: u8 = Opcode::Text as u8;
const BINARY: u8 = Opcode::Binary as u8;
const FIN_TEXT: u8 = FIN | TEXT;
const FIN_BINARY: u8 = FIN | BINARY;
const KEY_BYTES: usize = 4;
/// The highest bit of a 64-bit length is 0.
const LENGTH_MAX: u64 = u64::MAX >> 1;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// The opcode of the low four bits, or `None` where it is reserved.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a close, ping or pong.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// One frame's header, valid by itself; what depends on earlier frames is the decoder's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// Whether the message that this frame begins is compressed.
    pub compressed: bool,
    pub opcode: Opcode,
    /// The masking key; present exactly in a client's frames.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, at most 2^63 − 1.
    pub payload_len: u64,
}

/// A header read from the start of the input, or how much of the input it takes to read one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The header, or all of the frame where that is known already, ends at `needed`.
    Incomplete { needed: usize },
    Header {
        header: Header,
        /// Bytes of the header itself.
        len: usize,
    },
}

/// The header of a message that came as one masked, uncompressed frame below 64 KiB: what almost
/// every frame that a server gets begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    pub text: bool,
    pub key: [u8; 4],
    pub payload_len: usize,
    /// Bytes of the header itself.
    pub len: usize,
}

impl Plain {
    /// Bytes that [`Self::parse`] looks at: the longest header of the kind.
    pub(super) const BYTES: usize = 8;

    /// Reads such a header; none where it is, or may be, of another kind or against the rules.
    #[inline]
    pub(super) fn parse(start: [u8; Self::BYTES]) -> Option<Self> {
        const MASKED_U16: u8 = MASK | LENGTH_U16;
        let [first, second, rest @ ..] = start;
        if !matches!(first, FIN_TEXT | FIN_BINARY) || second < MASK {
            return None;
        }
        let [high, low, key @ ..] = rest;
        let (payload_len, key, len) = if second < MASKED_U16 {
            let [key @ .., _, _] = rest;
            (usize::from(second & !MASK), key, 6)
        } else {
            (usize::from(u16::from_be_bytes([high, low])), key, 8)
        };
        let minimal = second < MASKED_U16 || payload_len > CONTROL_PAYLOAD_BYTES_MAX;
        (second <= MASKED_U16 && minimal).then_some(Self {
            text: first == FIN_TEXT,
            key,
            payload_len,
            len,
        })
    }
}

impl Header {
    /// Reads the header of a frame sent to `role`; `deflate` tells whether permessage-deflate
    /// was agreed on.
    #[inline]
    pub(super) fn parse(input: &[u8], role: Role, deflate: bool) -> Result<Parsed, Error> {
        let Some(&[first, second]) = input.first_chunk() else {
            return Ok(Parsed::Incomplete { needed: 2 });
        };
        let fail = |offset, kind| Err(Error { offset, kind });

        // RSV1 may be set in the first frame of a data message only (RFC 7692 section 6.1).
        let begins = matches!(first & 0x0f, TEXT | BINARY);
        let allowed = if deflate && begins { COMPRESSED } else { 0 };
        let reserved = first & RESERVED;
        if reserved & !allowed != 0 {
            let bits = reserved >> 4;
            return fail(0, ErrorKind::ReservedBits { bits });
        }
        let compressed = reserved != 0;
        let fin = first & FIN != 0;
        let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
            return fail(
                0,
                ErrorKind::ReservedOpcode {
                    opcode: first & 0x0f,
                },
            );
        };
        if opcode.is_control() && !fin {
            return fail(0, ErrorKind::ControlFragmented);
        }
        let masked = second & MASK != 0;
        match role {
            Role::Server if !masked => return fail(1, ErrorKind::Unmasked),
            Role::Client if masked => return fail(1, ErrorKind::Masked),
            _ => {}
        }

        let key_bytes = if masked { KEY_BYTES } else { 0 };
        let short = second & !MASK;
        let after_short = input.get(2..).unwrap_or(&[]);
        let (payload_len, length_end) = match short {
            LENGTH_U16 => match after_short.first_chunk() {
                Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
                None => {
                    return Ok(Parsed::Incomplete {
                        needed: 4 + key_bytes,
                    });
                }
            },
            LENGTH_U64 => match after_short.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 10),
                None => {
                    return Ok(Parsed::Incomplete {
                        needed: 10 + key_bytes,
                    });
                }
            },
            short => (u64::from(short), 2),
        };
        if payload_len > LENGTH_MAX {
            return fail(2, ErrorKind::LengthTooHigh);
        }
        let minimal = match short {
            LENGTH_U16 => payload_len > CONTROL_PAYLOAD_BYTES_MAX as u64,
            LENGTH_U64 => payload_len > u64::from(u16::MAX),
            _ => true,
        };
        if !minimal {
            return fail(
                1,
                ErrorKind::LengthNotMinimal {
                    length: payload_len,
                },
            );
        }
        if opcode.is_control() && payload_len > CONTROL_PAYLOAD_BYTES_MAX as u64 {
            return fail(
                1,
                ErrorKind::ControlTooLong {
                    length: payload_len,
                },
            );
        }

        let len = length_end + key_bytes;
        let mask = if masked {
            let Some(key) = input.get(length_end..).and_then(|rest| rest.first_chunk()) else {
                return Ok(Parsed::Incomplete { needed: len });
            };
            Some(*key)
        } else {
            None
        };
        Ok(Parsed::Header {
            header: Self {
                fin,
                compressed,
                opcode,
                mask,
                payload_len,
            },
            len,
        })
    }

    /// Appends the header in its shortest form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_bytes().as_slice());
    }

    /// The header in its shortest form.
    ///
    /// Panics on a fragmented or too long control frame: the caller's mistake.
    pub(super) fn to_bytes(self) -> HeaderBytes {
        assert!(
            !self.opcode.is_control()
                || (self.fin && self.payload_len <= CONTROL_PAYLOAD_BYTES_MAX as u64),
            "a control frame is one frame of at most {CONTROL_PAYLOAD_BYTES_MAX} bytes"
        );
        let mut header = HeaderBytes {
            bytes: [0; HEADER_BYTES_MAX],
            len: 0,
        };
        let fin = if self.fin { FIN } else { 0 };
        let compressed = if self.compressed { COMPRESSED } else { 0 };
        header.push([fin | compressed | self.opcode as u8]);
        let masked = if self.mask.is_some() { MASK } else { 0 };
        if self.payload_len <= CONTROL_PAYLOAD_BYTES_MAX as u64 {
            header.push([masked | self.payload_len as u8]);
        } else if let Ok(length) = u16::try_from(self.payload_len) {
            header.push([masked | LENGTH_U16]);
            header.push(length.to_be_bytes());
        } else {
            assert!(self.payload_len <= LENGTH_MAX, "a length has 63 bits");
            header.push([masked | LENGTH_U64]);
            header.push(self.payload_len.to_be_bytes());
        }
        if let Some(key) = self.mask {
            header.push(key);
        }
        header
    }
}

/// An encoded header.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn push<const N: usize>(&mut self, part: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + N) {
            room.copy_from_slice(&part);
            self.len += N;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_way_reads_what_the_full_one_reads_and_leaves_it_the_rest() {
        let lengths = [0u16, 1, 125, 126, 127, 128, 0x1234, u16::MAX];
        for (bits, length) in (0..=u16::MAX).flat_map(|bits| lengths.map(|length| (bits, length))) {
            let ([first, second], [high, low]) = (bits.to_be_bytes(), length.to_be_bytes());
            let start = [first, second, high, low, 5, 6, 7, 8];
            let mut input = [0; HEADER_BYTES_MAX];
            input[..start.len()].copy_from_slice(&start);
            let full = match Header::parse(&input, Role::Server, true) {
                Ok(Parsed::Header { header, len }) => Some((header, len)),
                _ => None,
            };
            let expected = full.filter(|(header, _)| {
                header.fin
                    && !header.compressed
                    && matches!(header.opcode, Opcode::Text | Opcode::Binary)
                    && u16::try_from(header.payload_len).is_ok()
                    && second & !MASK != LENGTH_U64
            });
            let found = Plain::parse(start).map(|plain| {
                let header = Header {
                    fin: true,
                    compressed: false,
                    opcode: if plain.text {
                        Opcode::Text
                    } else {
                        Opcode::Binary
                    },
                    mask: Some(plain.key),
                    payload_len: plain.payload_len as u64,
                };
                (header, plain.len)
            });
            assert_eq!(found, expected, "{start:?}");
        }
    }
}
