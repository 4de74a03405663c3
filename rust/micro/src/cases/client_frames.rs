//! Decoding what clients send: a send with a key and 128 bytes of JSON.

use super::{OPERATIONS, send};
use crate::callgrind::counted;
use imfast_wire::frames::{json, proto};
use std::hint::black_box;

pub(crate) fn run() {
    let text = send();
    let frame = json::decode_client(text.as_bytes()).expect("a valid send");
    let mut bytes = Vec::new();
    proto::encode_client(&frame, &mut bytes);
    assert!(proto::decode_client(&bytes).is_ok());

    counted("json_decode_send", OPERATIONS, || {
        for _ in 0..OPERATIONS {
            let _ = black_box(json::decode_client(black_box(text.as_bytes())));
        }
    });
    counted("proto_decode_send", OPERATIONS, || {
        for _ in 0..OPERATIONS {
            let _ = black_box(proto::decode_client(black_box(&bytes)));
        }
    });
}
