//! The client frames inside one transport message.

use crate::Encoding;
use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::{FrameError, json, proto};

/// Walks the frames of one message: several JSON values, several length-delimited protobuf
/// frames, or the one frame of a TCP message.
pub struct Frames<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    offset: usize,
}

/// The frames of `bytes`, a message received in `encoding`.
pub fn frames(encoding: Encoding, bytes: &[u8]) -> Frames<'_> {
    Frames {
        bytes,
        encoding: encoding.inflated(),
        offset: 0,
    }
}

impl<'a> Frames<'a> {
    /// What follows the frames taken so far.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or(&[])
    }

    #[expect(
        clippy::should_implement_trait,
        reason = "the rest is asked for between two frames"
    )]
    /// The next frame. After an error that closes the connection nothing should be read on.
    pub fn next(&mut self) -> Option<Result<ClientFrame<'a>, FrameError>> {
        let rest = self.rest();
        if rest.is_empty() && !(self.encoding == Encoding::Tcp && self.offset == 0) {
            return None;
        }
        match self.encoding {
            Encoding::WebSocketJson => {
                // The transport has checked the text already; this reads it once more only where
                // frames were held back.
                let Ok(text) = core::str::from_utf8(rest) else {
                    self.offset = self.bytes.len();
                    return None;
                };
                let (frame, consumed) = json::values(text).next()?;
                self.offset += consumed.max(1);
                Some(frame)
            }
            Encoding::WebSocketProto => {
                let (frame, consumed) = proto::values(rest).next()?;
                self.offset += consumed.max(1);
                Some(frame)
            }
            _ => {
                self.offset = self.bytes.len().max(1);
                Some(proto::decode_client(rest))
            }
        }
    }
}
