//! What frames between workers carry: any bytes are read or refused, and what is read says the same
//! once written.
#![no_main]

use imfast_engine::fuzzing::link_payload;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| link_payload(input));
