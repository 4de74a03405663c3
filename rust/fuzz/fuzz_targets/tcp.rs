//! Length-framed streams: what is consumed is there, what is over the limit is refused.
#![no_main]

use imfast_wire::tcp::{Decoded, decode, frame_with};
use libfuzzer_sys::fuzz_target;

const PAYLOAD_BYTES_MAX: usize = 1000;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let mut again = Vec::new();
    loop {
        match decode(rest, PAYLOAD_BYTES_MAX) {
            Ok(Decoded::Frame { consumed, payload }) => {
                assert!(payload.len() <= PAYLOAD_BYTES_MAX && consumed <= rest.len());
                frame_with(&mut again, |out| out.extend_from_slice(payload));
                rest = &rest[consumed..];
            }
            Ok(Decoded::Incomplete { needed }) => {
                assert!(needed > rest.len());
                break;
            }
            Err(_) => break,
        }
    }
    assert_eq!(again, input[..input.len() - rest.len()]);
});
