//! A message that does not arrive as one whole frame: in fragments, or a frame in pieces.

use super::header::{Header, Opcode};
use super::mask::unmask;
use super::{Error, ErrorKind, utf8};

/// What has arrived of the message.
#[derive(Debug)]
pub(super) struct Assembly {
    text: bool,
    compressed: bool,
    /// The message was handed out; its memory goes at the next call.
    pub(super) handed_out: bool,
    /// The frame of which a part is still to come.
    frame: Option<Frame>,
    bytes: Vec<u8>,
    /// Bytes known to be UTF-8; what follows, at most three bytes, is the start of a character.
    valid_bytes: usize,
}

/// A frame that has begun.
#[derive(Debug)]
struct Frame {
    /// Bytes of payload to come.
    missing: usize,
    /// The key, turned so that its first byte is the next byte's.
    mask: Option<[u8; 4]>,
    fin: bool,
}

impl Assembly {
    /// A message that begins with `header`.
    pub(super) fn new(header: Header) -> Self {
        Self {
            text: header.opcode == Opcode::Text,
            compressed: header.compressed,
            handed_out: false,
            frame: None,
            bytes: Vec::new(),
            valid_bytes: 0,
        }
    }

    /// Begins a frame, of the message's bytes so far the next.
    pub(super) fn begin(&mut self, header: Header) {
        self.frame = Some(Frame {
            missing: header.payload_len as usize,
            mask: header.mask,
            fin: header.fin,
        });
    }

    /// Bytes of the present frame that are still to come; none between frames.
    pub(super) fn missing(&self) -> Option<usize> {
        self.frame.as_ref().map(|frame| frame.missing)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    pub(super) fn is_text(&self) -> bool {
        self.text
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes as much of `input` as belongs to the present frame, and says how much that was and
    /// whether the message is complete. `offset` is where `input` starts, for errors.
    ///
    /// The text so far is checked at once: a peer that sends anything else is not listened to
    /// any longer. A character may go on in the next piece.
    pub(super) fn take(
        &mut self,
        input: &mut [u8],
        offset: usize,
        bytes_max: usize,
    ) -> Result<(usize, bool), Error> {
        let Some(frame) = &mut self.frame else {
            return Ok((0, false));
        };
        let taken = frame.missing.min(input.len());
        let payload = input.get_mut(..taken).unwrap_or_default();
        if let Some(key) = &mut frame.mask {
            unmask(payload, *key);
            key.rotate_left(taken % 4);
        }
        frame.missing -= taken;
        let complete = frame.missing == 0 && frame.fin;
        if frame.missing == 0 {
            self.frame = None;
        }
        self.append(payload, bytes_max);
        if self.text && !self.compressed {
            let earlier = self.bytes.len() - taken;
            self.check(complete).map_err(|at| Error {
                offset: offset + at.saturating_sub(earlier),
                kind: ErrorKind::Utf8,
            })?;
        }
        Ok((taken, complete))
    }

    /// Stores what the header's check let through; capacity doubles up to the limit.
    fn append(&mut self, payload: &[u8], bytes_max: usize) {
        let needed = self.bytes.len() + payload.len();
        debug_assert!(needed <= bytes_max, "checked from the header");
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(bytes_max);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
    }

    /// Checks the text that came since the last check; an error is the byte it is at.
    fn check(&mut self, complete: bool) -> Result<(), usize> {
        let unchecked = self.bytes.get(self.valid_bytes..).unwrap_or(&[]);
        match utf8::validate(unchecked) {
            Ok(_) => self.valid_bytes = self.bytes.len(),
            Err(error) => {
                self.valid_bytes += error.valid_up_to();
                if complete || error.error_len().is_some() {
                    return Err(self.valid_bytes);
                }
            }
        }
        Ok(())
    }
}
