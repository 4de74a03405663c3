//! Protobuf wire format, as far as imfast's own messages need it: varints and
//! length-delimited fields, read without a copy.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Generated decoders copy every
//! string; ours borrow from the input, so that a `send` costs no allocation.

use core::fmt;

/// Why bytes are not a protobuf message. `offset` counts from the start of the buffer read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends inside a field.
    Truncated { offset: usize, needed: usize },
    /// A varint longer than ten bytes, or above 64 bits.
    Varint { offset: usize },
    /// A wire type that protobuf does not define, or a field number 0.
    Tag { offset: usize },
    /// A string field that is not UTF-8.
    Utf8 { offset: usize },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset, needed } => {
                write!(
                    f,
                    "message ends at offset {offset}, {needed} more bytes needed"
                )
            }
            Self::Varint { offset } => write!(f, "varint too long at offset {offset}"),
            Self::Tag { offset } => write!(f, "invalid field tag at offset {offset}"),
            Self::Utf8 { offset } => write!(f, "string at offset {offset} is not UTF-8"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The varint, or 0 where the field has another type (proto3's default).
    pub fn number(self) -> u64 {
        match self {
            Self::Varint(v) | Self::Fixed64(v) => v,
            Self::Fixed32(v) => u64::from(v),
            Self::Bytes(_) => 0,
        }
    }

    /// The bytes, or none where the field has another type.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(b) => b,
            _ => &[],
        }
    }

    /// The bytes as a string.
    pub fn text(self, offset: usize) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.bytes()).map_err(|_| Malformed::Utf8 { offset })
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    input: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, offset: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.offset..).unwrap_or(&[])
    }

    /// A bare varint, as used for lengths between frames.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.input.get(self.offset) {
            Some(&byte) if byte < 0x80 => {
                self.offset += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// One of several bytes, or none at all.
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in 0..10u32 {
            let Some(&byte) = self.input.get(self.offset) else {
                return Err(Malformed::Truncated {
                    offset: self.offset,
                    needed: 1,
                });
            };
            self.offset += 1;
            if shift == 9 && byte > 1 {
                return Err(Malformed::Varint { offset: start });
            }
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint { offset: start })
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.offset == self.input.len() {
            return Ok(None);
        }
        let start = self.offset;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::Tag { offset: start })?;
        if number == 0 {
            return Err(Malformed::Tag { offset: start });
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::Tag { offset: start }),
        };
        Ok(Some((number, value)))
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let left = self.input.len() - self.offset;
        if length > left {
            return Err(Malformed::Truncated {
                offset: self.input.len(),
                needed: length - left,
            });
        }
        let start = self.offset;
        self.offset += length;
        Ok(&self.input[start..self.offset])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
}

/// Number of bytes that `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a bare varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        put_long_varint(out, value);
    }
}

/// Appends one of several bytes, all of them at once.
fn put_long_varint(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0; 10];
    let mut length = 0;
    for byte in &mut bytes {
        length += 1;
        *byte = value as u8 | 0x80;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    out.extend_from_slice(&bytes[..length]);
}

/// Appends a varint field; 0 is proto3's default and is left out.
#[inline]
pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field << 3));
        put_varint(out, value);
    }
}

/// Appends a length-delimited field; an empty one is left out.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        put_message(out, field, value);
    }
}

/// Appends a length-delimited field even when it is empty: a chosen `oneof` member, an element of a list.
#[inline]
pub fn put_message(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a nested message written by `write`.
#[inline]
pub fn put_nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(field << 3 | 2));
    put_delimited(out, write);
}

/// Appends a length and then what `write` writes. The length is known only afterwards, so the
/// payload is moved in the case that its length needs more than one byte.
#[inline]
pub fn put_delimited(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - at - 1) as u64;
    if length < 0x80 {
        out[at] = length as u8;
        return;
    }
    put_length(out, at, length);
}

/// Puts `length`, of two bytes or more, where `at` has room for one.
fn put_length(out: &mut Vec<u8>, at: usize, length: u64) {
    let extra = varint_len(length) - 1;
    if extra > 0 {
        let end = out.len();
        out.resize(end + extra, 0);
        out.copy_within(at + 1..end, at + 1 + extra);
    }
    let mut rest = length;
    let slot = &mut out[at..=at + extra];
    for byte in slot.iter_mut() {
        *byte = rest as u8 & 0x7f | 0x80;
        rest >>= 7;
    }
    if let Some(last) = slot.last_mut() {
        *last &= 0x7f;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for value in (0..64).map(|b| 1u64 << b).chain([0, 127, 128, u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Reader::new(&out).varint(), Ok(value));
        }
    }

    #[test]
    fn eleventh_byte_is_refused() {
        assert_eq!(
            Reader::new(&[0xff; 11]).varint(),
            Err(Malformed::Varint { offset: 0 })
        );
    }

    #[test]
    fn nested_lengths_at_the_edges_of_a_varint_come_back() {
        for length in [0usize, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = vec![9, 9];
            put_nested(&mut out, 5, |o| o.resize(o.len() + length, 7));
            out.push(8);
            let mut reader = Reader::new(&out[2..out.len() - 1]);
            let (field, value) = reader.field().expect("valid").expect("one field");
            assert_eq!((field, value.bytes().len()), (5, length));
            assert_eq!(reader.field(), Ok(None));
        }
    }

    #[test]
    fn truncated_field_says_how_much_is_missing() {
        assert_eq!(
            Reader::new(&[0x0a, 5, 1]).field(),
            Err(Malformed::Truncated {
                offset: 3,
                needed: 4
            })
        );
    }
}
