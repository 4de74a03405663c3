//! What frames cost: nanoseconds per frame, the best and the median of several rounds.
//!
//! `cargo run --release -p imfast-wire --example frame_rate`

use std::hint::black_box;
use std::time::Instant;

use imfast_wire::frames::client::Verb;
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::{Row, ServerBody, ServerFrame};
use imfast_wire::frames::{json, proto};

const ROUNDS: usize = 21;
const FRAMES: u32 = 100_000;

fn measure(name: &str, bytes: usize, mut frame: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..FRAMES {
                frame();
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(FRAMES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:<28} {bytes:>5} bytes {:>7.1} ns best {:>7.1} ns median",
        rounds[0],
        rounds[ROUNDS / 2]
    );
}

fn main() {
    let text = "x".repeat(128 - r#"{"text":""}"#.len());
    let send = format!(
        r#"{{"id":17,"send":{{"to":{{"user":"bob"}},"key":"0198c0de-0000-7000-8000-000000000001","json":{{"text":"{text}"}}}}}}"#
    );
    let frame = json::decode_client(send.as_bytes()).expect("valid");
    let mut proto_send = Vec::new();
    proto::encode_client(&frame, &mut proto_send);
    let mut row = Vec::new();
    write_row_prefix(
        &mut row,
        "d.AAAAAAAAAAAAAAAAAAAAAA",
        42,
        7_321_000_000_000_000_001,
        "alice",
        1_763_899_999_000,
    );
    let Verb::Send(message) = &frame.verb else {
        panic!("a send");
    };
    message.write_content(&mut row);
    let push = ServerFrame::push(ServerBody::Row(Row::Message(&row)));
    let sent = ServerFrame {
        id: 17,
        body: ServerBody::Sent {
            conversation: "d.AAAAAAAAAAAAAAAAAAAAAA".into(),
            seq: 42,
            message_id: 7_321_000_000_000_000_001,
            partition: 1,
            position: 981,
            timestamp_ms: 1_763_899_999_000,
            duplicate: false,
        },
    };

    measure("JSON send, decode", send.len(), || {
        let _ = black_box(json::decode_client(black_box(send.as_bytes())));
    });
    measure("protobuf send, decode", proto_send.len(), || {
        let _ = black_box(proto::decode_client(black_box(&proto_send)));
    });
    let mut out = Vec::with_capacity(1 << 12);
    for (name, frame) in [("sent", &sent), ("message push", &push)] {
        json::encode_server(frame, &mut out).expect("valid");
        let bytes = out.len();
        measure(&format!("JSON {name}, encode"), bytes, || {
            out.clear();
            let _ = black_box(json::encode_server(black_box(frame), &mut out));
        });
        out.clear();
        proto::encode_server(frame, &mut out);
        let bytes = out.len();
        measure(&format!("protobuf {name}, encode"), bytes, || {
            out.clear();
            proto::encode_server(black_box(frame), &mut out);
            black_box(&out);
        });
    }
}
