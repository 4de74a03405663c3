//! Frames between workers. The module is private to the engine and included here as a file.
#![no_main]

#[allow(dead_code, reason = "the engine uses all of it")]
#[path = "../../engine/src/links/frame.rs"]
mod frame;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Some((read, length))) = frame::read(rest) {
        assert!(length <= rest.len() && length >= frame::HEADER_BYTES);
        let mut again = Vec::new();
        frame::write(
            &mut again,
            read.kind,
            read.partition,
            read.epoch,
            read.number,
            |out| {
                out.extend_from_slice(read.payload);
            },
        );
        assert_eq!(frame::read(&again), Ok(Some((read, again.len()))));
        rest = &rest[length..];
    }
});
