//! WebSocket with either subprotocol.
//!
//! Frames are walked here and not by the decoder of the wire crate: a receiver that is to count
//! tens of millions of frames a second looks at headers only. What our server never sends
//! (fragments, masked frames) is an error.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;
use imfast_wire::frames::{json, proto};
use imfast_wire::http::{ClientHandshake, ClientParsed, Limits};
use imfast_wire::http::{parse_client_response, write_client_handshake};
use imfast_wire::protobuf::put_delimited;
use imfast_wire::websocket::{Opcode, masked_frame};

use super::{Incoming, Kind, Transport};
use super::{author_json, decode_json, kind_json, text_json};
use super::{author_proto, decode_proto, kind_proto, text_proto};
use crate::failure::{Closed, Failure};

/// Subprotocol `imfast.v1.json`: one JSON value in each text message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketJson;

/// Subprotocol `imfast.v1.proto`: length-delimited protobuf in binary messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketProto;

impl Transport for WebSocketJson {
    fn greet(self, out: &mut Vec<u8>) {
        greet(PATH, Some("imfast.v1.json"), out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        answer(PATH, Some("imfast.v1.json"), input)
    }

    fn write(self, frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(512);
        json::encode_client(frame, &mut text);
        masked_frame(Opcode::Text, &text, MASK, out);
    }

    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        masked_frame(Opcode::Pong, payload, MASK, out);
    }

    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        walk(input, |incoming| {
            each(incoming);
            Ok(())
        })
    }

    fn kind(self, frame: &[u8]) -> Kind {
        kind_json(frame)
    }

    fn author(self, frame: &[u8]) -> &[u8] {
        author_json(frame)
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        text_json(frame)
    }

    fn decode<'a>(self, frame: &'a [u8], rows: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        decode_json(frame, rows)
    }
}

impl Transport for WebSocketProto {
    fn greet(self, out: &mut Vec<u8>) {
        greet(PATH, Some("imfast.v1.proto"), out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        answer(PATH, Some("imfast.v1.proto"), input)
    }

    fn write(self, frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(512);
        put_delimited(&mut message, |out| proto::encode_client(frame, out));
        masked_frame(Opcode::Binary, &message, MASK, out);
    }

    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        masked_frame(Opcode::Pong, payload, MASK, out);
    }

    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        walk(input, |incoming| {
            let Incoming::Frame(message) = incoming else {
                each(incoming);
                return Ok(());
            };
            for frame in proto::frames(message) {
                each(Incoming::Frame(frame.map_err(|error| error.to_string())?));
            }
            Ok(())
        })
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

/// Masks protect proxies on the way from what a page's author chooses; a load generator on the
/// way to its own server needs but a valid one.
pub(super) const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x0f];

const PATH: &str = "/v1/ws";

fn handshake<'a>(path: &'a str, subprotocol: Option<&'a str>) -> ClientHandshake<'a> {
    ClientHandshake {
        host: "localhost",
        path,
        nonce: *b"imfast-benchmark",
        subprotocol,
    }
}

/// Appends the request for a WebSocket at `path`.
pub(super) fn greet(path: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    write_client_handshake(out, &handshake(path, subprotocol), &[]);
}

/// Reads the answer to [`greet`]: its length once it is complete.
pub(super) fn answer(
    path: &str,
    subprotocol: Option<&str>,
    input: &[u8],
) -> Result<Option<usize>, String> {
    let handshake = handshake(path, subprotocol);
    match parse_client_response(input, &handshake, &Limits::default()) {
        Ok(ClientParsed::Incomplete) => Ok(None),
        Ok(ClientParsed::Accepted { consumed, .. }) => Ok(Some(consumed)),
        Err(error) => Err(error.to_string()),
    }
}

/// Hands on every complete frame at the start of `input`; returns the bytes read.
#[inline]
pub(super) fn walk(
    input: &[u8],
    mut each: impl FnMut(Incoming<'_>) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    const FIN_TEXT: u8 = 0x81;
    const FIN_BINARY: u8 = 0x82;
    const FIN_CLOSE: u8 = 0x88;
    const FIN_PING: u8 = 0x89;
    let mut read = 0;
    while let Some(&[first, second]) = input[read..].first_chunk() {
        let rest = &input[read + 2..];
        let (length, header): (usize, usize) = match second {
            0..126 => (second as usize, 2),
            126 => match rest.first_chunk() {
                Some(bytes) => (u16::from_be_bytes(*bytes) as usize, 4),
                None => break,
            },
            127 => match rest.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes) as usize, 10),
                None => break,
            },
            _ => return Err(Failure::Said("the server masks its frames".into())),
        };
        let Some(payload) = input[read..].get(header..header.saturating_add(length)) else {
            break;
        };
        match first {
            FIN_TEXT | FIN_BINARY => each(Incoming::Frame(payload))?,
            FIN_PING => each(Incoming::Ping(payload))?,
            FIN_CLOSE => return Err(closed(payload)),
            _ => return Err(format!("unexpected WebSocket frame {first:#04x}").into()),
        }
        read += header + length;
    }
    Ok(read)
}

fn closed(payload: &[u8]) -> Failure {
    Failure::Closed(match payload.split_first_chunk() {
        Some((code, reason)) => Closed {
            code: Some(u16::from_be_bytes(*code)),
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        None => Closed {
            code: None,
            reason: "an empty close frame".into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use imfast_wire::websocket::{close_frame, frame};

    use super::*;

    fn lengths(input: &[u8]) -> (Vec<usize>, usize) {
        let mut found = Vec::new();
        let read = walk(input, |incoming| {
            if let Incoming::Frame(payload) = incoming {
                found.push(payload.len());
            }
            Ok(())
        });
        (found, read.expect("valid frames"))
    }

    #[test]
    fn whole_frames_are_handed_on_and_a_cut_one_is_left() {
        let mut input = Vec::new();
        for length in [0, 125, 126, 65_535, 65_536] {
            frame(Opcode::Binary, &vec![7; length], &mut input);
        }
        let all = vec![0, 125, 126, 65_535, 65_536];
        assert_eq!(lengths(&input), (all.clone(), input.len()));
        for cut in [1, 2, 3, 128, input.len() - 1] {
            let (found, read) = lengths(&input[..cut]);
            assert!(read <= cut && all.starts_with(&found), "cut at {cut}");
            let (rest, last) = lengths(&input[read..]);
            assert_eq!(
                ([found, rest].concat(), read + last),
                (all.clone(), input.len())
            );
        }
    }

    #[test]
    fn the_servers_close_ends_the_run_with_its_reason() {
        let mut input = Vec::new();
        close_frame(4001, "slow_consumer", &mut input);
        let error = walk(&input, |_| Ok(())).expect_err("closed").to_string();
        assert!(error.contains("4001: slow_consumer"), "{error}");
    }
}
