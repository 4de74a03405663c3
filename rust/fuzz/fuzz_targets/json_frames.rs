//! JSON frames: what is accepted is written and read again unchanged, in both encodings.
#![no_main]

use imfast_wire::frames::client::Verb;
use imfast_wire::frames::{json, proto};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut rows = Vec::new();
    let _ = json::decode_server(input, &mut rows);
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    let mut read = 0;
    for (frame, end) in json::values(text) {
        assert!(end >= read && end <= text.len());
        read = end;
        let Ok(frame) = frame else { continue };
        if matches!(frame.verb, Verb::Unknown) {
            continue;
        }
        let mut again = Vec::new();
        json::encode_client(&frame, &mut again);
        assert_eq!(json::decode_client(&again).as_ref(), Ok(&frame));
        let mut again = Vec::new();
        proto::encode_client(&frame, &mut again);
        assert_eq!(proto::decode_client(&again).as_ref(), Ok(&frame));
    }
});
