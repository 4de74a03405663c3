//! HTTP/1.1: whatever comes is answered alike, and hands the same requests on, however it is cut; a
//! body is never longer than its limit.
#![no_main]

use arbitrary::Arbitrary;
use imfast_session::{Encoding, Input, Policy, Session, What, Writer};
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::http::{self, Site};
use imfast_wire::websocket::deflate::Inflater;
use libfuzzer_sys::fuzz_target;
use std::fmt::Write as _;

#[derive(Arbitrary, Debug)]
struct Case {
    parts: Vec<Part>,
    /// Where the bytes are cut.
    cuts: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Request {
        method: u8,
        path: u8,
        headers: Vec<(u8, String)>,
        body: Vec<u8>,
        framing: u8,
    },
}

const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "CONNECT"];
const PATHS: [&str; 7] = [
    "/v1/send",
    "/v1/events?sync=AQ&ticket=t",
    "/healthz",
    "/readyz",
    "*",
    "http://x/v1/ping",
    "/none",
];
const NAMES: [&str; 10] = [
    "Authorization",
    "Connection",
    "Content-Length",
    "Expect",
    "Forwarded",
    "Idempotency-Key",
    "Last-Event-ID",
    "Origin",
    "Transfer-Encoding",
    "X",
];

fn written(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Request {
                method,
                path,
                headers,
                body,
                framing,
            } => {
                let method = METHODS[usize::from(*method) % METHODS.len()];
                let path = PATHS[usize::from(*path) % PATHS.len()];
                let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
                for (name, value) in headers {
                    let name = NAMES[usize::from(*name) % NAMES.len()];
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                head.push_str("Content-Type: application/json\r\n");
                match framing % 3 {
                    0 => {
                        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
                        out.extend_from_slice(head.as_bytes());
                        out.extend_from_slice(body);
                    }
                    1 => {
                        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
                        out.extend_from_slice(head.as_bytes());
                        for piece in body.chunks(5) {
                            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                            out.extend_from_slice(piece);
                            out.extend_from_slice(b"\r\n");
                        }
                        out.extend_from_slice(b"0\r\n\r\n");
                    }
                    _ => {
                        head.push_str("\r\n");
                        out.extend_from_slice(head.as_bytes());
                    }
                }
            }
        }
    }
    out
}

/// What was asked, and what was answered, of bytes that come in such pieces.
fn exchanged(pieces: &[&[u8]], policy: &Policy) -> (Vec<String>, Vec<u8>) {
    let mut session = Session::http();
    let mut writer = Writer::default();
    let (mut asked_for, mut out, mut held) = (Vec::new(), Vec::new(), Vec::new());
    let mut inflater = Inflater::default();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            if held.is_empty() {
                break;
            }
            let present = held.len();
            let input = session.receive(&mut held, policy, &mut inflater, &mut out);
            let consumed = match input {
                Input::Incomplete { needed } => {
                    assert!(needed > present);
                    break;
                }
                Input::Partial { kept } => {
                    held.truncate(kept);
                    break;
                }
                Input::Request { consumed, asked } => {
                    assert!(asked.body.len() <= policy.message_bytes_max);
                    asked_for.push(format!("{asked:?}"));
                    let streams = matches!(asked.what, What::Events { .. });
                    let frame = ServerFrame {
                        id: asked.answering.to_bits(),
                        body: ServerBody::Pong { server_time_ms: 1 },
                    };
                    Encoding::Http.write(&frame, &mut writer, &mut out);
                    if asked.answering.last || streams {
                        return (asked_for, out);
                    }
                    consumed
                }
                Input::Handled { consumed } => consumed,
                // Other protocols have targets of their own.
                Input::Opened { .. } | Input::Message { .. } | Input::Multiplexed { .. } => {
                    return (asked_for, out);
                }
                Input::Ended(_) => return (asked_for, out),
            };
            held.drain(..consumed);
        }
    }
    (asked_for, out)
}

fuzz_target!(|case: Case| {
    let policy = Policy {
        message_bytes_max: 512,
        http: http::Limits {
            header_bytes: 1024,
            headers: 16,
        },
        http2_streams: 100,
        site: Site::default(),
        compression: false,
        forwarded: true,
    };
    let bytes = written(&case.parts);
    let (asked, out) = exchanged(&[&bytes], &policy);
    let mut pieces = Vec::new();
    let mut rest = &bytes[..];
    for cut in &case.cuts {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*cut)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let (asked_in_pieces, out_in_pieces) = exchanged(&pieces, &policy);
    assert_eq!(asked, asked_in_pieces);
    // A word for a client that waits is left out where its body is there already.
    let without = |out: &[u8]| {
        let text = String::from_utf8_lossy(out).into_owned();
        text.replace("HTTP/1.1 100 Continue\r\n\r\n", "")
    };
    assert_eq!(without(&out), without(&out_in_pieces));
});
