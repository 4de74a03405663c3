//! How a connection's frames are written.

use imfast_wire::frames::server::ServerFrame;
use imfast_wire::frames::{json, proto};
use imfast_wire::protobuf::put_delimited;
use imfast_wire::{tcp, websocket};

/// Transport and encoding together: what decides how a server frame looks on the wire.
/// Connections with the same encoding share the buffers of a fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// One JSON value in a WebSocket text message.
    WebSocketJson = 0,
    /// One length-delimited protobuf frame in a WebSocket binary message.
    WebSocketProto = 1,
    /// A u32 length and a protobuf frame.
    Tcp = 2,
}

impl Encoding {
    /// How many there are: the length of arrays indexed by encoding.
    pub const COUNT: usize = 3;
    pub const ALL: [Self; Self::COUNT] = [Self::WebSocketJson, Self::WebSocketProto, Self::Tcp];

    /// Appends `frame` as this encoding puts it on the wire.
    pub fn write(self, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        match self {
            Self::WebSocketJson => {
                websocket::frame_with(websocket::Opcode::Text, out, |o| {
                    let start = o.len();
                    // Only a row can be unreadable, and rows are written by us and checksummed.
                    let written = json::encode_server(frame, o);
                    debug_assert!(written.is_ok(), "unreadable row: {written:?}");
                    if written.is_err() {
                        o.truncate(start);
                        o.extend_from_slice(b"{}");
                    }
                });
            }
            Self::WebSocketProto => websocket::frame_with(websocket::Opcode::Binary, out, |o| {
                put_delimited(o, |o| proto::encode_server(frame, o));
            }),
            Self::Tcp => tcp::frame_with(out, |o| proto::encode_server(frame, o)),
        }
    }
}
