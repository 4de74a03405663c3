//! The frames of `ws-proto` from their first byte on, with no greeting and no login: what
//! `benchmarks/limit/fan_out.c` sends, and so the way to measure what this generator can receive.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;

use super::websocket::WebSocketProto;
use super::{Incoming, Kind, Transport};
use crate::failure::Failure;
use crate::pool::User;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Preframed;

impl Transport for Preframed {
    const AUTHENTICATES: bool = false;

    fn greet(self, _: &User, _: &mut Vec<u8>) {}

    fn greeted(self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(Some(0))
    }

    fn write(self, frame: &ClientFrame<'_>, user: &User, out: &mut Vec<u8>) {
        WebSocketProto.write(frame, user, out);
    }

    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        WebSocketProto.pong(payload, out);
    }

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        WebSocketProto.walk(input, each)
    }

    #[inline]
    fn kind(self, frame: &[u8]) -> Kind {
        WebSocketProto.kind(frame)
    }

    fn author(self, frame: &[u8]) -> &[u8] {
        WebSocketProto.author(frame)
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        WebSocketProto.text(frame)
    }

    fn decode<'a>(self, frame: &'a [u8], rows: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        WebSocketProto.decode(frame, rows)
    }
}
