//! How a connection's frames are written.

use crate::http::write_reply;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::frames::{json, proto};
use imfast_wire::http::{Site, write_chunk};
use imfast_wire::protobuf::put_delimited;
use imfast_wire::websocket::deflate::Deflater;
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
    /// As [`Encoding::WebSocketJson`], compressed where that saves bytes.
    WebSocketJsonDeflate = 3,
    /// As [`Encoding::WebSocketProto`], compressed where that saves bytes.
    WebSocketProtoDeflate = 4,
    /// One JSON value in a server-sent event; a sync token is the event's id.
    Events = 5,
    /// As [`Encoding::Events`], on a stream of HTTP/2, which needs no chunks.
    Http2Events = 6,
    /// Answers to HTTP requests, whose frame's id says how. It has no pushes.
    Http = 7,
    /// A connection of HTTP/2. What is said is said on its streams, each of which has an encoding.
    Http2 = 8,
}

/// What the connections of a thread share for writing.
#[derive(Default)]
pub struct Writer {
    pub deflater: Deflater,
    pub site: Site,
    /// Room for a body whose length stands before it.
    scratch: Vec<u8>,
}

impl Encoding {
    /// How many there are: the length of arrays indexed by encoding.
    pub const COUNT: usize = 9;
    /// Those that pushes are written in.
    pub const PUSHED: [Self; 7] = [
        Self::WebSocketJson,
        Self::WebSocketProto,
        Self::Tcp,
        Self::WebSocketJsonDeflate,
        Self::WebSocketProtoDeflate,
        Self::Events,
        Self::Http2Events,
    ];

    /// The encoding of this one's messages once they are inflated.
    pub(crate) fn inflated(self) -> Self {
        match self {
            Self::WebSocketJsonDeflate => Self::WebSocketJson,
            Self::WebSocketProtoDeflate => Self::WebSocketProto,
            other => other,
        }
    }

    /// The encoding of a WebSocket whose frames are compressed; TCP has none.
    pub(crate) fn deflated(self) -> Self {
        match self {
            Self::WebSocketJson => Self::WebSocketJsonDeflate,
            Self::WebSocketProto => Self::WebSocketProtoDeflate,
            other => other,
        }
    }

    /// Appends `frame` as this encoding puts it on the wire. All connections of a thread can
    /// share one writer.
    pub fn write(self, frame: &ServerFrame<'_>, writer: &mut Writer, out: &mut Vec<u8>) {
        use websocket::{Opcode, deflated_frame_with, frame_with};
        match self {
            Self::WebSocketJson => frame_with(Opcode::Text, out, |o| write_json(frame, o)),
            Self::WebSocketJsonDeflate => {
                let deflater = &mut writer.deflater;
                deflated_frame_with(Opcode::Text, deflater, out, |o| write_json(frame, o));
            }
            Self::WebSocketProto => frame_with(Opcode::Binary, out, |o| write_proto(frame, o)),
            Self::WebSocketProtoDeflate => {
                let deflater = &mut writer.deflater;
                deflated_frame_with(Opcode::Binary, deflater, out, |o| write_proto(frame, o));
            }
            Self::Tcp => tcp::frame_with(out, |o| proto::encode_server(frame, o)),
            Self::Events => write_chunk(out, |out| write_event(frame, out)),
            Self::Http2Events => write_event(frame, out),
            Self::Http2 => {}
            Self::Http => {
                let Writer { site, scratch, .. } = writer;
                write_reply(out, site, frame.id, &frame.body, scratch);
            }
        }
    }
}

/// An event; in HTTP/1.1 in a chunk of its own, so that the same bytes fit any stream. Only those with a
/// sync token have an id: the browser names the last one when it comes back.
fn write_event(frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
    if let ServerBody::Checkpoint { token } | ServerBody::CaughtUp { token } = &frame.body {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(token.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    write_json(frame, out);
    out.extend_from_slice(b"\n\n");
}

fn write_json(frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    // Only a row can be unreadable, and rows are written by us and checksummed.
    let written = json::encode_server(frame, out);
    debug_assert!(written.is_ok(), "unreadable row: {written:?}");
    if written.is_err() {
        out.truncate(start);
        out.extend_from_slice(b"{}");
    }
}

fn write_proto(frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
    put_delimited(out, |out| proto::encode_server(frame, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use imfast_wire::websocket::deflate::Inflater;
    use imfast_wire::websocket::{Decoded, Decoder, Event, Role};

    fn written(encoding: Encoding, token: &str) -> Vec<u8> {
        let body = ServerBody::Checkpoint {
            token: token.to_owned().into(),
        };
        let mut out = Vec::new();
        encoding.write(&ServerFrame::push(body), &mut Writer::default(), &mut out);
        out
    }

    fn message(mut frame: Vec<u8>) -> Vec<u8> {
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Client, 10_000).with_deflate();
        match decoder.decode(&mut frame, &mut inflater) {
            Ok(Decoded::Frame { event, .. }) => match event {
                Event::Text(text) => text.as_bytes().to_vec(),
                Event::Binary(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn compressed_encodings_say_the_same_as_plain_ones_in_fewer_bytes() {
        let token = "token".repeat(100);
        for plain in [Encoding::WebSocketJson, Encoding::WebSocketProto] {
            let (long, short) = (written(plain, &token), written(plain.deflated(), &token));
            assert!(short.len() < long.len() / 4, "{} bytes", short.len());
            assert_eq!(short[0] & 0x40, 0x40);
            assert_eq!(message(short), message(long));
            assert_eq!(plain.deflated().inflated(), plain);
        }
    }

    #[test]
    fn a_sync_token_is_the_id_of_its_event() {
        let written = written(Encoding::Events, "AQ");
        let event = "id: AQ\ndata: {\"checkpoint\":{\"token\":\"AQ\"}}\n\n";
        let chunk = format!("{:06x}\r\n{event}\r\n", event.len());
        assert_eq!(String::from_utf8(written).as_deref(), Ok(&*chunk));
        let plain = super::tests::written(Encoding::Http2Events, "AQ");
        assert_eq!(plain, event.as_bytes());
    }

    #[test]
    fn what_compression_does_not_make_shorter_is_sent_as_it_is() {
        let random = "q7Zx1LmPv9Tc3RkWnB5sYd8GfHjK2eUa6Vo0XiQwErTzUuIoPAsDfGhJkLyXcVbNmM4-_S";
        for token in ["AQ", random] {
            let deflated = written(Encoding::WebSocketJsonDeflate, token);
            assert_eq!(deflated, written(Encoding::WebSocketJson, token));
        }
    }
}
