//! Encoding what clients get: the answer to a send, and the message itself.

use super::{OPERATIONS, send};
use crate::callgrind::counted;
use imfast_wire::frames::client::Verb;
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::{Row, ServerBody, ServerFrame};
use imfast_wire::frames::{json, proto};
use std::hint::black_box;

const CONVERSATION: &str = "d.AAAAAAAAAAAAAAAAAAAAAA";
const MESSAGE_ID: u64 = 7_321_000_000_000_000_001;
const TIME_MS: u64 = 1_763_899_999_000;

/// A stored message: what a partition keeps and a fan-out encodes.
pub(crate) fn row() -> Vec<u8> {
    let text = send();
    let frame = json::decode_client(text.as_bytes()).expect("a valid send");
    let mut row = Vec::new();
    write_row_prefix(&mut row, CONVERSATION, 42, MESSAGE_ID, "alice", TIME_MS);
    if let Verb::Send(message) = &frame.verb {
        message.write_content(&mut row);
    }
    row
}

pub(crate) fn run() {
    let row = row();
    let message = ServerFrame::push(ServerBody::Row(Row::Message(&row)));
    let sent = ServerFrame {
        id: 17,
        body: ServerBody::Sent {
            conversation: CONVERSATION.into(),
            seq: 42,
            message_id: MESSAGE_ID,
            partition: 1,
            position: 981,
            timestamp_ms: TIME_MS,
            duplicate: false,
        },
    };
    let mut out = Vec::with_capacity(4096);
    for (frame, json_name, proto_name) in [
        (&sent, "json_encode_sent", "proto_encode_sent"),
        (&message, "json_encode_message", "proto_encode_message"),
    ] {
        json::encode_server(frame, &mut out).expect("a valid frame");
        counted(json_name, OPERATIONS, || {
            for _ in 0..OPERATIONS {
                out.clear();
                let _ = black_box(json::encode_server(black_box(frame), &mut out));
            }
        });
        counted(proto_name, OPERATIONS, || {
            for _ in 0..OPERATIONS {
                out.clear();
                proto::encode_server(black_box(frame), &mut out);
                black_box(&out);
            }
        });
    }
}
