//! What an HTTP/2 connection makes of frames: events, answers, and the end of those that break a rule.

use imfast_wire::http;
use imfast_wire::http2::hpack::write_field;
use imfast_wire::http2::{Code, Connection, Event, Limits};

const LIMITS: Limits = Limits {
    head: http::Limits {
        header_bytes: 2048,
        headers: 20,
    },
    streams: 4,
};
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn block(more: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/send"),
        (":authority", "x"),
    ];
    for (name, value) in fields.iter().chain(more) {
        write_field(&mut out, name, value);
    }
    out
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&[]))
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[]))
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A connection that has seen its peer's settings.
struct Server {
    connection: Connection,
    sent: Vec<u8>,
    now_ms: u64,
}

impl Server {
    fn new() -> Self {
        let mut server = Self::raw();
        assert_eq!(server.take(&frame(SETTINGS, 0, 0, &[])), ["handled"]);
        server.sent.clear();
        server
    }

    fn raw() -> Self {
        let mut sent = Vec::new();
        let connection = Connection::new(&LIMITS, &mut sent);
        Self {
            connection,
            sent,
            now_ms: 1,
        }
    }

    /// What became of each frame, in short; streams that begin are bound to ten times their number.
    fn take(&mut self, input: &[u8]) -> Vec<String> {
        let mut input = input.to_vec();
        let mut at = 0;
        let mut said = Vec::new();
        loop {
            let connection = &mut self.connection;
            let (consumed, event) =
                connection.receive(&mut input[at..], &LIMITS, self.now_ms, &mut self.sent);
            at += consumed;
            let word = match event {
                Event::Incomplete { needed } => {
                    assert!(needed > input.len() - at);
                    return said;
                }
                Event::Handled => "handled".to_owned(),
                Event::Begun {
                    stream,
                    head,
                    ended,
                } => {
                    connection.bind(stream, u64::from(stream) * 10);
                    let kept = if head.is_some() { "" } else { " too large" };
                    format!("begun {stream}{kept}{}", if ended { " ended" } else { "" })
                }
                Event::Data { tag, bytes, ended } => {
                    let ended = if ended { " ended" } else { "" };
                    format!("data {tag} {}{ended}", bytes.len())
                }
                Event::Reset { tag } => format!("reset {tag}"),
                Event::Window { tag } => format!("window {tag:?}"),
                Event::Failed => {
                    said.push("failed".to_owned());
                    return said;
                }
            };
            said.push(word);
        }
    }

    /// Kind, stream and payload of the frames that were sent.
    fn frames(&mut self) -> Vec<(u8, u32, Vec<u8>)> {
        let sent = std::mem::take(&mut self.sent);
        let mut rest = &sent[..];
        let mut frames = Vec::new();
        while let Some(header) = rest.get(..9) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            frames.push((header[3], stream, rest[9..9 + length].to_vec()));
            rest = &rest[9 + length..];
        }
        frames
    }

    /// The code of the one frame of that kind that was sent.
    fn code(&mut self, kind: u8) -> Option<u32> {
        let frames = self.frames();
        let payload = frames.iter().find(|(k, ..)| *k == kind).map(|(.., p)| p)?;
        Some(u32::from_be_bytes(
            payload[payload.len() - 4..].try_into().expect("a code"),
        ))
    }
}

#[test]
fn settings_come_first_from_both_sides() {
    let mut server = Server::raw();
    let frames = server.frames();
    assert_eq!(frames[0].0, SETTINGS);
    let settings: Vec<(u16, u32)> = frames[0]
        .2
        .chunks(6)
        .map(|s| {
            (
                u16::from_be_bytes([s[0], s[1]]),
                u32::from_be_bytes([s[2], s[3], s[4], s[5]]),
            )
        })
        .collect();
    assert_eq!(settings, [(3, 4), (6, 2048), (8, 1)]);
    assert_eq!(server.take(&get(1)), ["failed"]);
    assert_eq!(server.code(GOAWAY), Some(Code::Protocol as u32));
}

#[test]
fn a_request_in_pieces_of_one_byte_is_the_same_request() {
    let mut input = frame(HEADERS, 0, 1, &block(&[])[..5]);
    input.extend(frame(CONTINUATION, END_HEADERS, 1, &block(&[])[5..]));
    input.extend(frame(DATA, 8, 1, &[2, b'a', b'b', 0, 0]));
    input.extend(frame(DATA, END_STREAM, 1, b"c"));
    let whole = Server::new().take(&input);
    assert_eq!(
        whole,
        ["handled", "begun 1", "data 10 2", "data 10 1 ended"]
    );
    let mut server = Server::new();
    let (mut held, mut said) = (Vec::new(), Vec::new());
    for byte in input {
        held.push(byte);
        let words = server.take(&held);
        if !words.is_empty() {
            held.clear();
        }
        said.extend(words);
    }
    assert_eq!(said, whole);
}

#[test]
fn what_breaks_a_rule_ends_the_connection_with_its_code() {
    let circular = [&1_u32.to_be_bytes()[..], &[0]].concat();
    let cases: Vec<(Code, Vec<u8>)> = vec![
        (Code::Protocol, get(2)),
        (Code::Protocol, get(0)),
        (Code::Protocol, frame(DATA, 0, 0, b"x")),
        (Code::Protocol, frame(DATA, 0, 1, b"x")),
        (Code::Protocol, frame(DATA, 8, 1, &[4, 0])),
        (Code::Protocol, [get(3), get(1)].concat()),
        (Code::Protocol, frame(CONTINUATION, END_HEADERS, 1, &[])),
        (
            Code::Protocol,
            [frame(HEADERS, 0, 1, &[]), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            Code::Protocol,
            [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 4, 3, &[])].concat(),
        ),
        (Code::Protocol, frame(RST_STREAM, 0, 0, &[0; 4])),
        (Code::Protocol, frame(RST_STREAM, 0, 1, &[0; 4])),
        (Code::Protocol, frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        (Code::Protocol, frame(PING, 0, 1, &[0; 8])),
        (Code::Protocol, frame(SETTINGS, 0, 1, &[])),
        (Code::Protocol, frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        (Code::Protocol, frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        (Code::Protocol, frame(2, 0, 1, &circular)),
        (Code::Protocol, window(0, 0)),
        (Code::Protocol, window(1, 1)),
        (Code::FrameSize, frame(PING, 0, 0, &[0; 7])),
        (Code::FrameSize, frame(SETTINGS, 0, 0, &[0; 5])),
        (Code::FrameSize, frame(SETTINGS, 1, 0, &[0; 6])),
        (Code::FrameSize, frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        (Code::FrameSize, frame(RST_STREAM, 0, 1, &[0; 3])),
        (Code::FrameSize, frame(2, 0, 1, &[0; 4])),
        (Code::FrameSize, frame(GOAWAY, 0, 0, &[0; 7])),
        (Code::FrameSize, frame(DATA, 0, 1, &[0; 16_385])),
        (Code::FlowControl, window(0, 0x7fff_ffff)),
        (
            Code::FlowControl,
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
        ),
        (
            Code::FlowControl,
            [
                get(1),
                window(1, 1),
                frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 255, 255, 255]),
            ]
            .concat(),
        ),
        (Code::Compression, frame(HEADERS, END_HEADERS, 1, &[0x80])),
    ];
    for (code, input) in cases {
        let mut server = Server::new();
        let said = server.take(&input);
        assert_eq!(said.last().map(|word| &**word), Some("failed"), "{input:?}");
        assert_eq!(server.code(GOAWAY), Some(code as u32), "{input:?}");
    }
}

#[test]
fn what_breaks_a_rule_of_one_stream_ends_that_one() {
    let head = |more| frame(HEADERS, END_HEADERS, 1, &block(more));
    let circular = [&1_u32.to_be_bytes()[..], &[0], &block(&[])].concat();
    let cases: Vec<(Code, Vec<u8>)> = vec![
        (Code::Protocol, head(&[("Upper", "x")])),
        (Code::Protocol, head(&[("connection", "close")])),
        (Code::Protocol, head(&[(":path", "/")])),
        (
            Code::Protocol,
            frame(HEADERS, END_HEADERS | 32, 1, &circular),
        ),
        (
            Code::Protocol,
            [
                head(&[("content-length", "2")]),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
        ),
        (
            Code::Protocol,
            [head(&[("content-length", "2")]), frame(DATA, 0, 1, b"xyz")].concat(),
        ),
        (
            Code::Protocol,
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &block(&[("content-length", "2")]),
            ),
        ),
        (
            Code::Protocol,
            [post(1), frame(HEADERS, END_HEADERS, 1, &[])].concat(),
        ),
        (
            Code::Protocol,
            [
                post(1),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[])),
            ]
            .concat(),
        ),
        (Code::Protocol, [post(1), window(1, 0)].concat()),
        (
            Code::FlowControl,
            [post(1), window(1, 0x7fff_ffff)].concat(),
        ),
        (
            Code::StreamClosed,
            [get(1), frame(DATA, 0, 1, b"x")].concat(),
        ),
        (
            Code::StreamClosed,
            [get(1), frame(HEADERS, END_HEADERS | END_STREAM, 1, &[])].concat(),
        ),
        (
            Code::RefusedStream,
            [get(1), get(3), get(5), get(7), get(9)].concat(),
        ),
    ];
    for (code, input) in cases {
        let mut server = Server::new();
        let said = server.take(&input);
        assert!(
            !said.contains(&"failed".to_owned()),
            "{said:?} of {input:?}"
        );
        assert_eq!(server.code(RST_STREAM), Some(code as u32), "{input:?}");
        // The next stream is served.
        server.connection.reset(1, Code::Cancel, &mut Vec::new());
        assert_eq!(server.take(&get(101)), ["begun 101 ended"]);
    }
}

#[test]
fn windows_bound_what_is_received() {
    let mut server = Server::new();
    assert_eq!(server.take(&post(1)), ["begun 1"]);
    let full = frame(DATA, 0, 1, &[0; 16_384]);
    for _ in 0..3 {
        assert_eq!(server.take(&full), ["data 10 16384"]);
    }
    // One byte above the window of 65,535.
    assert_eq!(server.take(&full), ["reset 10"]);
    assert_eq!(server.code(RST_STREAM), Some(Code::FlowControl as u32));

    assert_eq!(server.take(&post(3)), ["begun 3"]);
    for _ in 0..100 {
        assert_eq!(
            server.take(&frame(DATA, 0, 3, &[0; 16_384])),
            ["data 30 16384"]
        );
        server.connection.credit(3, &mut server.sent);
    }
    let frames = server.frames();
    let given: u32 = frames
        .iter()
        .filter(|(kind, stream, _)| (*kind, *stream) == (WINDOW_UPDATE, 3))
        .map(|(.., more)| u32::from_be_bytes([more[0], more[1], more[2], more[3]]))
        .sum();
    assert_eq!(given, 100 * 16_384);
    assert!(
        frames
            .iter()
            .any(|(kind, stream, _)| (*kind, *stream) == (WINDOW_UPDATE, 0))
    );
}

#[test]
fn windows_bound_what_is_sent_also_below_zero() {
    let mut server = Server::new();
    server.take(&get(1));
    assert_eq!(server.connection.window(1), 16_384);
    for _ in 0..3 {
        server.connection.sent(1, 16_384);
    }
    assert_eq!(server.connection.window(1), 65_535 - 3 * 16_384);
    // The peer makes every stream's window smaller by more than is left of it.
    assert_eq!(
        server.take(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])),
        ["window None"]
    );
    assert_eq!(server.connection.window(1), 0);
    assert_eq!(server.take(&window(1, 3 * 16_384)), ["window Some(10)"]);
    assert_eq!(server.connection.window(1), 0);
    assert_eq!(server.take(&window(1, 7)), ["window Some(10)"]);
    assert_eq!(server.connection.window(1), 7);
    // The connection's own window is used up by other streams.
    server.take(&[get(3), window(3, 1 << 20)].concat());
    server.connection.sent(3, 65_535 - 3 * 16_384);
    assert_eq!(server.connection.window(1), 0);
    assert_eq!(server.take(&window(0, 5)), ["window None"]);
    assert_eq!(server.connection.window(1), 5);
}

#[test]
fn floods_end_the_connection() {
    let flood = |make: &dyn Fn(u32) -> Vec<u8>| {
        let mut server = Server::new();
        server.take(&post(1));
        for at in 1..100_000 {
            if server
                .take(&make(at))
                .last()
                .is_some_and(|word| word == "failed")
            {
                assert_eq!(server.code(GOAWAY), Some(Code::EnhanceYourCalm as u32));
                return at;
            }
        }
        panic!("no end");
    };
    let rapid_reset = |at| [get(2 * at + 1), frame(RST_STREAM, 0, 2 * at + 1, &[0; 4])].concat();
    assert_eq!(flood(&rapid_reset), 200);
    // The peer has us do it: a request that cannot be one.
    let malformed = |at| frame(HEADERS, END_HEADERS, 2 * at + 1, &block(&[("A", "b")]));
    assert_eq!(flood(&malformed), 200);
    assert_eq!(flood(&|_| frame(PING, 0, 0, &[0; 8])), 400);
    assert_eq!(flood(&|_| frame(SETTINGS, 0, 0, &[])), 400);
    assert_eq!(flood(&|_| frame(2, 0, 5, &[0; 5])), 400);
    assert_eq!(flood(&|_| frame(DATA, 0, 1, &[])), 400);
    assert_eq!(flood(&|_| frame(0xee, 0, 0, &[])), 400);
    assert_eq!(flood(&|_| window(0, 1)), 400);
    assert_eq!(flood(&|_| frame(SETTINGS, 0, 0, &[0; 16_380])), 4);
}

#[test]
fn a_header_block_has_an_end() {
    let begin = frame(HEADERS, 0, 1, &block(&[]));
    let many = |count: usize, payload: &[u8]| {
        let more = frame(CONTINUATION, 0, 1, payload);
        Server::new().take(&[begin.clone(), more.repeat(count)].concat())
    };
    assert!(!many(8, &[]).contains(&"failed".to_owned()));
    assert!(many(9, &[]).contains(&"failed".to_owned()));
    assert!(many(1, &[0; 16_000]).contains(&"failed".to_owned()));
    // What is above the limit of a head, and not of a block, is answered.
    let large = frame(HEADERS, 5, 1, &block(&[("a", &"v".repeat(3000))]));
    assert_eq!(Server::new().take(&large), ["begun 1 too large ended"]);
}

#[test]
fn what_was_on_its_way_to_a_stream_that_we_ended_is_no_violation() {
    let mut server = Server::new();
    server.take(&post(1));
    server.connection.end(1, &mut server.sent);
    assert_eq!(server.code(RST_STREAM), Some(Code::NoError as u32));
    let late = [
        frame(DATA, 0, 1, b"late"),
        window(1, 5),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[]),
        frame(RST_STREAM, 0, 1, &[0; 4]),
    ];
    assert_eq!(server.take(&late.concat()), ["handled"; 4]);
    assert!(server.sent.is_empty());
}

#[test]
fn a_connection_that_is_left_refuses_what_is_new() {
    let mut server = Server::new();
    server.take(&get(5));
    server.connection.leave(Code::NoError, &mut server.sent);
    let [(GOAWAY, 0, payload)] = &server.frames()[..] else {
        panic!("not a GOAWAY");
    };
    assert_eq!(payload[..], [0, 0, 0, 5, 0, 0, 0, 0]);
    server.take(&get(7));
    assert_eq!(server.code(RST_STREAM), Some(Code::RefusedStream as u32));
    assert!(!server.connection.is_idle());
    server.connection.end(5, &mut server.sent);
    assert!(server.connection.is_idle() && server.connection.is_leaving());
}

#[test]
fn a_client_that_waits_for_a_word_gets_it() {
    let mut server = Server::new();
    server.take(&frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[("expect", "100-continue")]),
    ));
    let frames = server.frames();
    assert_eq!((frames[0].0, frames[0].1), (HEADERS, 1));
    assert!(frames[0].2.ends_with(b"100"));
}
