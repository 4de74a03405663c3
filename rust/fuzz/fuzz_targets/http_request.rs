//! A request is the same request however late its bytes come, and never more than was given; no
//! response to a handshake makes a client panic.
#![no_main]

use imfast_wire::http::{
    ClientHandshake, Limits, OriginPolicy, Parsed, parse, parse_client_response, websocket_upgrade,
    write_switching_protocols,
};
use libfuzzer_sys::fuzz_target;

const CLIENT: ClientHandshake<'static> = ClientHandshake {
    host: "localhost",
    path: "/v1/ws",
    nonce: [7; 16],
    subprotocol: Some("imfast.v1.json"),
};

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    let _ = parse_client_response(input, &CLIENT, &limits);
    let Ok(Parsed::Request { consumed, request }) = parse(input, &limits) else {
        return;
    };
    assert!((1..=input.len()).contains(&consumed));
    assert_eq!(
        parse(&input[..consumed - 1], &limits),
        Ok(Parsed::Incomplete)
    );
    let accepted = ["imfast.v1.json", "imfast.v1.proto"];
    let mut out = Vec::new();
    match websocket_upgrade(&request, &accepted, &OriginPolicy::SameHost) {
        Ok(mut accept) => match accept.agree_on_deflate(&request) {
            Ok(()) => write_switching_protocols(&mut out, &accept),
            Err(rejection) => rejection.write(&mut out),
        },
        Err(rejection) => rejection.write(&mut out),
    }
    assert!(
        out.ends_with(b"\r\n\r\n")
            || out.starts_with(b"HTTP/1.1 4")
            || out.starts_with(b"HTTP/1.1 5")
    );
});
