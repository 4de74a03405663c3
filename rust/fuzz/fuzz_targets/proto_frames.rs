//! Protobuf frames: what is accepted is written and read again unchanged, in both encodings.
#![no_main]

use imfast_wire::frames::client::Verb;
use imfast_wire::frames::{json, proto};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(frame) = proto::decode_server(input) {
        let mut again = Vec::new();
        proto::encode_server(&frame, &mut again);
        assert_eq!(proto::decode_server(&again).as_ref(), Ok(&frame));
        // Rows are checked where they are written; here they may be anything.
        let _ = json::encode_server(&frame, &mut again);
    }
    let mut read = 0;
    for (_, end) in proto::values(input) {
        assert!(end > read && end <= input.len());
        read = end;
    }
    let Ok(frame) = proto::decode_client(input) else {
        return;
    };
    if matches!(frame.verb, Verb::Unknown) {
        return;
    }
    let mut again = Vec::new();
    proto::encode_client(&frame, &mut again);
    assert_eq!(proto::decode_client(&again).as_ref(), Ok(&frame));
    let mut again = Vec::new();
    json::encode_client(&frame, &mut again);
    assert_eq!(json::decode_client(&again).as_ref(), Ok(&frame));
});
