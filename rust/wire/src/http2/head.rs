//! Requests' heads: what RFC 9113 section 8 demands of them, and what is kept of them until the body
//! is complete.

use super::hpack::{Decoder, Malformed};
use crate::http::{Headers, Request};

/// What each field counts beside its bytes (RFC 9113 section 6.5.2).
const FIELD_BYTES: usize = 32;

/// A request's head, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Names and values, one after the other.
    text: Vec<u8>,
    fields: Vec<Field>,
    content_length: Option<u64>,
    expects: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// Where name and value end; the name begins where the field before ends.
    name: u32,
    value: u32,
}

/// What is wrong with a head that could be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// RFC 9113 section 8.1.1: the stream ends.
    Malformed,
    /// Above a limit, which is answered with 431.
    TooLarge,
}

const METHOD: &str = ":method";
const SCHEME: &str = ":scheme";
const PATH: &str = ":path";
const AUTHORITY: &str = ":authority";
const PROTOCOL: &str = ":protocol";

/// Fields of one connection's first hop, which HTTP/2 has other means for (section 8.2.2).
const OF_THE_CONNECTION: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

impl Head {
    /// Decodes a block as far as `limits` allow, and all of it for the decoder's sake.
    pub(super) fn decode(
        decoder: &mut Decoder,
        block: &[u8],
        limits: &crate::http::Limits,
    ) -> Result<Result<Self, Wrong>, Malformed> {
        let mut reader = Reader::default();
        decoder.decode(block, |name, value| reader.take(name, value, limits))?;
        Ok(reader.finish())
    }

    /// Decodes the fields behind a body, which mean nothing to us.
    pub(super) fn decode_trailers(
        decoder: &mut Decoder,
        block: &[u8],
    ) -> Result<Result<(), Wrong>, Malformed> {
        let mut right = true;
        decoder.decode(block, |name, value| {
            right &= is_name(name) && is_value(value);
        })?;
        Ok(if right { Ok(()) } else { Err(Wrong::Malformed) })
    }

    /// The bytes that the body has to have, where the head says it.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the client waits for a word before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.expects
    }

    /// Whether the stream is to speak another protocol (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        self.field(PROTOCOL)
    }

    /// The request, with a `Host` as HTTP/1.1 has it.
    pub fn request(&self) -> Request<'_> {
        let target = self.field(PATH).unwrap_or("");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let authority = self.field(AUTHORITY);
        let regular = self.iter().filter(|(name, _)| !name.starts_with(':'));
        let named = regular.clone().any(|(name, _)| name == "host");
        let host = authority.filter(|_| !named);
        let host = host.map(|authority| ("host", authority.as_bytes()));
        Request {
            method: self.field(METHOD).unwrap_or(""),
            target,
            authority,
            path,
            query,
            version: 2,
            headers: Headers::of(host.into_iter().chain(regular)),
        }
    }

    /// The only value of a field that every head has at most once.
    fn field(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.iter().find(|(name, _)| *name == wanted)?;
        core::str::from_utf8(value).ok()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        let mut start = 0;
        self.fields.iter().map(move |field| {
            let name = self.text.get(start..field.name as usize).unwrap_or(&[]);
            let value = self.text.get(field.name as usize..field.value as usize);
            start = field.value as usize;
            // Names were checked: they are ASCII.
            (
                core::str::from_utf8(name).unwrap_or(""),
                value.unwrap_or(&[]),
            )
        })
    }
}

/// Reads fields into a head.
#[derive(Default)]
struct Reader {
    head: Head,
    size: usize,
    /// A field that is no pseudo-header was read.
    regular: bool,
    /// Cookies may be split into one field each (section 8.2.3).
    cookies: Vec<u8>,
    wrong: Option<Wrong>,
}

impl Reader {
    fn take(&mut self, name: &[u8], value: &[u8], limits: &crate::http::Limits) {
        self.size += name.len() + value.len() + FIELD_BYTES;
        if self.wrong.is_some() {
            return;
        }
        let many = self.head.fields.len() >= limits.headers;
        if many || self.size > limits.header_bytes {
            self.wrong = Some(Wrong::TooLarge);
        } else if !self.is_right(name, value) {
            self.wrong = Some(Wrong::Malformed);
        } else if name == b"cookie" {
            if !self.cookies.is_empty() {
                self.cookies.extend_from_slice(b"; ");
            }
            self.cookies.extend_from_slice(value);
        } else {
            self.push(name, value);
        }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        let text = &mut self.head.text;
        text.extend_from_slice(name);
        let name_end = text.len() as u32;
        text.extend_from_slice(value);
        self.head.fields.push(Field {
            name: name_end,
            value: text.len() as u32,
        });
    }

    fn is_right(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.first() == Some(&b':') {
            let Ok(name) = core::str::from_utf8(name) else {
                return false;
            };
            let known = [METHOD, SCHEME, PATH, AUTHORITY, PROTOCOL].contains(&name);
            let visible = value
                .iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b'#');
            return known && visible && !self.regular && self.head.field(name).is_none();
        }
        self.regular = true;
        if !is_name(name) || !is_value(value) {
            return false;
        }
        let name = core::str::from_utf8(name).unwrap_or("");
        match name {
            "te" => value.eq_ignore_ascii_case(b"trailers"),
            "content-length" => {
                let first = self.head.content_length.is_none();
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let text = core::str::from_utf8(value).unwrap_or("");
                // All digits: it fails for its size alone, which is above every limit.
                self.head.content_length = Some(text.parse().unwrap_or(u64::MAX));
                first && digits
            }
            "expect" => {
                self.head.expects = value.eq_ignore_ascii_case(b"100-continue");
                true
            }
            _ => !OF_THE_CONNECTION.contains(&name),
        }
    }

    fn finish(mut self) -> Result<Head, Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if !self.cookies.is_empty() {
            let cookies = std::mem::take(&mut self.cookies);
            self.push(b"cookie", &cookies);
        }
        let head = &self.head;
        let has = |name| head.field(name).is_some_and(|value| !value.is_empty());
        let right = match head.field(METHOD) {
            None | Some("") => false,
            // RFC 8441 section 4: with a protocol it is a request like others.
            Some("CONNECT") if head.field(PROTOCOL).is_none() => {
                has(AUTHORITY) && head.field(PATH).is_none() && head.field(SCHEME).is_none()
            }
            Some(method) => {
                let connects = method == "CONNECT" || head.field(PROTOCOL).is_none();
                connects && has(SCHEME) && has(PATH)
            }
        };
        if right {
            Ok(self.head)
        } else {
            Err(Wrong::Malformed)
        }
    }
}

/// A token in lower case (section 8.2.1).
fn is_name(name: &[u8]) -> bool {
    let allowed = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(byte)
    };
    !name.is_empty() && name.iter().all(allowed)
}

/// No control bytes but the tab, no white space around it (section 8.2.1).
fn is_value(value: &[u8]) -> bool {
    let space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    !space(value.first()) && !space(value.last()) && !value.iter().any(control)
}

#[cfg(test)]
mod tests {
    use super::super::hpack::write_field;
    use super::*;
    use crate::http::Limits;

    fn decoded(fields: &[(&str, &str)]) -> Result<Head, Wrong> {
        let mut block = Vec::new();
        for (name, value) in fields {
            write_field(&mut block, name, value);
        }
        Head::decode(&mut Decoder::default(), &block, &Limits::default()).expect("a block")
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v1/events?sync=a"),
        (":authority", "example.com"),
    ];

    fn with(more: &[(&str, &str)]) -> Result<Head, Wrong> {
        decoded(&[&GET[..], more].concat())
    }

    #[test]
    fn a_request_is_read_as_http_1_would_have_it() {
        let cookies = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2")];
        let head = with(&cookies).expect("a head");
        let request = head.request();
        assert_eq!((request.method, request.path), ("GET", "/v1/events"));
        assert_eq!((request.query, request.version), (Some("sync=a"), 2));
        assert_eq!(request.host(), Ok("example.com"));
        let fields: Vec<_> = request.headers.iter().collect();
        let expected = [
            ("host", &b"example.com"[..]),
            ("accept", b"x"),
            ("cookie", b"a=1; b=2"),
        ];
        assert_eq!(fields, expected);
        assert!(
            with(&[("host", "other")])
                .expect("a head")
                .request()
                .host()
                .is_err()
        );
    }

    #[test]
    fn what_is_malformed_ends_the_stream() {
        let bad: [&[(&str, &str)]; 18] = [
            &[("Accept", "x")],
            &[("a b", "x")],
            &[("", "x")],
            &[("a", "x\r\ny")],
            &[("a", "x\0")],
            &[("a", " x")],
            &[("a", "x\t")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "websocket")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "close")],
            &[("te", "gzip")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "+1")],
            &[(":path", "/")],
            &[(":status", "200")],
            &[("a", "b"), (":protocol", "websocket")],
        ];
        for more in bad {
            assert_eq!(with(more), Err(Wrong::Malformed), "{more:?}");
        }
        for missing in 0..3 {
            let mut fields = GET.to_vec();
            fields.remove(missing);
            assert_eq!(decoded(&fields), Err(Wrong::Malformed), "{fields:?}");
        }
        for (name, value) in [
            (":path", ""),
            (":path", "/a b"),
            (":path", "/#"),
            (":scheme", ""),
        ] {
            let mut fields = GET.to_vec();
            fields.retain(|(n, _)| *n != name);
            fields.push((name, value));
            assert_eq!(decoded(&fields), Err(Wrong::Malformed), "{name} {value}");
        }
        assert_eq!(with(&[(":protocol", "websocket")]), Err(Wrong::Malformed));
        assert!(with(&[("te", "trailers")]).is_ok());
    }

    #[test]
    fn connect_has_a_path_only_with_a_protocol() {
        let connect = [(":method", "CONNECT"), (":authority", "a:1")];
        assert!(decoded(&connect).is_ok());
        let extended = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/v1/ws"),
            (":authority", "a:1"),
        ];
        assert_eq!(
            decoded(&extended).expect("a head").protocol(),
            Some("websocket")
        );
        assert_eq!(decoded(&extended[1..]), Err(Wrong::Malformed));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let of = |count: usize, value: &str| {
            let name = |at: usize| format!("x{at:02}");
            let fields: Vec<String> = (0..count).map(name).collect();
            let fields: Vec<(&str, &str)> = fields.iter().map(|name| (&**name, value)).collect();
            with(&fields).map(|_| ())
        };
        assert_eq!(of(60, ""), Ok(()));
        assert_eq!(of(61, ""), Err(Wrong::TooLarge));
        let used: usize = GET
            .iter()
            .map(|(n, v)| n.len() + v.len() + FIELD_BYTES)
            .sum();
        let room = 8192 - used - 3 - FIELD_BYTES;
        assert_eq!(of(1, &"v".repeat(room)), Ok(()));
        assert_eq!(of(1, &"v".repeat(room + 1)), Err(Wrong::TooLarge));
    }

    #[test]
    fn an_entry_named_a_thousand_times_is_copied_only_within_the_limit() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x40, 1, b'a', 0x7f, 0x81, 0x1e];
        block.extend_from_slice(&[b'v'; 4000]);
        block.resize(block.len() + 30_000, 0xbe);
        let head = Head::decode(&mut decoder, &block, &Limits::default());
        assert_eq!(head, Ok(Err(Wrong::TooLarge)));
    }
}
