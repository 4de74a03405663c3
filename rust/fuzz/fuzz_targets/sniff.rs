//! The first bytes of a connection belong to one protocol, however late they come; a PROXY header is
//! the same header then too, and never longer than what was given; no value of a header that names a
//! client makes its reader panic.
#![no_main]

use imfast_wire::http::{Limits, Parsed, forwarded_for, parse};
use imfast_wire::proxy::{self, Decoded};
use imfast_wire::sniff::{LONGEST, Protocol, sniff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let decided = sniff(input);
    assert!(decided.is_some() || input.len() < LONGEST);
    for end in 0..input.len().min(LONGEST) {
        let early = sniff(&input[..end]);
        assert!(early.is_none() || early == decided);
    }
    match decided {
        Some(Protocol::Proxy) => proxied(input),
        Some(Protocol::Http) => {
            if let Ok(Parsed::Request { request, .. }) = parse(input, &Limits::default()) {
                let _ = forwarded_for(&request);
            }
        }
        _ => {}
    }
});

fn proxied(input: &[u8]) {
    match proxy::decode(input) {
        Ok(Decoded::Header { consumed, source }) => {
            assert!((1..=input.len()).contains(&consumed));
            assert_eq!(proxy::decode(&input[..consumed]), proxy::decode(input));
            assert_eq!(proxy::decode(&input[..consumed - 1]), Ok(Decoded::Incomplete));
            let _ = source;
        }
        Ok(Decoded::Incomplete) => assert!(input.len() < proxy::V2_BYTES_MAX),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
