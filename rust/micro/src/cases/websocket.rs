//! Masked WebSocket frames of 128 bytes, as clients send them.

use super::OPERATIONS;
use crate::callgrind::counted;
use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{Decoded, Decoder, Event, Opcode, Role, masked_frame};
use std::hint::black_box;

const PAYLOAD_BYTES: usize = 128;

pub(crate) fn run() {
    for (opcode, name) in [
        (Opcode::Binary, "websocket_decode_binary_128"),
        (Opcode::Text, "websocket_decode_text_128"),
    ] {
        let mut stream = Vec::new();
        for number in 0..OPERATIONS {
            let key = [0x9d, number as u8, 0x3c, 0x71];
            masked_frame(opcode, &[b'a'; PAYLOAD_BYTES], key, &mut stream);
        }
        let mut inflater = Inflater::default();
        let mut decoder = Decoder::new(Role::Server, 64 * 1024);
        // Decoding unmasks in place, so that each run needs a stream of its own.
        let mut first = stream.clone();
        assert_eq!(
            decode(&mut decoder, &mut inflater, &mut first),
            OPERATIONS * PAYLOAD_BYTES
        );
        counted(name, OPERATIONS, || {
            black_box(decode(&mut decoder, &mut inflater, black_box(&mut stream)));
        });
    }
}

/// Decodes all frames and returns the bytes of their payloads.
fn decode(decoder: &mut Decoder, inflater: &mut Inflater, buffer: &mut [u8]) -> usize {
    let mut start = 0;
    let mut bytes = 0;
    while let Some(rest) = buffer.get_mut(start..) {
        let Ok(Decoded::Frame { consumed, event }) = decoder.decode(rest, inflater) else {
            break;
        };
        start += consumed;
        match black_box(event) {
            Event::Text(text) => bytes += text.len(),
            Event::Binary(payload) => bytes += payload.len(),
            _ => {}
        }
    }
    bytes
}
