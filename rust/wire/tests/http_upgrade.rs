//! The WebSocket handshake from both ends (RFC 6455 section 4, RFC 9112).

use imfast_wire::http::{
    ClientError, ClientHandshake, ClientParsed, Error, Limits, OriginPolicy, Parsed, Rejection,
    Request, parse, parse_client_response, websocket_upgrade, write_client_handshake, write_error,
    write_switching_protocols,
};
use proptest::prelude::*;

const SUBPROTOCOLS: [&str; 3] = ["imfast.v1.json", "imfast.v1.proto", "mqtt"];

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

const CLIENT: ClientHandshake<'static> = ClientHandshake {
    host: "server.example.com",
    path: "/v1/ws",
    nonce: *b"the sample nonce",
    subprotocol: Some("mqtt"),
};

fn request(bytes: &str) -> Request<'_> {
    match parse(bytes.as_bytes(), &Limits::default()) {
        Ok(Parsed::Request { request, .. }) => request,
        other => panic!("{bytes:?} is a request, not {other:?}"),
    }
}

fn rejection(bytes: &str) -> Rejection {
    websocket_upgrade(&request(bytes), &SUBPROTOCOLS, &OriginPolicy::SameHost)
        .expect_err("a refused handshake")
}

/// The handshake with one line replaced, and the status it is refused with.
fn status_with(line: &str, replacement: &str) -> u16 {
    assert!(HANDSHAKE.contains(line), "{line}");
    rejection(&HANDSHAKE.replacen(line, replacement, 1)).status
}

fn status_with_extra(header: &str) -> u16 {
    status_with("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"))
}

fn response(lines: &str) -> Result<ClientParsed, ClientError> {
    parse_client_response(lines.as_bytes(), &CLIENT, &Limits::default())
}

#[test]
fn section_4_2_2_the_server_accepts_the_rfcs_handshake() {
    let request = request(HANDSHAKE);
    let accept = websocket_upgrade(&request, &SUBPROTOCOLS, &OriginPolicy::SameHost)
        .expect("an accepted handshake");
    assert_eq!(accept.value(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(
        accept.subprotocol,
        Some("mqtt"),
        "the first the client names that we know"
    );
    let mut out = Vec::new();
    write_switching_protocols(&mut out, &accept);
    let expected = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
}

#[test]
fn section_4_2_2_a_subprotocol_we_do_not_know_is_left_out() {
    for offer in ["Sec-WebSocket-Protocol: chat\r\n", ""] {
        let line = "Sec-WebSocket-Protocol: chat, mqtt, imfast.v1.json\r\n";
        let bytes = HANDSHAKE.replace(line, offer);
        let accept = websocket_upgrade(&request(&bytes), &SUBPROTOCOLS, &OriginPolicy::Any)
            .expect("an accepted handshake");
        assert_eq!(accept.subprotocol, None);
        let mut out = Vec::new();
        write_switching_protocols(&mut out, &accept);
        assert!(!String::from_utf8_lossy(&out).contains("Protocol:"));
    }
    assert_eq!(status_with("chat, mqtt", "cha t, mqtt"), 400);
}

#[test]
fn section_4_2_1_a_handshake_is_a_get_of_http_1_1() {
    assert_eq!(status_with("GET", "POST"), 405);
    assert_eq!(
        rejection(&HANDSHAKE.replacen("GET", "POST", 1)).headers,
        [("Allow", "GET")]
    );
    assert_eq!(status_with("HTTP/1.1", "HTTP/1.0"), 505);
}

#[test]
fn section_4_2_1_host_is_given_exactly_once() {
    assert_eq!(status_with("Host: server.example.com\r\n", ""), 400);
    assert_eq!(status_with("Host: server.example.com", "Host:"), 400);
    assert_eq!(status_with_extra("host: server.example.com"), 400);
    assert_eq!(status_with("Host: server", "Host: a, server"), 400);
    assert_eq!(
        status_with("GET /chat", "GET http://other.example/chat"),
        400
    );
}

#[test]
fn section_4_2_1_upgrade_and_connection_carry_their_tokens() {
    for (line, replacement) in [
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: notwebsocket"),
        ("Connection: keep-alive, Upgrade\r\n", ""),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
    ] {
        assert_eq!(status_with(line, replacement), 426, "{replacement:?}");
    }
    let shouting = HANDSHAKE.replace("websocket\r\n", "h2c, WebSocket\r\n");
    let shouting = shouting.replace("keep-alive, Upgrade", "UPGRADE ,keep-alive");
    let accept = websocket_upgrade(&request(&shouting), &[], &OriginPolicy::SameHost);
    assert!(accept.is_ok(), "{accept:?}");
}

#[test]
fn section_4_4_another_version_is_told_ours() {
    for replacement in [
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "",
    ] {
        let bytes = HANDSHAKE.replace("Sec-WebSocket-Version: 13\r\n", replacement);
        let rejection = rejection(&bytes);
        assert_eq!(rejection.status, 426);
        assert!(rejection.headers.contains(&("Sec-WebSocket-Version", "13")));
    }
    assert_eq!(status_with_extra("Sec-WebSocket-Version: 13"), 400);
}

#[test]
fn section_4_2_1_the_key_is_sixteen_bytes_given_once() {
    assert_eq!(
        status_with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        400
    );
    assert_eq!(
        status_with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="),
        400
    );
    assert_eq!(
        status_with_extra("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        400
    );
}

#[test]
fn section_10_2_a_page_of_another_origin_is_forbidden() {
    assert_eq!(
        status_with("Origin: http://server", "Origin: http://evil"),
        403
    );
    assert_eq!(
        status_with("Origin: http://server.example.com", "Origin: null"),
        403
    );
    assert_eq!(status_with_extra("Origin: http://server.example.com"), 400);
    let without = HANDSHAKE.replace("Origin: http://server.example.com\r\n", "");
    let list = OriginPolicy::List(vec!["https://app.example".to_owned()]);
    for policy in [&OriginPolicy::SameHost, &list] {
        let accept = websocket_upgrade(&request(&without), &[], policy);
        assert!(accept.is_ok(), "no page, no origin: {accept:?}");
    }
    let refused = websocket_upgrade(&request(HANDSHAKE), &[], &list).expect_err("not listed");
    assert_eq!(refused.status, 403);
}

#[test]
fn a_handshake_with_a_body_is_refused() {
    assert_eq!(status_with_extra("Content-Length: 5"), 400);
    assert_eq!(
        status_with_extra("Content-Length: 0\r\nContent-Length: 0"),
        400
    );
    assert_eq!(status_with_extra("Content-Length: +0"), 400);
    assert_eq!(status_with_extra("Transfer-Encoding: chunked"), 400);
    let empty = HANDSHAKE.replacen("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1);
    assert!(websocket_upgrade(&request(&empty), &[], &OriginPolicy::Any).is_ok());
}

#[test]
fn an_error_response_is_complete_and_closes() {
    let mut out = Vec::new();
    write_error(
        &mut out,
        429,
        "Too Many Requests",
        &[("Retry-After", "3")],
        b"slow down",
    );
    let expected = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nConnection: close\r\n\
        Content-Length: 9\r\n\r\nslow down";
    assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
}

#[test]
fn rfc_9110_section_15_5_22_a_426_names_the_protocol_to_upgrade_to() {
    let mut out = Vec::new();
    rejection("GET / HTTP/1.1\r\nHost: a\r\n\r\n").write(&mut out);
    let text = String::from_utf8(out).expect("ASCII");
    assert!(
        text.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nConnection: Upgrade\r\n"), "{text}");
    assert!(
        text.ends_with("\r\n\r\nnot a WebSocket handshake"),
        "{text}"
    );
}

#[test]
#[should_panic(expected = "no control bytes")]
fn a_header_value_with_a_line_break_is_our_own_mistake() {
    write_error(
        &mut Vec::new(),
        400,
        "Bad Request",
        &[("X", "a\r\nSet-Cookie: b")],
        b"",
    );
}

#[test]
fn our_client_and_our_server_agree() {
    let mut out = Vec::new();
    write_client_handshake(&mut out, &CLIENT, &[("Authorization", "Bearer abc")]);
    let text = String::from_utf8(out).expect("ASCII");
    let request = request(&text);
    assert_eq!(request.path, "/v1/ws");
    assert_eq!(request.headers.get("authorization"), Some("Bearer abc"));
    let accept = websocket_upgrade(&request, &SUBPROTOCOLS, &OriginPolicy::SameHost)
        .expect("an accepted handshake");
    let mut reply = Vec::new();
    write_switching_protocols(&mut reply, &accept);
    let length = reply.len();
    reply.extend_from_slice(b"\x81\x00");
    for end in 0..length {
        let parsed = parse_client_response(&reply[..end], &CLIENT, &Limits::default());
        assert_eq!(parsed, Ok(ClientParsed::Incomplete), "{end} bytes");
    }
    assert_eq!(
        parse_client_response(&reply, &CLIENT, &Limits::default()),
        Ok(ClientParsed::Accepted {
            consumed: length,
            subprotocol_chosen: true
        })
    );
}

#[test]
fn section_4_1_the_client_refuses_what_it_did_not_ask_for() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let accepted = ClientParsed::Accepted {
        consumed: good.len(),
        subprotocol_chosen: false,
    };
    assert_eq!(response(good), Ok(accepted));
    let with = |from: &str, to: &str| response(&good.replacen(from, to, 1));
    let extra = |header: &str| with("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));

    assert_eq!(
        with("Upgrade: websocket\r\n", ""),
        Err(ClientError::NotUpgraded)
    );
    assert_eq!(
        with("Connection: Upgrade\r\n", ""),
        Err(ClientError::NotUpgraded)
    );
    assert_eq!(with("s3pPL", "S3pPL"), Err(ClientError::WrongAccept));
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate";
    assert_eq!(extra(deflate), Err(ClientError::Extension));
    assert_eq!(
        extra("Sec-WebSocket-Protocol: chat"),
        Err(ClientError::Subprotocol)
    );
    let status = response("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        status,
        Err(ClientError::Status {
            status: 503,
            consumed: 55
        })
    );
    let folded = extra("A: b\r\n c");
    assert_eq!(folded, Err(ClientError::Http(Error::HeaderName)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, cut in 0..HANDSHAKE.len()) {
        let spliced = [&HANDSHAKE.as_bytes()[..cut], &bytes, &HANDSHAKE.as_bytes()[cut..]].concat();
        for bytes in [&bytes, &spliced] {
            if let Ok(Parsed::Request { request, consumed }) = parse(bytes, &Limits::default()) {
                prop_assert!(consumed <= bytes.len());
                let _ = websocket_upgrade(&request, &SUBPROTOCOLS, &OriginPolicy::SameHost);
            }
            let _ = parse_client_response(bytes, &CLIENT, &Limits::default());
        }
    }
}
