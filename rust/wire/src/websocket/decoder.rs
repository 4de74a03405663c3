//! Turns a peer's bytes into events (RFC 6455 sections 5 to 8).

use super::assembly::Assembly;
use super::deflate::{Inflater, compressed_bytes_max};
use super::header::{Header, Opcode, Parsed, Plain};
use super::mask::unmask;
use super::{Error, ErrorKind, Role, close, utf8};

/// The receiving half of one connection.
///
/// Small while no message is half there: a role, a limit and an empty pointer. After an error or
/// a close event the stream is over, and the decoder with it.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes a message may have, all fragments together.
    message_bytes_max: usize,
    assembly: Option<Box<Assembly>>,
    role: Role,
    deflate: bool,
}

/// The outcome of one call to [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// The frame's header, or all of a control frame, is not complete, or none of the payload is
    /// there. Nothing was changed; call again with the same bytes and more, once there are at
    /// least `needed` bytes in total.
    Incomplete { needed: usize },
    /// A message or control frame that ended after `consumed` bytes.
    Frame { consumed: usize, event: Event<'a> },
    /// A part of a message, `consumed` bytes long, was stored; the message goes on.
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
            assembly: None,
            role,
            deflate: false,
        }
    }

    /// The same where permessage-deflate without context takeover was agreed on.
    #[must_use]
    pub fn with_deflate(self) -> Self {
        Self {
            deflate: true,
            ..self
        }
    }

    /// Decodes the frame at the start of `input`, unmasking its payload in place.
    ///
    /// Drop `consumed` bytes before the next call. A message that is there as one whole frame is
    /// lent out from `input`, a compressed one from `inflater`; others are put together, in
    /// memory that is bounded by `message_bytes_max` (and an eighth more while compressed) and
    /// freed by the call after the one that returned the message.
    #[inline]
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
    ) -> Result<Decoded<'a>, Error> {
        match self.plain(input) {
            Some(frame) => whole(frame, input),
            None => self.decode_any(input, inflater),
        }
    }

    /// The header of a frame that is a message by itself, all of it there, as clients send them.
    #[inline]
    fn plain(&self, input: &[u8]) -> Option<Plain> {
        let frame = Plain::parse(*input.first_chunk()?)?;
        let expected = self.role == Role::Server
            && self.assembly.is_none()
            && frame.payload_len <= self.message_bytes_max
            && input.len() >= frame.len + frame.payload_len;
        expected.then_some(frame)
    }

    /// [`Self::decode`] of any frame.
    #[inline(never)]
    fn decode_any<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
    ) -> Result<Decoded<'a>, Error> {
        if let Some(assembly) = &self.assembly {
            if assembly.handed_out {
                self.assembly = None;
            } else if let Some(missing) = assembly.missing() {
                if input.is_empty() {
                    return Ok(Decoded::Incomplete { needed: missing });
                }
                return self.go_on(input, 0, inflater);
            }
        }
        let (header, header_len) = match Header::parse(input, self.role, self.deflate)? {
            Parsed::Incomplete { needed } => return Ok(Decoded::Incomplete { needed }),
            Parsed::Header { header, len } => (header, len),
        };
        let payload_len = self.admit(header)?;
        let consumed = header_len.saturating_add(payload_len);
        let whole_message = header.fin && header.opcode != Opcode::Continuation;
        if input.len() < consumed || !whole_message {
            let control = header.opcode.is_control();
            if input.len() < consumed && (control || input.len() == header_len) {
                return Ok(Decoded::Incomplete { needed: consumed });
            }
            return self.begin(header, input, header_len, inflater);
        }
        let payload = input.get_mut(header_len..consumed).unwrap_or_default();
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
            opcode if header.compressed => {
                let message = inflate(inflater, payload, self.message_bytes_max, header_len)?;
                data(opcode == Opcode::Text, message, header_len)?
            }
            Opcode::Text => match utf8::validate(payload) {
                Ok(text) => Event::Text(text),
                Err(error) => return Err(utf8_error(header_len + error.valid_up_to())),
            },
            _ => Event::Binary(payload),
        };
        Ok(Decoded::Frame { consumed, event })
    }

    /// Begins a frame that is not, or not yet, a message by itself.
    #[inline(never)]
    fn begin<'a>(
        &'a mut self,
        header: Header,
        input: &mut [u8],
        header_len: usize,
        inflater: &'a mut Inflater,
    ) -> Result<Decoded<'a>, Error> {
        self.assembly
            .get_or_insert_with(|| Box::new(Assembly::new(header)))
            .begin(header);
        self.go_on(input, header_len, inflater)
    }

    /// Stores what is there of the present frame, and gives the message if that completes it.
    #[inline(never)]
    fn go_on<'a>(
        &'a mut self,
        input: &mut [u8],
        header_len: usize,
        inflater: &'a mut Inflater,
    ) -> Result<Decoded<'a>, Error> {
        let bytes_max = self.message_bytes_max;
        let Some(assembly) = &mut self.assembly else {
            return Ok(Decoded::Fragment {
                consumed: header_len,
            });
        };
        let stored_max = stored_bytes_max(bytes_max, assembly.is_compressed());
        let payload = input.get_mut(header_len..).unwrap_or_default();
        let (taken, complete) = assembly.take(payload, header_len, stored_max)?;
        let consumed = header_len + taken;
        if !complete {
            return Ok(Decoded::Fragment { consumed });
        }
        assembly.handed_out = true;
        let message = if assembly.is_compressed() {
            inflate(inflater, assembly.bytes(), bytes_max, header_len)?
        } else {
            assembly.bytes()
        };
        // Text that came uncompressed is checked a second time here. That is cheaper than it
        // looks, messages in pieces being rare, and spares us an unchecked conversion.
        let event = data(assembly.is_text(), message, header_len)?;
        Ok(Decoded::Frame { consumed, event })
    }

    /// Whether a message is half there.
    pub fn in_message(&self) -> bool {
        self.assembly
            .as_ref()
            .is_some_and(|assembly| !assembly.handed_out)
    }

    /// Checks what a header may say at this point of the stream, and gives its payload's length.
    fn admit(&self, header: Header) -> Result<usize, Error> {
        let fail = |offset, kind| Err(Error { offset, kind });
        let (before, compressed) = match (header.opcode, &self.assembly) {
            (Opcode::Continuation, None) => return fail(0, ErrorKind::ContinuationWithoutStart),
            (Opcode::Continuation, Some(assembly)) => (assembly.len(), assembly.is_compressed()),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return fail(0, ErrorKind::StartWithoutFinish);
            }
            (Opcode::Text | Opcode::Binary, None) => (0, header.compressed),
            // The header's parser has bounded control frames already.
            _ => return Ok(header.payload_len as usize),
        };
        let limit = stored_bytes_max(self.message_bytes_max, compressed);
        let length = header.payload_len.saturating_add(before as u64);
        if length > limit as u64 {
            return fail(1, ErrorKind::MessageTooBig { length, limit });
        }
        Ok(header.payload_len as usize)
    }
}

/// Unmasks a message that is all there.
#[inline]
fn whole(frame: Plain, input: &mut [u8]) -> Result<Decoded<'_>, Error> {
    let consumed = frame.len + frame.payload_len;
    let payload = input.get_mut(frame.len..consumed).unwrap_or_default();
    unmask(payload, frame.key);
    let event = data(frame.text, payload, frame.len)?;
    Ok(Decoded::Frame { consumed, event })
}

/// Bytes that a message may have as it comes.
fn stored_bytes_max(message_bytes_max: usize, compressed: bool) -> usize {
    if compressed {
        compressed_bytes_max(message_bytes_max)
    } else {
        message_bytes_max
    }
}

fn inflate<'a>(
    inflater: &'a mut Inflater,
    compressed: &[u8],
    message_bytes_max: usize,
    offset: usize,
) -> Result<&'a [u8], Error> {
    inflater
        .inflate(compressed, message_bytes_max)
        .map_err(|kind| Error { offset, kind })
}

/// The event of a whole message, which starts at `offset` of the input.
fn data(text: bool, message: &[u8], offset: usize) -> Result<Event<'_>, Error> {
    if !text {
        return Ok(Event::Binary(message));
    }
    match utf8::validate(message) {
        Ok(text) => Ok(Event::Text(text)),
        Err(error) => Err(utf8_error(offset + error.valid_up_to())),
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
    use super::super::deflate::Deflater;
    use super::super::masked_frame;
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn fragment(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(opcode, fin, false, payload, &mut out);
        out
    }

    fn put(opcode: Opcode, fin: bool, compressed: bool, payload: &[u8], out: &mut Vec<u8>) {
        let header = Header {
            fin,
            compressed,
            opcode,
            mask: Some(KEY),
            payload_len: payload.len() as u64,
        };
        header.write(out);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], KEY);
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
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64);
        let Ok(Decoded::Frame {
            event: Event::Binary(payload),
            ..
        }) = decoder.decode(&mut input, &mut inflater)
        else {
            panic!("a binary message");
        };
        assert!(range.contains(&payload.as_ptr()));
        assert!(decoder.assembly.is_none());
    }

    #[test]
    fn a_frame_without_its_payload_is_left_as_it_was() {
        let mut input = Vec::new();
        masked_frame(Opcode::Text, b"Hello", KEY, &mut input);
        input.truncate(6);
        let before = input.clone();
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64);
        assert_eq!(
            decoder.decode(&mut input, &mut inflater),
            Ok(Decoded::Incomplete { needed: 11 })
        );
        assert_eq!(input, before);
    }

    #[test]
    fn memory_of_a_fragmented_message_is_bounded_and_freed_by_the_next_call() {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 100);
        let first = decoder
            .decode(
                &mut fragment(Opcode::Binary, false, &[7; 60]),
                &mut inflater,
            )
            .map(drop);
        assert_eq!(first, Ok(()));
        assert!(decoder.in_message());
        let last = decoder
            .decode(
                &mut fragment(Opcode::Continuation, true, &[7; 40]),
                &mut inflater,
            )
            .map(drop);
        assert_eq!(last, Ok(()));
        let held = decoder
            .assembly
            .as_ref()
            .map(|assembly| assembly.capacity());
        assert_eq!(held, Some(100));
        assert!(!decoder.in_message());
        assert_eq!(
            decoder.decode(&mut [], &mut inflater),
            Ok(Decoded::Incomplete { needed: 2 })
        );
        assert!(decoder.assembly.is_none());
    }

    #[test]
    fn a_frame_in_pieces_is_stored_as_it_comes_and_needs_no_more_than_that() {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 10_000);
        let mut input = Vec::new();
        masked_frame(Opcode::Binary, &[7; 10_000], KEY, &mut input);
        let (first, second) = input.split_at_mut(108);
        let consumed = first.len();
        assert_eq!(
            decoder.decode(first, &mut inflater),
            Ok(Decoded::Fragment { consumed })
        );
        let held = decoder.assembly.as_ref().map(|held| held.capacity());
        assert_eq!(held, Some(100));
        let needed = second.len();
        assert_eq!(
            decoder.decode(&mut [], &mut inflater),
            Ok(Decoded::Incomplete { needed })
        );
        assert_eq!(
            decoder.decode(second, &mut inflater),
            Ok(Decoded::Frame {
                consumed: needed,
                event: Event::Binary(&[7; 10_000])
            })
        );
    }

    #[test]
    fn section_8_1_bad_text_is_refused_while_its_frame_is_still_coming() {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64);
        let mut input = Vec::new();
        put(
            Opcode::Text,
            true,
            false,
            b"ok\xf4\x90\x80\x80abc",
            &mut input,
        );
        // The character's first byte may begin a valid one, the second cannot go on with it.
        assert_eq!(
            decoder.decode(&mut input[..9], &mut inflater),
            Ok(Decoded::Fragment { consumed: 9 })
        );
        assert_eq!(
            decoder.decode(&mut input[9..10], &mut inflater),
            Err(utf8_error(0))
        );
    }

    #[test]
    fn compressed_messages_are_inflated_in_one_frame_in_several_and_in_pieces() {
        let message = "hello hello hello ".repeat(20);
        let mut compressed = Vec::new();
        Deflater::default().compress(15, message.as_bytes(), &mut compressed);
        let (first, second) = compressed.split_at(10);
        let mut whole = Vec::new();
        put(Opcode::Text, true, true, &compressed, &mut whole);
        let mut several = Vec::new();
        put(Opcode::Text, false, true, first, &mut several);
        put(Opcode::Ping, true, false, b"", &mut several);
        put(Opcode::Continuation, true, false, second, &mut several);
        for stream in [whole, several] {
            for piece in [1, 7, stream.len()] {
                let mut decoder = Decoder::new(Role::Server, 1000).with_deflate();
                let texts = texts(&mut decoder, &stream, piece);
                assert_eq!(texts.concat(), message);
            }
        }
    }

    #[test]
    fn rfc_7692_section_6_1_rsv1_is_for_first_frames_of_messages_where_it_was_agreed_on() {
        let mut inflater = Inflater::default();
        let error = |decoder: &mut Decoder, inflater: &mut _, first: u8| {
            // Masked with zeros: one empty block, the compressed form of an empty message.
            let mut frame = [first, 0x81, 0, 0, 0, 0, 0];
            let result = decoder.decode(&mut frame, inflater);
            result.err().map(|error| error.kind)
        };
        let reserved = Some(ErrorKind::ReservedBits { bits: 4 });
        let mut decoder = Decoder::new(Role::Server, 64).with_deflate();
        for control in [0xc8, 0xc9, 0xca] {
            assert_eq!(error(&mut decoder, &mut inflater, control), reserved);
        }
        assert_eq!(error(&mut decoder, &mut inflater, 0x41), None);
        assert_eq!(error(&mut decoder, &mut inflater, 0x40), reserved);
        let mut plain = Decoder::new(Role::Server, 64);
        assert_eq!(error(&mut plain, &mut inflater, 0xc1), reserved);
    }

    #[test]
    fn a_compressed_message_over_the_limit_is_refused_and_its_text_is_checked() {
        let mut inflater = Inflater::default();
        for (message, kind) in [
            (
                vec![b'a'; 65],
                ErrorKind::MessageTooBig {
                    length: 65,
                    limit: 64,
                },
            ),
            (b"caf\xe9".to_vec(), ErrorKind::Utf8),
        ] {
            let mut compressed = Vec::new();
            Deflater::default().compress(15, &message, &mut compressed);
            let mut decoder = Decoder::new(Role::Server, 64).with_deflate();
            let mut input = Vec::new();
            put(Opcode::Text, true, true, &compressed, &mut input);
            let error = decoder.decode(&mut input, &mut inflater).expect_err("bad");
            assert_eq!(error.kind, kind);
        }
    }

    /// Feeds `stream` in pieces and collects its texts.
    fn texts(decoder: &mut Decoder, stream: &[u8], piece: usize) -> Vec<String> {
        let mut inflater = Inflater::default();
        let mut texts = Vec::new();
        let mut buffer = Vec::new();
        for piece in stream.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                let consumed = match decoder.decode(&mut buffer, &mut inflater) {
                    Ok(Decoded::Frame { consumed, event }) => {
                        if let Event::Text(text) = event {
                            texts.push(text.to_owned());
                        }
                        consumed
                    }
                    Ok(Decoded::Fragment { consumed }) => consumed,
                    Ok(Decoded::Incomplete { .. }) => break,
                    Err(error) => panic!("{error}"),
                };
                buffer.drain(..consumed);
            }
        }
        texts
    }

    fn second_fragment_error(first: &[u8], fin: bool, second: &[u8]) -> Error {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64);
        let began = decoder
            .decode(&mut fragment(Opcode::Text, false, first), &mut inflater)
            .map(drop);
        assert_eq!(began, Ok(()));
        let mut input = fragment(Opcode::Continuation, fin, second);
        decoder
            .decode(&mut input, &mut inflater)
            .expect_err("text that is not UTF-8")
    }

    #[test]
    fn an_error_names_the_byte_that_is_wrong() {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64);
        let mut input = fragment(Opcode::Text, true, b"ok\xff");
        assert_eq!(
            decoder.decode(&mut input, &mut inflater),
            Err(utf8_error(8))
        );

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
            .decode(&mut [0x81, 0x05], &mut inflater)
            .expect_err("no mask");
        assert_eq!(error.to_string(), "client frame is not masked (offset 1)");
    }
}
