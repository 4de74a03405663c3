//! The plain TCP transport's framing: a big-endian u32 length, then that many bytes.

#![deny(clippy::indexing_slicing)]

use core::fmt;

const LENGTH_BYTES: usize = 4;

/// The outcome of [`decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The frame is not complete: call again once there are at least `needed` bytes in total.
    Incomplete { needed: usize },
    /// A frame of `consumed` bytes, the length included.
    Frame { consumed: usize, payload: &'a [u8] },
}

/// A frame longer than our limit; the stream cannot be read past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Bytes of payload the peer announced.
    pub length: u32,
    /// Bytes of payload we accept.
    pub limit: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frame has {} bytes, the limit is {}",
            self.length, self.limit
        )
    }
}

impl core::error::Error for Error {}

/// Decodes the frame at the start of `input`; the limit is checked as soon as the length is there.
pub fn decode(input: &[u8], payload_bytes_max: usize) -> Result<Decoded<'_>, Error> {
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(Decoded::Incomplete {
            needed: LENGTH_BYTES,
        });
    };
    let length = u32::from_be_bytes(*length);
    if length as usize > payload_bytes_max {
        return Err(Error {
            length,
            limit: payload_bytes_max,
        });
    }
    let consumed = LENGTH_BYTES + length as usize;
    Ok(match rest.get(..length as usize) {
        Some(payload) => Decoded::Frame { consumed, payload },
        None => Decoded::Incomplete { needed: consumed },
    })
}

/// Appends a frame whose payload `write` appends; `write` must only append.
pub fn frame_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    write(out);
    let payload_len = out.len().checked_sub(start + LENGTH_BYTES);
    let payload_len = payload_len.expect("the payload's writer only appends");
    let length = u32::try_from(payload_len).expect("our frames are far below 4 GiB");
    if let Some(header) = out
        .get_mut(start..)
        .and_then(|frame| frame.first_chunk_mut())
    {
        *header = length.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_way_there_and_back() {
        let mut out = b"before".to_vec();
        frame_with(&mut out, |out| out.extend_from_slice(b"hello"));
        assert_eq!(&out[6..], b"\0\0\0\x05hello");
        assert_eq!(
            decode(&out[6..], 5),
            Ok(Decoded::Frame {
                consumed: 9,
                payload: b"hello"
            })
        );
    }

    #[test]
    fn every_prefix_of_a_frame_asks_for_what_it_lacks() {
        let frame = b"\0\0\0\x02hi";
        for end in 0..frame.len() {
            let needed = if end < 4 { 4 } else { 6 };
            assert_eq!(
                decode(&frame[..end], 64),
                Ok(Decoded::Incomplete { needed })
            );
        }
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        assert_eq!(
            decode(&[0; 5], 0),
            Ok(Decoded::Frame {
                consumed: 4,
                payload: b""
            })
        );
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_from_its_length_alone() {
        assert_eq!(
            decode(&[0, 0, 1, 0], 255),
            Err(Error {
                length: 256,
                limit: 255
            })
        );
        let error = decode(&[0xff; 4], 1 << 20).expect_err("4 GiB");
        assert_eq!(
            error.to_string(),
            "frame has 4294967295 bytes, the limit is 1048576"
        );
    }
}
