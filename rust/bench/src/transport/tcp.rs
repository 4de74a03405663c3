//! Framed TCP: a u32 length and protobuf, from the first byte on.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::proto;
use imfast_wire::frames::server::ServerFrame;
use imfast_wire::tcp::{self, Decoded};

use super::{Incoming, Kind, Transport, author_proto, decode_proto, kind_proto, text_proto};
use crate::failure::Failure;
use crate::pool::User;

/// Far above what the server sends.
const FRAME_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcp;

impl Transport for Tcp {
    fn greet(self, _: &User, _: &mut Vec<u8>) {}

    fn greeted(self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(Some(0))
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        tcp::frame_with(out, |out| proto::encode_client(frame, out));
    }

    fn pong(self, _: &[u8], _: &mut Vec<u8>) {}

    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        loop {
            match tcp::decode(&input[read..], FRAME_BYTES_MAX).map_err(|error| error.to_string())? {
                Decoded::Frame { consumed, payload } => {
                    each(Incoming::Frame(payload));
                    read += consumed;
                }
                Decoded::Incomplete { .. } => return Ok(read),
            }
        }
    }

    fn kind(self, frame: &[u8]) -> Kind {
        kind_proto(frame)
    }

    fn author(self, frame: &[u8]) -> &[u8] {
        author_proto(frame)
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        text_proto(frame)
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        decode_proto(frame)
    }
}
