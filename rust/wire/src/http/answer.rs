//! Writes responses (RFC 9112 section 4, RFC 9110 section 6).

use super::OriginPolicy;
use super::date::put_date;
use super::headers::{put, put_text};
use crate::http2;

/// What a request said about how it is answered. It travels with the request as the number that asks
/// for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answering {
    /// The connection ends with the answer.
    pub last: bool,
    pub version: Version,
    /// The answer's body is left out.
    pub head: bool,
    /// Whose page may read the answer; see [`OriginPolicy::shares_with`].
    pub shared_with: u16,
}

/// What a request was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Answering {
    /// As one number, never 0.
    pub fn to_bits(self) -> u64 {
        1 | u64::from(self.last) << 1
            | u64::from(self.head) << 2
            | (self.version as u64) << 3
            | u64::from(self.shared_with) << 8
    }

    pub fn from_bits(bits: u64) -> Self {
        Self {
            last: bits & 2 != 0,
            head: bits & 4 != 0,
            version: match bits >> 3 & 3 {
                0 => Version::Http10,
                1 => Version::Http11,
                _ => Version::Http2,
            },
            shared_with: (bits >> 8) as u16,
        }
    }
}

/// What all answers of a server say alike.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Milliseconds since 1970, for `Date`.
    pub wall_ms: u64,
    pub origins: OriginPolicy,
}

/// One response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    pub status: u16,
    /// Of the body; empty: without a body.
    pub content_type: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Appends a response.
pub fn write_answer(out: &mut Vec<u8>, site: &Site, answering: Answering, answer: &Answer<'_>) {
    if answering.version == Version::Http2 {
        return http2::write_answer(out, site, answering, answer);
    }
    begin_answer(out, site, answering, answer.status, answer.headers);
    if !answer.content_type.is_empty() {
        put(out, "Content-Type", answer.content_type);
        put(out, "X-Content-Type-Options", "nosniff");
    }
    // RFC 9110 section 8.6: not with 204.
    if answer.status != 204 {
        put(
            out,
            "Content-Length",
            itoa::Buffer::new().format(answer.body.len()),
        );
    }
    out.extend_from_slice(b"\r\n");
    if !answering.head {
        out.extend_from_slice(answer.body);
    }
}

/// Appends a response's head as far as it does not depend on the body; in HTTP/1.1 the empty line
/// follows.
pub fn begin_answer(
    out: &mut Vec<u8>,
    site: &Site,
    answering: Answering,
    status: u16,
    headers: &[(&str, &str)],
) {
    if answering.version == Version::Http2 {
        return http2::begin_answer(out, site, answering, status, headers);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    put_text(out, itoa::Buffer::new().format(status));
    out.push(b' ');
    put_text(out, reason(status));
    out.extend_from_slice(b"\r\nDate: ");
    put_date(out, site.wall_ms);
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        put(out, name, value);
    }
    if answering.last {
        put(out, "Connection", "close");
    } else if answering.version == Version::Http10 {
        put(out, "Connection", "keep-alive");
    }
    if let Some(origin) = site.origins.shared_with(answering.shared_with) {
        put(out, "Access-Control-Allow-Origin", origin);
        put(out, "Access-Control-Expose-Headers", "Retry-After");
        if origin != "*" {
            put(out, "Vary", "Origin");
        }
    }
}

/// Appends one chunk of a body that goes on (RFC 9112 section 7.1), of at most 16 MiB.
pub fn write_chunk(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    const DIGITS: usize = 6;
    let start = out.len();
    out.extend_from_slice(b"000000\r\n");
    content(out);
    let size = out.len() - start - DIGITS - 2;
    debug_assert!(size > 0 && size >> (4 * DIGITS) == 0);
    for (at, place) in out.iter_mut().skip(start).take(DIGITS).enumerate() {
        let digit = (size >> (4 * (DIGITS - 1 - at))) as u32 & 0xf;
        *place = char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8);
    }
    out.extend_from_slice(b"\r\n");
}

/// The end of a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The reason phrase of a status (RFC 9110 section 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        207 => "Multi-Status",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::MAX_NUMBER;
    use crate::frames::codes;

    fn written(answering: Answering, answer: &Answer<'_>) -> String {
        let site = Site {
            wall_ms: 784_111_777_000,
            origins: OriginPolicy::List(vec!["https://a.example".to_owned()]),
        };
        let mut out = Vec::new();
        write_answer(&mut out, &site, answering, answer);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn how_a_request_is_answered_survives_as_a_number() {
        let versions = [Version::Http10, Version::Http11, Version::Http2];
        for bits in 0..24 {
            let answering = Answering {
                last: bits & 1 != 0,
                head: bits & 2 != 0,
                shared_with: if bits & 4 == 0 { 0 } else { u16::MAX },
                version: versions[bits / 8],
            };
            let number = answering.to_bits();
            assert!((1..=MAX_NUMBER).contains(&number));
            assert_eq!(Answering::from_bits(number), answering);
        }
    }

    #[test]
    fn an_answer_has_date_length_and_body() {
        let answer = Answer {
            status: 200,
            content_type: "application/json",
            headers: &[("X-A", "b")],
            body: b"{}",
        };
        assert_eq!(
            written(Answering::default(), &answer),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-A: b\r\n\
             Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Length: 2\r\n\r\n{}"
        );
        let answering = Answering {
            last: true,
            head: true,
            shared_with: 2,
            ..Answering::default()
        };
        let text = written(answering, &answer);
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("Access-Control-Allow-Origin: https://a.example\r\n"));
        assert!(text.contains("\r\nVary: Origin\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 2\r\n\r\n"), "{text}");
    }

    #[test]
    fn chunks_that_we_write_are_the_body_that_we_read() {
        let mut out = Vec::new();
        let body: Vec<u8> = (0..5000_u32).map(|at| at as u8).collect();
        for part in [&body[..1], &body[1..300], &body[300..]] {
            write_chunk(&mut out, |out| out.extend_from_slice(part));
        }
        out.extend_from_slice(LAST_CHUNK);
        let consumed = out.len();
        let read = crate::http::Chunked::default().read(&mut out, 0, 5000);
        let body_bytes = body.len();
        let complete = crate::http::Unchunked::Complete {
            body: body_bytes,
            consumed,
        };
        assert_eq!(read, Ok(complete));
        assert_eq!(out[..body_bytes], body);
    }

    #[test]
    fn every_status_of_the_catalogue_has_a_reason() {
        for code in codes::ALL {
            assert_ne!(reason(code.http), "Unknown", "{}", code.name);
        }
    }
}
