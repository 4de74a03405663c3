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
use crate::pool::User;

/// Subprotocol `imfast.v1.json`: one JSON value in each text message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketJson;

/// Subprotocol `imfast.v1.proto`: length-delimited protobuf in binary messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebSocketProto;

impl Transport for WebSocketJson {
    fn greet(self, _: &User, out: &mut Vec<u8>) {
        greet(PATH, Some("imfast.v1.json"), out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        answer(PATH, Some("imfast.v1.json"), input)
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
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
    fn greet(self, _: &User, out: &mut Vec<u8>) {
        greet(PATH, Some("imfast.v1.proto"), out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        answer(PATH, Some("imfast.v1.proto"), input)
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(512);
        put_delimited(&mut message, |out| proto::encode_client(frame, out));
        masked_frame(Opcode::Binary, &message, MASK, out);
    }

    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        masked_frame(Opcode::Pong, payload, MASK, out);
    }

    /// A receiver of tens of millions of frames a second has no time to read each one's lengths: a
    /// frame that begins with the same bytes as the one before has the same.
    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        while let Some((incoming, bytes)) = next(&input[read..])? {
            let Incoming::Frame(message) = incoming else {
                each(incoming);
                read += bytes;
                continue;
            };
            let (mut count, mut last) = (0, 0);
            for frame in proto::frames(message) {
                let frame = frame.map_err(|error| error.to_string())?;
                each(Incoming::Frame(frame));
                (count, last) = (count + 1, frame.len());
            }
            if count == 1 {
                read += repeats(&input[read..], bytes, bytes - last, each);
            }
            read += bytes;
        }
        Ok(read)
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
    let mut read = 0;
    while let Some((incoming, bytes)) = next(&input[read..])? {
        each(incoming)?;
        read += bytes;
    }
    Ok(read)
}

/// The frame at the start of `input`, if it is complete, and its bytes with the header.
#[inline]
fn next(input: &[u8]) -> Result<Option<(Incoming<'_>, usize)>, Failure> {
    const FIN_TEXT: u8 = 0x81;
    const FIN_BINARY: u8 = 0x82;
    const FIN_CLOSE: u8 = 0x88;
    const FIN_PING: u8 = 0x89;
    let Some((&[first, second], rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let (length, header): (usize, usize) = match second {
        0..126 => (second as usize, 2),
        126 => match rest.first_chunk() {
            Some(bytes) => (u16::from_be_bytes(*bytes) as usize, 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes) as usize, 10),
            None => return Ok(None),
        },
        _ => return Err(Failure::Said("the server masks its frames".into())),
    };
    let bytes = header.saturating_add(length);
    let Some(payload) = input.get(header..bytes) else {
        return Ok(None);
    };
    let incoming = match first {
        FIN_TEXT | FIN_BINARY => Incoming::Frame(payload),
        FIN_PING => Incoming::Ping(payload),
        FIN_CLOSE => return Err(closed(payload)),
        _ => return Err(format!("unexpected WebSocket frame {first:#04x}").into()),
    };
    Ok(Some((incoming, bytes)))
}

/// Hands on the frames that follow the first one of `input` and begin with the same bytes; returns
/// how many bytes they are. The first one is `bytes` long, and its only protobuf frame starts at
/// `start`: both lengths stand before that, so what is equal that far is as long.
#[inline]
fn repeats(input: &[u8], bytes: usize, start: usize, each: &mut impl FnMut(Incoming<'_>)) -> usize {
    const COMPARED: usize = size_of::<u64>();
    let Some(first) = input.first_chunk::<COMPARED>() else {
        return 0;
    };
    if start > COMPARED || bytes < COMPARED {
        return 0;
    }
    let mut read = 0;
    for frame in input[bytes..].chunks_exact(bytes) {
        if frame.first_chunk() != Some(first) {
            break;
        }
        each(Incoming::Frame(&frame[start..]));
        read += bytes;
    }
    read
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

    /// What a walk hands on as protobuf frames, and the bytes it read.
    fn protobufs(input: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut found = Vec::new();
        let read = WebSocketProto.walk(input, &mut |incoming| match incoming {
            Incoming::Frame(frame) => found.push(frame.to_vec()),
            Incoming::Ping(payload) => found.push([b"ping", payload].concat()),
        });
        (found, read.expect("valid frames"))
    }

    #[test]
    fn alike_frames_in_a_row_are_handed_on_one_by_one_wherever_the_row_is_cut() {
        let (mut input, mut all) = (Vec::new(), Vec::new());
        let message = |frames: &[&[u8]], all: &mut Vec<Vec<u8>>, input: &mut Vec<u8>| {
            let mut message = Vec::new();
            for bytes in frames {
                put_delimited(&mut message, |out| out.extend_from_slice(bytes));
                all.push(bytes.to_vec());
            }
            frame(Opcode::Binary, &message, input);
        };
        // Equal but for what lies behind the bytes compared, then longer and shorter ones.
        for (number, length) in [
            120, 120, 120, 121, 121, 200, 200, 20_000, 20_000, 3, 3, 0, 0,
        ]
        .into_iter()
        .enumerate()
        {
            let bytes = vec![number as u8; length];
            message(&[&bytes], &mut all, &mut input);
        }
        // Two frames in one message begin with the same bytes as what follows.
        for number in 0..3 {
            message(&[b"", &[number; 2]], &mut all, &mut input);
        }
        frame(Opcode::Ping, b"abc", &mut input);
        all.push(b"pingabc".to_vec());
        message(&[&[9; 120]], &mut all, &mut input);
        assert_eq!(protobufs(&input), (all.clone(), input.len()));
        for cut in (0..1_000).chain(input.len() - 1_000..input.len()) {
            let (found, read) = protobufs(&input[..cut]);
            assert!(read <= cut, "cut at {cut}");
            let (rest, last) = protobufs(&input[read..]);
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
