//! Prints how many masked frames of 128 bytes one thread decodes a second.
//!
//! `cargo run --release -p imfast-wire --example decode_rate`

use std::hint::black_box;
use std::time::Instant;

use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{Decoded, Decoder, Event, Opcode, Role, masked_frame};

const PAYLOAD_BYTES: usize = 128;
const FRAMES: u32 = 512;
const ROUNDS: u32 = 20_000;
const REPEATS: usize = 5;

/// Decodes the frames of one full receive buffer, copying them there as the kernel would.
fn decode_buffer(
    decoder: &mut Decoder,
    inflater: &mut Inflater,
    stream: &[u8],
    buffer: &mut [u8],
) -> usize {
    buffer.copy_from_slice(stream);
    let mut start = 0;
    let mut bytes = 0;
    while let Some(rest) = buffer.get_mut(start..) {
        match decoder.decode(rest, inflater) {
            Ok(Decoded::Frame { consumed, event }) => {
                start += consumed;
                match black_box(event) {
                    Event::Text(text) => bytes += text.len(),
                    Event::Binary(payload) => bytes += payload.len(),
                    _ => {}
                }
            }
            _ => break,
        }
    }
    bytes
}

fn main() {
    for (opcode, name) in [(Opcode::Binary, "binary"), (Opcode::Text, "text")] {
        let mut stream = Vec::new();
        for i in 0..FRAMES {
            let payload = [b'a' + (i % 26) as u8; PAYLOAD_BYTES];
            masked_frame(opcode, &payload, [0x9d, i as u8, 0x3c, 0x71], &mut stream);
        }
        let mut buffer = stream.clone();
        let mut decoder = Decoder::new(Role::Server, 64 * 1024);
        let mut inflater = Inflater::default();
        let mut rates = [0.0f64; REPEATS];
        for rate in &mut rates {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                let bytes = decode_buffer(&mut decoder, &mut inflater, &stream, &mut buffer);
                assert_eq!(bytes, FRAMES as usize * PAYLOAD_BYTES);
            }
            let seconds = started.elapsed().as_secs_f64();
            *rate = f64::from(FRAMES * ROUNDS) / seconds / 1e6;
        }
        rates.sort_unstable_by(f64::total_cmp);
        let [slowest, .., fastest] = rates;
        let median = rates[REPEATS / 2];
        println!(
            "{name}: {median:.1} million frames/s (of {REPEATS} runs: {slowest:.1} to \
             {fastest:.1}), {:.1} ns a frame",
            1e3 / median
        );
    }
}
