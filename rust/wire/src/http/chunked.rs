//! Bodies in chunks (RFC 9112 section 7.1), put together where they stand.

use super::framing::Refusal;

/// Bytes of the line before a chunk: its size, and extensions, which mean nothing to us.
const SIZE_LINE_BYTES: usize = 256;
/// Bytes of the trailer section, which is thrown away.
const TRAILER_BYTES: usize = 2048;
/// Digits of a chunk's size; more than any limit allows.
const SIZE_DIGITS: usize = 8;

/// How far a body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the line with a chunk's size.
    Size,
    /// In a chunk of which so many bytes are to come.
    Data(u32),
    /// Before the line end behind a chunk.
    DataEnd,
    /// In the trailer section, of which so many bytes were read.
    Trailer(u32),
}

/// A body that comes in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    at: At,
}

/// What [`Chunked::read`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchunked {
    /// More is to come. `kept` bytes of the buffer still mean something; call again with them and
    /// what follows.
    Incomplete { body: usize, kept: usize },
    /// `body` bytes stand together; the request ends after `consumed` bytes of the buffer.
    Complete { body: usize, consumed: usize },
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::Size }
    }
}

impl Chunked {
    /// Reads on. The first `body` bytes of `buffer` are those of the chunks so far; more are moved up
    /// to them, so that a chunk costs its bytes once, however late they come.
    ///
    /// # Errors
    /// Bytes that are no chunks, or more than `limit` of them together.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut body: usize,
        limit: usize,
    ) -> Result<Unchunked, Refusal> {
        let mut next = body;
        loop {
            let rest = buffer.get(next..).unwrap_or(&[]);
            match self.at {
                At::Size => {
                    let Some(line) = line(rest, SIZE_LINE_BYTES)? else {
                        break;
                    };
                    let size = size(line)?;
                    if body + size as usize > limit {
                        return Err(Refusal::new(413, "the body is above the limit"));
                    }
                    next += line.len() + 2;
                    self.at = if size == 0 {
                        At::Trailer(0)
                    } else {
                        At::Data(size)
                    };
                }
                At::Data(left) => {
                    let take = rest.len().min(left as usize);
                    if take == 0 {
                        break;
                    }
                    buffer.copy_within(next..next + take, body);
                    next += take;
                    body += take;
                    let left = left - take as u32;
                    self.at = if left == 0 {
                        At::DataEnd
                    } else {
                        At::Data(left)
                    };
                }
                At::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        next += 2;
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(Refusal::new(400, "a chunk is longer than its size")),
                },
                At::Trailer(read) => {
                    let Some(line) = line(rest, TRAILER_BYTES)? else {
                        break;
                    };
                    next += line.len() + 2;
                    if line.is_empty() {
                        let consumed = next;
                        return Ok(Unchunked::Complete { body, consumed });
                    }
                    let read = read as usize + line.len() + 2;
                    if read > TRAILER_BYTES {
                        return Err(Refusal::new(431, "the trailer section is too long"));
                    }
                    self.at = At::Trailer(read as u32);
                }
            }
        }
        let kept = body + buffer.len() - next;
        buffer.copy_within(next.., body);
        Ok(Unchunked::Incomplete { body, kept })
    }
}

/// The line at the start of `rest` without its CR LF; `None` while it is not complete.
fn line(rest: &[u8], limit: usize) -> Result<Option<&[u8]>, Refusal> {
    let window = rest.get(..limit).unwrap_or(rest);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if rest.len() >= limit {
            Err(Refusal::new(400, "a line of the chunks is too long"))
        } else {
            Ok(None)
        };
    };
    match (rest.get(end), rest.get(end + 1)) {
        (Some(b'\r'), None) => Ok(None),
        (Some(b'\r'), Some(b'\n')) => Ok(rest.get(..end)),
        _ => Err(Refusal::new(
            400,
            "a line of the chunks does not end in CR LF",
        )),
    }
}

/// The size in front of a line's extensions: hexadecimal digits, nothing before or between them.
fn size(line: &[u8]) -> Result<u32, Refusal> {
    const NOT_A_SIZE: Refusal = Refusal::new(400, "a chunk's size is not a number");
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
    // Space before the extensions is bad form, but has one meaning only.
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || digits.len() > SIZE_DIGITS {
        return Err(NOT_A_SIZE);
    }
    let mut size: u32 = 0;
    for digit in digits {
        let value = char::from(*digit).to_digit(16).ok_or(NOT_A_SIZE)?;
        size = size.checked_mul(16).ok_or(NOT_A_SIZE)? | value;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and how many bytes it took, of chunks that come in pieces of `step` bytes.
    fn read(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
        let mut chunked = Chunked::default();
        let (mut buffer, mut body, mut dropped) = (Vec::new(), 0, 0);
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            match chunked.read(&mut buffer, body, 1000)? {
                Unchunked::Incomplete { body: so_far, kept } => {
                    dropped += buffer.len() - kept;
                    buffer.truncate(kept);
                    body = so_far;
                }
                Unchunked::Complete { body, consumed } => {
                    return Ok(Some((buffer[..body].to_vec(), consumed + dropped)));
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_one_body_however_they_come() {
        let input = b"4\r\nWiki\r\n6;name=\"x\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nA: b\r\n\r\nGET";
        for step in 1..=input.len() {
            let (body, consumed) = read(input, step).expect("chunks").expect("the end");
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(consumed, input.len() - 3, "in pieces of {step}");
        }
    }

    #[test]
    fn every_part_of_a_body_is_incomplete() {
        let input = b"3\r\nabc\r\n0\r\n\r\n";
        for end in 0..input.len() {
            assert_eq!(read(&input[..end], 3), Ok(None));
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for bad in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b"3 3\r\nabc\r\n0\r\n\r\n",
            b"fffffffff\r\n",
            b"-1\r\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
        ] {
            assert!(read(bad, 100).is_err_and(|error| error.status == 400));
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_there() {
        let refused = |input: &[u8]| read(input, 7).expect_err("refused").status;
        assert_eq!(refused(b"3e9\r\n"), 413);
        assert_eq!(
            refused(
                b"1f4\r\n"
                    .iter()
                    .chain(&[b'x'; 500])
                    .chain(b"\r\n1f5\r\n")
                    .copied()
                    .collect::<Vec<_>>()
                    .as_slice()
            ),
            413
        );
        assert_eq!(refused(&[&b"1;"[..], &[b'x'; 300]].concat()), 400);
        let trailers = [&b"0\r\n"[..], &b"A: bcdefgh\r\n".repeat(300)].concat();
        assert_eq!(refused(&trailers), 431);
    }
}
