//! What holds for every TCP stream.

use imfast_wire::tcp::{Decoded, decode, frame_with};
use proptest::collection::vec;
use proptest::prelude::*;

const PAYLOAD_BYTES_MAX: usize = 64;

/// Feeds `stream` in pieces of `piece` bytes; gives the payloads and whether an error ended it.
fn decode_in_pieces(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let mut payloads = Vec::new();
    let mut buffer = Vec::new();
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let consumed = match decode(&buffer, PAYLOAD_BYTES_MAX) {
                Ok(Decoded::Frame { consumed, payload }) => {
                    payloads.push(payload.to_vec());
                    consumed
                }
                Ok(Decoded::Incomplete { needed }) => {
                    assert!(needed > buffer.len(), "{needed} needed of {}", buffer.len());
                    break;
                }
                Err(_) => return (payloads, true),
            };
            buffer.drain(..consumed);
        }
    }
    (payloads, false)
}

proptest! {
    #[test]
    fn frames_come_back_however_the_stream_is_split(
        payloads in vec(vec(any::<u8>(), 0..=PAYLOAD_BYTES_MAX), 0..8),
        piece in 1usize..80,
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            frame_with(&mut stream, |out| out.extend_from_slice(payload));
        }
        prop_assert_eq!(decode_in_pieces(&stream, piece), (payloads, false));
    }

    #[test]
    fn arbitrary_bytes_decode_alike_however_they_are_split(
        lengths in vec(prop_oneof![0u32..80, any::<u32>()], 0..6),
        filler: Vec<u8>,
        piece in 1usize..20,
    ) {
        let stream: Vec<u8> =
            lengths.iter().flat_map(|length| length.to_be_bytes()).chain(filler).collect();
        let whole = decode_in_pieces(&stream, stream.len().max(1));
        prop_assert_eq!(decode_in_pieces(&stream, piece), whole);
    }
}
