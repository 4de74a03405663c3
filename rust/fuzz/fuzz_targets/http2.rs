//! HTTP/2: frames in any order and bytes of any kind never make more of what was sent than there is,
//! never open what is closed, and are read the same in pieces; what the server says is frames.
#![no_main]

use arbitrary::Arbitrary;
use imfast_session::{Input, Policy, Session};
use imfast_wire::http::{self, Site};
use imfast_wire::http2::hpack::{Decoder, write_field};
use imfast_wire::http2::{Code, Event};
use imfast_wire::sniff::HTTP2_PREFACE;
use imfast_wire::websocket::deflate::Inflater;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const STREAMS: usize = 5;
const WINDOW_MAX: i64 = 0x7fff_ffff;

#[derive(Arbitrary, Debug)]
enum Operation {
    Bytes(Vec<u8>),
    Frame {
        kind: u8,
        flags: u8,
        stream: u8,
        payload: Vec<u8>,
    },
    Head {
        stream: u8,
        flags: u8,
        method: u8,
        path: u8,
        fields: Vec<(u8, String)>,
    },
    Send {
        stream: u8,
        bytes: u16,
    },
    End(u8),
    Reset(u8),
    Credit(u8),
    Ping,
    Leave,
    Later(u16),
}

const METHODS: [&str; 5] = ["GET", "POST", "CONNECT", "HEAD", "OPTIONS"];
const PATHS: [&str; 5] = ["/v1/ws", "/v1/send", "/v1/events?sync=a", "/healthz", "*"];
const NAMES: [&str; 12] = [
    ":protocol",
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "last-event-id",
    "origin",
    "sec-websocket-version",
    "x",
];

/// What a peer sees of a connection.
struct Peer {
    session: Session,
    policy: Policy,
    streams: BTreeMap<u64, (u32, Session, Vec<u8>)>,
    held: Vec<u8>,
    sent: Vec<u8>,
    over: bool,
}

fuzz_target!(|operations: Vec<Operation>| {
    let policy = Policy {
        message_bytes_max: 2048,
        http: http::Limits {
            header_bytes: 1024,
            headers: 16,
        },
        http2_streams: STREAMS,
        site: Site::default(),
        compression: true,
        forwarded: true,
    };
    let mut session = Session::http();
    let mut sent = Vec::new();
    let mut preface = HTTP2_PREFACE.to_vec();
    let consumed = preface.len();
    let mut inflater = Inflater::default();
    let begun = session.receive(&mut preface, &policy, &mut inflater, &mut sent);
    assert_eq!(begun, Input::Multiplexed { consumed });
    let mut peer = Peer {
        session,
        policy,
        streams: BTreeMap::new(),
        held: frame(4, 0, 0, &[]),
        sent,
        over: false,
    };
    peer.receive();
    for operation in operations {
        peer.operate(operation);
        peer.receive();
        if peer.over {
            break;
        }
        let http2 = peer.session.http2().expect("a connection");
        assert!(http2.tags().count() <= STREAMS);
    }
    check_frames(&peer.sent);
});

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

impl Peer {
    fn operate(&mut self, operation: Operation) {
        let http2 = self.session.http2().expect("a connection");
        let out = &mut self.sent;
        match operation {
            Operation::Bytes(bytes) => self.held.extend_from_slice(&bytes),
            Operation::Frame {
                kind,
                flags,
                stream,
                payload,
            } => {
                let frame = frame(kind % 11, flags, stream.into(), &payload);
                self.held.extend_from_slice(&frame);
            }
            Operation::Head {
                stream,
                flags,
                method,
                path,
                fields,
            } => {
                let mut block = Vec::new();
                write_field(&mut block, ":method", METHODS[usize::from(method) % METHODS.len()]);
                write_field(&mut block, ":scheme", "http");
                write_field(&mut block, ":path", PATHS[usize::from(path) % PATHS.len()]);
                write_field(&mut block, ":authority", "x");
                for (name, value) in &fields {
                    write_field(&mut block, NAMES[usize::from(*name) % NAMES.len()], value);
                }
                let frame = frame(1, 4 | flags & 1, stream.into(), &block);
                self.held.extend_from_slice(&frame);
            }
            Operation::Send { stream, bytes } => {
                let bytes = http2.window(stream.into()).min(bytes.into());
                http2.sent(stream.into(), bytes);
            }
            Operation::End(stream) => http2.end(stream.into(), out),
            Operation::Reset(stream) => http2.reset(stream.into(), Code::Cancel, out),
            Operation::Credit(stream) => http2.credit(stream.into(), out),
            Operation::Ping => drop(http2.ping(out)),
            Operation::Leave => http2.leave(Code::NoError, out),
            Operation::Later(ms) => self.policy.site.wall_ms += u64::from(ms),
        }
    }

    fn receive(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        let mut at = 0;
        while !self.over {
            let rest = &mut held[at..];
            let present = rest.len();
            let (consumed, event) = self.session.carry(rest, &self.policy, &mut self.sent);
            assert!(consumed <= present);
            at += consumed;
            match event {
                Event::Incomplete { needed } => {
                    assert!(needed > present && consumed == 0);
                    break;
                }
                Event::Handled => {}
                Event::Begun {
                    stream,
                    head,
                    ended,
                } => {
                    let tag = u64::from(stream) << 8;
                    let http2 = self.session.http2().expect("a connection");
                    assert!(http2.window(stream) as i64 <= WINDOW_MAX);
                    http2.bind(stream, tag);
                    let mut exchange = Session::exchange(head, ended);
                    exchanged(&mut exchange, &self.policy, &mut Vec::new());
                    let state = (stream, exchange, Vec::new());
                    assert!(self.streams.insert(tag, state).is_none(), "never twice");
                }
                Event::Data { tag, bytes, ended } => {
                    let (_, exchange, body) = self.streams.get_mut(&tag).expect("a stream");
                    body.extend_from_slice(bytes);
                    if ended {
                        exchange.end_input();
                    }
                    exchanged(exchange, &self.policy, body);
                }
                Event::Reset { tag } => drop(self.streams.remove(&tag).expect("a stream")),
                Event::Window { tag } => {
                    assert!(tag.is_none_or(|tag| self.streams.contains_key(&tag)));
                }
                Event::Failed => self.over = true,
            }
        }
        self.held = held.split_off(at);
    }
}

/// Lets a stream's session do what it can with what is there.
fn exchanged(session: &mut Session, policy: &Policy, body: &mut Vec<u8>) {
    let mut out = Vec::new();
    let mut inflater = Inflater::default();
    while !body.is_empty() || session.is_due() {
        let present = body.len();
        let input = session.receive(body, policy, &mut inflater, &mut out);
        let consumed = match input {
            Input::Incomplete { needed } => {
                assert!(needed > present);
                break;
            }
            Input::Partial { kept } => {
                body.truncate(kept);
                break;
            }
            Input::Request { consumed, asked } => {
                assert!(asked.body.len() <= policy.message_bytes_max);
                consumed
            }
            Input::Handled { consumed } | Input::Opened { consumed, .. } => consumed,
            Input::Message { consumed, bytes } => {
                assert!(bytes.len() <= policy.message_bytes_max);
                consumed
            }
            Input::Ended(_) => {
                body.clear();
                break;
            }
            Input::Multiplexed { .. } => panic!("a stream carries none"),
        };
        body.drain(..consumed);
    }
}

/// All that the server says is whole frames, and its header blocks can be read.
fn check_frames(sent: &[u8]) {
    let mut rest = sent;
    let mut decoder = Decoder::default();
    while let Some(header) = rest.get(..9) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let payload = &rest[9..9 + length];
        assert!(header[3] <= 9 && length <= 16_384);
        if header[3] == 1 {
            decoder.decode(payload, |_, _| {}).expect("our own block");
        }
        rest = &rest[9 + length..];
    }
    assert!(rest.is_empty());
}
