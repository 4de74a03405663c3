//! A connection's life as a list of what happens to it: bytes, silence, a close from our side.
//! Whatever the peer does, what we send is a valid stream, and the end is the end.
#![no_main]

use arbitrary::Arbitrary;
use imfast_session::{Input, Overdue, Policy, Session, What, frames};
use imfast_wire::frames::{codes, json};
use imfast_wire::http::{self, ClientHandshake, Site};
use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{Decoded, Decoder, Opcode, Role, masked_frame};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    tcp: bool,
    compression: bool,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Bytes(Vec<u8>),
    Handshake {
        subprotocol: bool,
        offer: Vec<u8>,
    },
    Frame {
        opcode: u8,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
    Silence,
    Close {
        code: u8,
    },
}

fuzz_target!(|case: Case| {
    let policy = Policy {
        message_bytes_max: 2048,
        http: http::Limits::default(),
        http2_streams: 100,
        site: Site::default(),
        compression: case.compression,
        forwarded: true,
    };
    let mut session = if case.tcp {
        Session::tcp()
    } else {
        Session::http()
    };
    let mut inflater = Inflater::default();
    let mut sent = Vec::new();
    let mut held = Vec::new();
    let mut over = false;
    for operation in &case.operations {
        let before = sent.len();
        match operation {
            Operation::Silence => {
                if session.overdue(&mut sent) == Overdue::Lost {
                    assert_eq!(before, sent.len());
                }
            }
            Operation::Close { code } => {
                let code = codes::ALL[*code as usize % codes::ALL.len()];
                session.close(code, &policy.site, &mut sent);
                assert!(!over || before == sent.len(), "the end is said once");
                over = true;
            }
            Operation::Bytes(bytes) => held.extend_from_slice(bytes),
            Operation::Handshake { subprotocol, offer } => {
                handshake(*subprotocol, offer, &mut held)
            }
            Operation::Frame {
                opcode,
                mask,
                payload,
            } => {
                let opcode = Opcode::from_bits(opcode % 11).unwrap_or(Opcode::Text);
                let length = payload
                    .len()
                    .min(if opcode.is_control() { 125 } else { 4096 });
                masked_frame(opcode, &payload[..length], *mask, &mut held);
            }
        }
        over |= receive(
            &mut session,
            &policy,
            &mut inflater,
            &mut held,
            &mut sent,
            over,
        );
    }
    if !case.tcp {
        check_sent(&sent);
    }
});

/// Feeds what is held; returns whether that ended the session.
fn receive(
    session: &mut Session,
    policy: &Policy,
    inflater: &mut Inflater,
    held: &mut Vec<u8>,
    sent: &mut Vec<u8>,
    over: bool,
) -> bool {
    while !held.is_empty() {
        let present = held.len();
        let before = sent.len();
        let consumed = match session.receive(held, policy, inflater, sent) {
            Input::Incomplete { needed } => {
                assert!(needed > present);
                return false;
            }
            Input::Partial { kept } => {
                assert!(kept <= present);
                held.truncate(kept);
                return false;
            }
            Input::Request { consumed, asked } => {
                assert!(asked.body.len() <= policy.message_bytes_max && !over);
                if let What::Verb(verb) = &asked.what {
                    let _ = json::decode_verb(verb, asked.body);
                }
                consumed
            }
            Input::Handled { consumed } => consumed,
            // Its frames have a target of their own.
            Input::Multiplexed { .. } => return true,
            // Another encoding begins, with the bytes that told so.
            Input::Opened { consumed: 0, .. } => continue,
            Input::Opened { consumed, .. } => consumed,
            Input::Message { consumed, bytes } => {
                assert!(bytes.len() <= policy.message_bytes_max && !over);
                let bytes = bytes.to_vec();
                let mut frames = frames(session.encoding(), &bytes);
                let mut rest = usize::MAX;
                while let Some(frame) = frames.next() {
                    if frame.is_err_and(|error| error.closes()) {
                        break;
                    }
                    assert!(frames.rest().len() < rest, "every frame takes bytes");
                    rest = frames.rest().len();
                }
                consumed
            }
            Input::Ended(_) => {
                held.clear();
                session.close(&codes::SHUTTING_DOWN, &policy.site, &mut Vec::new());
                return true;
            }
        };
        assert!((1..=present).contains(&consumed));
        assert!(
            !over || sent.len() == before,
            "nothing is sent after the end"
        );
        held.drain(..consumed);
    }
    false
}

fn handshake(subprotocol: bool, offer: &[u8], out: &mut Vec<u8>) {
    let offer: String = offer
        .iter()
        .map(|byte| char::from(byte % 95 + 32))
        .collect();
    let handshake = ClientHandshake {
        host: "localhost",
        path: "/v1/ws",
        nonce: [7; 16],
        subprotocol: Some(if subprotocol {
            "imfast.v1.json"
        } else {
            "imfast.v1.proto"
        }),
    };
    let extensions = format!("permessage-deflate{offer}");
    let header = ("Sec-WebSocket-Extensions", extensions.as_str());
    http::write_client_handshake(out, &handshake, &[header]);
}

/// A refusal, or a 101 and then frames that a client can read; answers to requests before.
fn check_sent(sent: &[u8]) {
    if sent.first() == Some(&0) {
        // It became framed TCP.
        return;
    }
    let Some(end) = sent.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(sent.is_empty(), "half a response");
        return;
    };
    if !sent.starts_with(b"HTTP/1.1 101 ") {
        return;
    }
    let mut frames = sent[end + 4..].to_vec();
    let mut inflater = Inflater::default();
    let mut decoder = Decoder::new(Role::Client, 1 << 20).with_deflate();
    let mut rest = &mut frames[..];
    while !rest.is_empty() {
        match decoder.decode(rest, &mut inflater) {
            Ok(Decoded::Frame { consumed, .. }) => rest = &mut rest[consumed..],
            other => panic!("we sent what a client cannot read: {other:?}"),
        }
    }
}
