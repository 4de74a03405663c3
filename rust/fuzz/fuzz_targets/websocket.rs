//! The decoder, fed in pieces: never a panic, never more consumed than given, the same events
//! however a stream is cut, and memory within its limit.
#![no_main]

use arbitrary::Arbitrary;
use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{Decoded, Decoder, ErrorKind, Event, Header, Opcode, Role, unmask};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 4096;

#[derive(Arbitrary, Debug)]
struct Case {
    client: bool,
    deflate: bool,
    parts: Vec<Part>,
    pieces: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Part {
    /// A frame that is at least well formed.
    Frame {
        fin: bool,
        compressed: bool,
        opcode: u8,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
    Raw(Vec<u8>),
}

fuzz_target!(|case: Case| {
    let role = if case.client {
        Role::Client
    } else {
        Role::Server
    };
    let stream = stream(&case.parts, role);
    let whole = events(&case, role, &stream, &[stream.len()]);
    let pieces: Vec<usize> = case.pieces.iter().map(|piece| *piece as usize).collect();
    let cut = events(&case, role, &stream, &pieces);
    assert_eq!(whole, cut);
});

fn stream(parts: &[Part], role: Role) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Raw(bytes) => out.extend_from_slice(bytes),
            Part::Frame {
                fin,
                compressed,
                opcode,
                mask,
                payload,
            } => {
                let opcode = Opcode::from_bits(opcode % 11).unwrap_or(Opcode::Continuation);
                let control = opcode.is_control();
                let payload = &payload[..payload.len().min(if control { 125 } else { 100_000 })];
                let mask = (role == Role::Server).then_some(*mask);
                let header = Header {
                    fin: *fin || control,
                    compressed: *compressed,
                    opcode,
                    mask,
                    payload_len: payload.len() as u64,
                };
                header.write(&mut out);
                let start = out.len();
                out.extend_from_slice(payload);
                if let Some(mask) = mask {
                    unmask(&mut out[start..], mask);
                }
            }
        }
    }
    out
}

type Owned = (u8, Vec<u8>);

fn events(
    case: &Case,
    role: Role,
    stream: &[u8],
    pieces: &[usize],
) -> (Vec<Owned>, Option<ErrorKind>) {
    let mut decoder = Decoder::new(role, MESSAGE_BYTES_MAX);
    if case.deflate {
        decoder = decoder.with_deflate();
    }
    let mut inflater = Inflater::default();
    let mut events = Vec::new();
    let mut buffer = Vec::new();
    let mut fed = 0;
    for piece in pieces.iter().chain([&stream.len()]) {
        let end = fed.max((fed + piece).min(stream.len()));
        buffer.extend_from_slice(&stream[fed..end]);
        fed = end;
        loop {
            let present = buffer.len();
            let consumed = match decoder.decode(&mut buffer, &mut inflater) {
                Ok(Decoded::Frame { consumed, event }) => {
                    let event = owned(event);
                    assert!(event.1.len() <= MESSAGE_BYTES_MAX);
                    let closed = event.0 == 4;
                    events.push(event);
                    if closed {
                        return (events, None);
                    }
                    consumed
                }
                Ok(Decoded::Fragment { consumed }) => consumed,
                Ok(Decoded::Incomplete { needed }) => {
                    assert!(needed > present);
                    break;
                }
                Err(error) => {
                    assert!(matches!(error.close_code(), 1002 | 1007 | 1009));
                    return (events, Some(error.kind));
                }
            };
            assert!((1..=present).contains(&consumed));
            buffer.drain(..consumed);
        }
    }
    (events, None)
}

fn owned(event: Event<'_>) -> Owned {
    match event {
        Event::Text(text) => (0, text.as_bytes().to_vec()),
        Event::Binary(bytes) => (1, bytes.to_vec()),
        Event::Ping(bytes) => (2, bytes.to_vec()),
        Event::Pong(bytes) => (3, bytes.to_vec()),
        Event::Close { code, reason } => (4, format!("{code:?}{reason}").into_bytes()),
    }
}
