//! What a connection speaks, from its first bytes: one port serves all transports.
//!
//! The first bytes of two protocols differ early, so no more than [`LONGEST`] of them are looked at,
//! and a peer that sends fewer decides later.

#![deny(clippy::indexing_slicing)]

use crate::proxy;

/// What the first bytes of a connection belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A PROXY header, version 1 or 2; what follows it is to be looked at anew.
    Proxy,
    /// A TLS handshake.
    Tls,
    /// Requests of HTTP/1.1, or what is none: its parser says what is wrong with it.
    Http,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// Frames with a length before each.
    Framed,
    /// A CONNECT packet of MQTT, which is not served.
    Mqtt,
}

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes after which everything is decided.
pub const LONGEST: usize = HTTP2_PREFACE.len();

/// A TLS record of type handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// A CONNECT packet (MQTT 5.0, section 2.1).
const MQTT_CONNECT: u8 = 0x10;

/// Tells what `input`, from the first byte of a connection on, belongs to; `None`: there is too little
/// of it yet.
///
/// Never a method of HTTP: those bytes that no other protocol begins with are HTTP's to refuse.
pub fn sniff(input: &[u8]) -> Option<Protocol> {
    let first = *input.first()?;
    match first {
        // The length of a frame is below 2^24.
        0 => return Some(Protocol::Framed),
        TLS_HANDSHAKE => return Some(Protocol::Tls),
        MQTT_CONNECT => return Some(Protocol::Mqtt),
        _ => {}
    }
    // Each begins with what the others do not: at most one is still possible after a few bytes.
    let candidates = [
        (HTTP2_PREFACE, Protocol::Http2),
        (proxy::V1_SIGNATURE, Protocol::Proxy),
        (proxy::V2_SIGNATURE, Protocol::Proxy),
    ];
    let mut possible = false;
    for (signature, protocol) in candidates {
        let common = input.len().min(signature.len());
        if input.get(..common) == signature.get(..common) {
            if common == signature.len() {
                return Some(protocol);
            }
            possible = true;
        }
    }
    (!possible).then_some(Protocol::Http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_is_known_by_its_first_bytes() {
        for (bytes, protocol) in [
            (&b"\0\0\x01\x02"[..], Protocol::Framed),
            (b"\x16\x03\x01", Protocol::Tls),
            (b"\x10\x10\0\x04MQTT", Protocol::Mqtt),
            (b"GET / HTTP/1.1\r\n", Protocol::Http),
            (b"POST /", Protocol::Http),
            (b"PUT /", Protocol::Http),
            (b"\r\nGET /", Protocol::Http),
            (b"PROXY TCP4 ", Protocol::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", Protocol::Proxy),
            (HTTP2_PREFACE, Protocol::Http2),
            (b"\xff\xff", Protocol::Http),
            (b"PRI * HTTP/1.1\r\n", Protocol::Http),
        ] {
            assert_eq!(sniff(bytes), Some(protocol), "{bytes:?}");
        }
    }

    #[test]
    fn a_prefix_decides_nothing_or_what_the_whole_does() {
        for whole in [
            &b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"[..],
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            HTTP2_PREFACE,
            b"PATCH / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\0",
        ] {
            let decided = sniff(whole);
            assert!(decided.is_some());
            for end in 0..whole.len() {
                let early = sniff(&whole[..end]);
                assert!(early.is_none() || early == decided, "{:?}", &whole[..end]);
                assert!(early.is_some() || end < LONGEST);
            }
        }
    }
}
