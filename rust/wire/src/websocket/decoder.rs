//! Turns a peer's bytes into events (RFC 6455 sections 5 to 8).

use super::header::{Header, Opcode, Parsed};
use super::mask::unmask;
use super::{Error, ErrorKind, Role, close};

/// The receiving half of one connection.
///
/// Small while no fragmented message is in flight: a role, a limit and an empty pointer. After an
/// error or a close event the stream is over, and the decoder with it.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes a message may have, all fragments together.
    message_bytes_max: usize,
    fragments: Option<Box<Fragments>>,
    role: Role,
}

/// A message that arrives in several frames.
#[derive(Debug)]
struct Fragments {
    text: bool,
    /// The message was handed out; its memory goes at the next call.
    handed_out: bool,
    bytes: Vec<u8>,
    /// Bytes known to be UTF-8; what follows, at most three bytes, is the start of a character.
    valid_bytes: usize,
}

/// The outcome of one call to [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The frame is not complete. Nothing was changed; call again with the same bytes and more,
    /// once there are at least `needed` bytes in total.
    Incomplete { needed: usize },
    /// A message or control frame that ended after `consumed` bytes.
    Frame { consumed: usize, event: Event<'a> },
    /// A frame of `consumed` bytes was stored, its message goes on.
    Fragment { consumed: usize },
}

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// `code` is absent where the payload was empty.
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
}

impl Decoder {
    /// A decoder for frames sent to `role`; messages over `message_bytes_max` bytes are refused.
    pub fn new(role: Role, message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            fragments: None,
            role,
        }
    }

    /// Decodes the frame at the start of `input`, unmasking its payload in place.
    ///
    /// Drop `consumed` bytes before the next call. Memory is bounded by `message_bytes_max`, and
    /// a fragmented message's is freed by the call after the one that returned it.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Error> {
        if self
            .fragments
            .as_ref()
            .is_some_and(|fragments| fragments.handed_out)
        {
            self.fragments = None;
        }
        let (header, header_len) = match Header::parse(input, self.role)? {
            Parsed::Incomplete { needed } => return Ok(Decoded::Incomplete { needed }),
            Parsed::Header { header, len } => (header, len),
        };
        let payload_len = self.admit(&header)?;
        let consumed = header_len.saturating_add(payload_len);
        let Some(payload) = input.get_mut(header_len..consumed) else {
            return Ok(Decoded::Incomplete { needed: consumed });
        };
        if let Some(key) = header.mask {
            unmask(payload, key);
        }
        let event = match header.opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            Opcode::Close => {
                let (code, reason) = close::parse(payload, header_len)?;
                Event::Close { code, reason }
            }
            Opcode::Binary if header.fin => Event::Binary(payload),
            Opcode::Text if header.fin => match core::str::from_utf8(payload) {
                Ok(text) => Event::Text(text),
                Err(error) => return Err(utf8_error(header_len + error.valid_up_to())),
            },
            opcode => {
                let fragments = self.fragments.get_or_insert_with(|| {
                    Box::new(Fragments {
                        text: opcode == Opcode::Text,
                        handed_out: false,
                        bytes: Vec::new(),
                        valid_bytes: 0,
                    })
                });
                fragments.append(payload, self.message_bytes_max);
                if !header.fin {
                    fragments.check_so_far(header_len, payload_len)?;
                    return Ok(Decoded::Fragment { consumed });
                }
                fragments.finish(header_len, payload_len)?
            }
        };
        Ok(Decoded::Frame { consumed, event })
    }

    /// Whether a fragmented message is in flight.
    pub fn in_message(&self) -> bool {
        self.fragments
            .as_ref()
            .is_some_and(|fragments| !fragments.handed_out)
    }

    /// Checks what a header may say at this point of the stream, and gives its payload's length.
    fn admit(&self, header: &Header) -> Result<usize, Error> {
        let fail = |offset, kind| Err(Error { offset, kind });
        let limit = self.message_bytes_max;
        let before = match (header.opcode, &self.fragments) {
            (Opcode::Continuation, None) => return fail(0, ErrorKind::ContinuationWithoutStart),
            (Opcode::Continuation, Some(fragments)) => fragments.bytes.len(),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return fail(0, ErrorKind::StartWithoutFinish);
            }
            (Opcode::Text | Opcode::Binary, None) => 0,
            // The header's parser has bounded control frames already.
            _ => return Ok(header.payload_len as usize),
        };
        let length = header.payload_len.saturating_add(before as u64);
        if length > limit as u64 {
            return fail(1, ErrorKind::MessageTooBig { length, limit });
        }
        Ok(header.payload_len as usize)
    }
}

impl Fragments {
    /// Stores a fragment that [`Decoder::admit`] let through; capacity doubles up to the limit.
    fn append(&mut self, payload: &[u8], message_bytes_max: usize) {
        let needed = self.bytes.len() + payload.len();
        debug_assert!(needed <= message_bytes_max, "checked from the header");
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(message_bytes_max);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
    }

    /// Checks the text so far; a character may go on in the next fragment.
    fn check_so_far(&mut self, header_len: usize, payload_len: usize) -> Result<(), Error> {
        if !self.text {
            return Ok(());
        }
        let unchecked = self.bytes.get(self.valid_bytes..).unwrap_or(&[]);
        match core::str::from_utf8(unchecked) {
            Ok(_) => self.valid_bytes = self.bytes.len(),
            Err(error) => {
                self.valid_bytes += error.valid_up_to();
                if error.error_len().is_some() {
                    return Err(self.utf8_error(self.valid_bytes, header_len, payload_len));
                }
            }
        }
        Ok(())
    }

    /// The whole message, now that its last fragment is stored.
    fn finish(&mut self, header_len: usize, payload_len: usize) -> Result<Event<'_>, Error> {
        self.handed_out = true;
        if !self.text {
            return Ok(Event::Binary(&self.bytes));
        }
        // What earlier fragments brought is read a second time. That is cheaper than it looks,
        // fragmented text being rare, and spares us an unchecked conversion.
        core::str::from_utf8(&self.bytes)
            .map(Event::Text)
            .map_err(|error| self.utf8_error(error.valid_up_to(), header_len, payload_len))
    }

    /// The error for byte `at` of the message, of which the last `payload_len` bytes follow the
    /// header of `header_len` bytes in the input.
    fn utf8_error(&self, at: usize, header_len: usize, payload_len: usize) -> Error {
        let earlier = self.bytes.len() - payload_len;
        utf8_error(header_len + at.saturating_sub(earlier))
    }
}

fn utf8_error(offset: usize) -> Error {
    Error {
        offset,
        kind: ErrorKind::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::super::masked_frame;
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn fragment(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header {
            fin,
            opcode,
            mask: Some(KEY),
            payload_len: payload.len() as u64,
        };
        header.write(&mut out);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], KEY);
        out
    }

    #[test]
    fn an_idle_decoder_is_small() {
        assert!(size_of::<Decoder>() <= 24, "{} bytes", size_of::<Decoder>());
    }

    #[test]
    fn a_message_in_one_frame_is_borrowed_from_the_input() {
        let mut input = Vec::new();
        masked_frame(Opcode::Binary, b"Hello", KEY, &mut input);
        let range = input.as_ptr_range();
        let mut decoder = Decoder::new(Role::Server, 64);
        let Ok(Decoded::Frame {
            event: Event::Binary(payload),
            ..
        }) = decoder.decode(&mut input)
        else {
            panic!("a binary message");
        };
        assert!(range.contains(&payload.as_ptr()));
        assert!(decoder.fragments.is_none());
    }

    #[test]
    fn an_incomplete_frame_is_left_as_it_was() {
        let mut input = Vec::new();
        masked_frame(Opcode::Text, b"Hello", KEY, &mut input);
        input.pop();
        let before = input.clone();
        let mut decoder = Decoder::new(Role::Server, 64);
        assert_eq!(
            decoder.decode(&mut input),
            Ok(Decoded::Incomplete { needed: 11 })
        );
        assert_eq!(input, before);
    }

    #[test]
    fn memory_of_a_fragmented_message_is_bounded_and_freed_by_the_next_call() {
        let mut decoder = Decoder::new(Role::Server, 100);
        let first = decoder
            .decode(&mut fragment(Opcode::Binary, false, &[7; 60]))
            .map(drop);
        assert_eq!(first, Ok(()));
        assert!(decoder.in_message());
        let last = decoder
            .decode(&mut fragment(Opcode::Continuation, true, &[7; 40]))
            .map(drop);
        assert_eq!(last, Ok(()));
        let held = decoder
            .fragments
            .as_ref()
            .map(|fragments| fragments.bytes.capacity());
        assert_eq!(held, Some(100));
        assert!(!decoder.in_message());
        assert_eq!(
            decoder.decode(&mut []),
            Ok(Decoded::Incomplete { needed: 2 })
        );
        assert!(decoder.fragments.is_none());
    }

    fn second_fragment_error(first: &[u8], fin: bool, second: &[u8]) -> Error {
        let mut decoder = Decoder::new(Role::Server, 64);
        let began = decoder
            .decode(&mut fragment(Opcode::Text, false, first))
            .map(drop);
        assert_eq!(began, Ok(()));
        let mut input = fragment(Opcode::Continuation, fin, second);
        decoder
            .decode(&mut input)
            .expect_err("text that is not UTF-8")
    }

    #[test]
    fn an_error_names_the_byte_that_is_wrong() {
        let mut decoder = Decoder::new(Role::Server, 64);
        let mut input = fragment(Opcode::Text, true, b"ok\xff");
        assert_eq!(decoder.decode(&mut input), Err(utf8_error(8)));

        // The character began in an earlier frame: the first byte of this one is the best we have.
        assert_eq!(
            second_fragment_error(b"ok\xed", false, b"\xa0"),
            utf8_error(6)
        );
        assert_eq!(
            second_fragment_error(b"ok\xc3", false, b"\xa9ab\xff"),
            utf8_error(9)
        );
        assert_eq!(
            second_fragment_error(b"ok\xc3", true, b"\xa9ab\xff"),
            utf8_error(9)
        );
        assert_eq!(second_fragment_error(b"ok", true, b"ab\xc3"), utf8_error(8));

        let error = Decoder::new(Role::Server, 64)
            .decode(&mut [0x81, 0x05])
            .expect_err("no mask");
        assert_eq!(error.to_string(), "client frame is not masked (offset 1)");
    }
}
