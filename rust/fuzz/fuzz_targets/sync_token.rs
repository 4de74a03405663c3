//! Sync tokens: what is read says the same once written, and costs no more than it is long.
#![no_main]

use imfast_wire::frames::token::SyncToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(token) = SyncToken::decode(input) {
        assert!(token.positions.len() <= input.len());
        assert_eq!(SyncToken::decode(&token.encode()), Ok(token));
    }
});
