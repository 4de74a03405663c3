//! What holds for every WebSocket stream.

use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{
    Decoded, Decoder, ErrorKind, Event, Header, Opcode, Role, close_frame, frame,
    masked_close_frame, masked_frame, unmask,
};
use proptest::collection::vec;
use proptest::prelude::*;

const MESSAGE_BYTES_MAX: usize = 100_000;

/// An event that outlives its input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(payload) => Self::Binary(payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Feeds `stream` in pieces that end at `cuts`, decoding whatever is there after each piece.
fn decode_in_pieces(
    role: Role,
    limit: usize,
    stream: &[u8],
    cuts: &[usize],
) -> (Vec<Owned>, Option<ErrorKind>) {
    let mut decoder = Decoder::new(role, limit);
    let mut inflater = Inflater::default();
    let mut events = Vec::new();
    let mut buffer = Vec::new();
    let mut fed = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        let cut = cut.clamp(fed, stream.len());
        buffer.extend_from_slice(&stream[fed..cut]);
        fed = cut;
        loop {
            let present = buffer.len();
            let consumed = match decoder.decode(&mut buffer, &mut inflater) {
                Ok(Decoded::Frame { consumed, event }) => {
                    events.push(event.into());
                    consumed
                }
                Ok(Decoded::Fragment { consumed }) => consumed,
                Ok(Decoded::Incomplete { needed }) => {
                    assert!(needed > present, "{needed} bytes needed, {present} present");
                    break;
                }
                Err(error) => return (events, Some(error.kind)),
            };
            assert!((1..=present).contains(&consumed));
            buffer.drain(..consumed);
        }
    }
    (events, None)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..140),
        1 => vec(any::<u8>(), 65_530..65_540),
    ]
}

fn close_code() -> impl Strategy<Value = u16> {
    prop_oneof![1000u16..=1003, 1007u16..=1014, 3000u16..=4999]
}

fn event() -> impl Strategy<Value = Owned> {
    let control = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        ".{0,200}".prop_map(Owned::Text),
        payload().prop_map(Owned::Binary),
        control().prop_map(Owned::Ping),
        control().prop_map(Owned::Pong),
        (close_code(), ".{0,30}").prop_map(|(code, reason)| Owned::Close(Some(code), reason)),
    ]
}

fn encode(event: &Owned, role: Role, key: [u8; 4], out: &mut Vec<u8>) {
    let (opcode, payload) = match event {
        Owned::Text(text) => (Opcode::Text, text.as_bytes()),
        Owned::Binary(payload) => (Opcode::Binary, &payload[..]),
        Owned::Ping(payload) => (Opcode::Ping, &payload[..]),
        Owned::Pong(payload) => (Opcode::Pong, &payload[..]),
        Owned::Close(code, reason) => {
            let code = code.expect("a generated close has a code");
            return match role {
                Role::Server => close_frame(code, reason, out),
                Role::Client => masked_close_frame(code, reason, key, out),
            };
        }
    };
    match role {
        Role::Server => frame(opcode, payload, out),
        Role::Client => masked_frame(opcode, payload, key, out),
    }
}

/// A data message, in one frame or several, with pings between the fragments.
fn encode_fragmented(event: &Owned, cuts: &[usize], key: [u8; 4], out: &mut Vec<u8>) {
    let (mut opcode, payload) = match event {
        Owned::Text(text) => (Opcode::Text, text.as_bytes()),
        Owned::Binary(payload) => (Opcode::Binary, &payload[..]),
        _ => return encode(event, Role::Client, key, out),
    };
    let mut start = 0;
    for (i, end) in cuts.iter().map(|cut| cut % (payload.len() + 1)).enumerate() {
        let end = end.max(start);
        put_fragment(opcode, false, &payload[start..end], key, out);
        (start, opcode) = (end, Opcode::Continuation);
        masked_frame(Opcode::Ping, &[i as u8], key, out);
    }
    put_fragment(opcode, true, &payload[start..], key, out);
}

fn put_fragment(opcode: Opcode, fin: bool, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    Header {
        fin,
        compressed: false,
        opcode,
        mask: Some(key),
        payload_len: payload.len() as u64,
    }
    .write(out);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key);
}

fn sorted_cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    vec(0..=length, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

/// Bytes that are a stream more often than chance would have it.
fn nearly_a_stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        any::<u8>(),
        Just(0x81),
        Just(0x01),
        Just(0x80),
        Just(0x88),
        Just(0x82)
    ];
    let second = prop_oneof![any::<u8>(), 0x80u8..0x90, Just(0xfe), Just(0xff)];
    let frame = (first, second, vec(any::<u8>(), 4..24))
        .prop_map(|(first, second, rest)| [&[first, second][..], &rest].concat());
    vec(frame, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn what_either_role_encodes_the_other_decodes(
        events in vec(event(), 0..6),
        key: [u8; 4],
    ) {
        for (sender, receiver) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let mut stream = Vec::new();
            for event in &events {
                encode(event, sender, key, &mut stream);
            }
            let decoded = decode_in_pieces(receiver, MESSAGE_BYTES_MAX, &stream, &[]);
            prop_assert_eq!(decoded, (events.clone(), None));
        }
    }

    #[test]
    fn fragments_join_to_the_message_and_let_pings_through(
        event in prop_oneof![".{0,60}".prop_map(Owned::Text), payload().prop_map(Owned::Binary)],
        cuts in vec(any::<usize>(), 0..8),
        key: [u8; 4],
    ) {
        let mut stream = Vec::new();
        encode_fragmented(&event, &cuts, key, &mut stream);
        let (mut events, error) = decode_in_pieces(Role::Server, MESSAGE_BYTES_MAX, &stream, &[]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(events.pop(), Some(event));
        let pings: Vec<_> = (0..cuts.len()).map(|i| Owned::Ping(vec![i as u8])).collect();
        prop_assert_eq!(events, pings);
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        (stream, cuts) in (vec((event(), vec(any::<usize>(), 0..4)), 0..6), any::<[u8; 4]>())
            .prop_map(|(events, key)| {
                let mut stream = Vec::new();
                for (event, cuts) in &events {
                    encode_fragmented(event, cuts, key, &mut stream);
                }
                stream
            })
            .prop_flat_map(|stream| {
                let cuts = sorted_cuts(stream.len());
                (Just(stream), cuts)
            }),
    ) {
        let whole = decode_in_pieces(Role::Server, MESSAGE_BYTES_MAX, &stream, &[]);
        prop_assert_eq!(whole.1, None);
        let split = decode_in_pieces(Role::Server, MESSAGE_BYTES_MAX, &stream, &cuts);
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn arbitrary_bytes_decode_alike_however_they_are_split(
        (stream, cuts) in prop_oneof![vec(any::<u8>(), 0..200), nearly_a_stream()]
            .prop_flat_map(|stream| {
                let cuts = sorted_cuts(stream.len());
                (Just(stream), cuts)
            }),
        limit in 0usize..64,
    ) {
        for role in [Role::Server, Role::Client] {
            let whole = decode_in_pieces(role, limit, &stream, &[]);
            let split = decode_in_pieces(role, limit, &stream, &cuts);
            prop_assert_eq!(&split, &whole);
            let every_byte: Vec<usize> = (0..stream.len()).collect();
            let trickled = decode_in_pieces(role, limit, &stream, &every_byte);
            prop_assert_eq!(&trickled, &whole);
        }
    }
}
