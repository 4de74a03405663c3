//! Reading a request's header block (RFC 9112, RFC 6455 section 4.2.1).

use imfast_wire::http::{Error, Limits, Parsed, Request, parse};
use proptest::prelude::*;

/// The handshake of RFC 6455 section 1.2.
const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://server.example.com\r\n\
    Sec-WebSocket-Protocol: chat, mqtt, imfast.v1.json\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

fn request(bytes: &str) -> Request<'_> {
    match parse(bytes.as_bytes(), &Limits::default()) {
        Ok(Parsed::Request { request, .. }) => request,
        other => panic!("{bytes:?} is a request, not {other:?}"),
    }
}

fn error(bytes: &[u8]) -> Error {
    parse(bytes, &Limits::default()).expect_err("a refused request")
}

#[test]
fn a_request_is_read_with_its_parts() {
    let request = request(HANDSHAKE);
    assert_eq!(request.method, "GET");
    assert_eq!(request.target, "/chat?room=1");
    assert_eq!((request.path, request.query), ("/chat", Some("room=1")));
    assert_eq!((request.version, request.authority), (1, None));
    assert_eq!(request.headers.get("HOST"), Some("server.example.com"));
    assert_eq!(request.headers.get("absent"), None);
    assert_eq!(request.headers.iter().count(), 7);
}

#[test]
fn a_repeated_header_gives_all_of_its_values_in_order() {
    let request = request("GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\na:   3  \r\n\r\n");
    assert_eq!(
        request.headers.all("a").collect::<Vec<_>>(),
        [&b"1"[..], b"3"]
    );
}

#[test]
fn bytes_after_the_header_block_are_left_alone() {
    let bytes = [HANDSHAKE.as_bytes(), b"\x81\x80\n\r\0"].concat();
    let Ok(Parsed::Request { consumed, .. }) = parse(&bytes, &Limits::default()) else {
        panic!("a request");
    };
    assert_eq!(consumed, HANDSHAKE.len());
}

#[test]
fn rfc_9112_section_3_2_2_an_absolute_target_has_authority_and_path() {
    let request = request("GET http://example.com:80/a/b?c=/d HTTP/1.1\r\n\r\n");
    assert_eq!(request.authority, Some("example.com:80"));
    assert_eq!((request.path, request.query), ("/a/b", Some("c=/d")));
    let bare = "GET ws://example.com HTTP/1.1\r\n\r\n";
    assert_eq!(self::request(bare).path, "/");
    let in_query = "GET /jump?to=http://example.com/x HTTP/1.1\r\n\r\n";
    assert_eq!(
        (
            self::request(in_query).path,
            self::request(in_query).authority
        ),
        ("/jump", None)
    );
}

#[test]
fn every_prefix_of_a_request_is_incomplete() {
    for end in 0..HANDSHAKE.len() {
        let parsed = parse(&HANDSHAKE.as_bytes()[..end], &Limits::default());
        assert_eq!(parsed, Ok(Parsed::Incomplete), "{end} bytes");
    }
}

#[test]
fn a_header_block_over_the_limit_is_refused_even_while_incomplete() {
    let limits = Limits {
        header_bytes: HANDSHAKE.len(),
        ..Limits::default()
    };
    assert!(matches!(
        parse(HANDSHAKE.as_bytes(), &limits),
        Ok(Parsed::Request { .. })
    ));
    let limit = HANDSHAKE.len() - 1;
    let limits = Limits {
        header_bytes: limit,
        ..limits
    };
    let refused = Err(Error::TooLong { limit });
    assert_eq!(parse(HANDSHAKE.as_bytes(), &limits), refused);
    assert_eq!(parse(&HANDSHAKE.as_bytes()[..limit], &limits), refused);
    assert_eq!(
        parse(&HANDSHAKE.as_bytes()[..limit - 1], &limits),
        Ok(Parsed::Incomplete)
    );

    let endless = format!("GET /{} ", "a".repeat(8 * 1024));
    assert_eq!(error(endless.as_bytes()), Error::TooLong { limit: 8192 });
    assert_eq!(error(endless.as_bytes()).status(), 431);
}

#[test]
fn sixty_four_headers_are_enough() {
    let with = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(request(&with(64)).headers.iter().count(), 64);
    assert_eq!(
        error(with(65).as_bytes()),
        Error::TooManyHeaders { limit: 64 }
    );
    let limits = Limits {
        headers: 1,
        ..Limits::default()
    };
    let refused = Err(Error::TooManyHeaders { limit: 1 });
    assert_eq!(parse(with(2).as_bytes(), &limits), refused);
}

#[test]
fn rfc_9112_section_2_2_a_line_ends_in_cr_lf_only() {
    assert_eq!(
        error(b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        Error::LineEnding { offset: 14 }
    );
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        Error::LineEnding { offset: 23 }
    );
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        Error::LineEnding { offset: 25 }
    );
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"),
        Error::LineEnding { offset: 24 }
    );
    assert_eq!(
        error(b"\nGET / HTTP/1.1\r\n\r\n"),
        Error::LineEnding { offset: 0 }
    );
}

#[test]
fn rfc_9112_section_5_2_a_folded_line_is_refused() {
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
        Error::HeaderName
    );
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n"),
        Error::HeaderName
    );
}

#[test]
fn rfc_9112_section_5_1_a_space_before_the_colon_is_refused() {
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        Error::HeaderName
    );
    assert_eq!(error(b"GET / HTTP/1.1\r\n: a\r\n\r\n"), Error::HeaderName);
}

#[test]
fn rfc_9110_section_5_5_control_bytes_are_refused_everywhere() {
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"),
        Error::HeaderValue
    );
    assert_eq!(
        error(b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n"),
        Error::HeaderName
    );
    assert_eq!(error(b"GET /\0 HTTP/1.1\r\n\r\n"), Error::StartLine);
    assert_eq!(error(b"G\0T / HTTP/1.1\r\n\r\n"), Error::StartLine);
}

#[test]
fn rfc_9112_section_2_3_other_versions_are_refused() {
    assert_eq!(error(b"GET / HTTP/2.0\r\n\r\n"), Error::Version);
    assert_eq!(Error::Version.status(), 505);
    assert_eq!(request("GET / HTTP/1.0\r\n\r\n").version, 0);
}

#[test]
fn section_3_a_target_has_no_fragment() {
    assert_eq!(error(b"GET /a#b HTTP/1.1\r\n\r\n"), Error::StartLine);
}

proptest! {
    #[test]
    fn a_request_accepted_whole_was_incomplete_at_every_cut(
        at in 0..HANDSHAKE.len(),
        byte: u8,
        cut in 0..HANDSHAKE.len(),
    ) {
        let mut bytes = HANDSHAKE.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(Parsed::Request { consumed, .. }) = parse(&bytes, &Limits::default()) {
            let cut = cut.min(consumed - 1);
            let partly = parse(&bytes[..cut], &Limits::default());
            prop_assert_eq!(partly, Ok(Parsed::Incomplete));
        }
    }
}
