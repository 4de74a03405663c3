//! The client's half of the handshake (RFC 6455 section 4.1).

use core::fmt;

use super::handshake::{AcceptValue, key_value};
use super::headers::{Once, put, put_text};
use super::request::{HEADERS_MAX, finish};
use super::{Error, Headers, Limits};

/// What a client asks for; the response is checked against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHandshake<'a> {
    /// Host, and port unless it is the scheme's default.
    pub host: &'a str,
    /// Path and query, starting with `/`.
    pub path: &'a str,
    /// Sixteen random bytes.
    pub nonce: [u8; 16],
    /// The subprotocol offered, if any.
    pub subprotocol: Option<&'a str>,
}

/// The outcome of [`parse_client_response`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientParsed {
    /// The header block is not complete yet.
    Incomplete,
    /// The connection is open; frames begin after `consumed` bytes.
    Accepted {
        consumed: usize,
        /// Whether the server chose the subprotocol that was offered.
        subprotocol_chosen: bool,
    },
}

/// Why a server's response does not open the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientError {
    /// The response is not HTTP.
    Http(Error),
    /// A status other than 101; the body, if any, follows after `consumed` bytes.
    Status { status: u16, consumed: usize },
    /// `Upgrade` or `Connection` does not agree to the upgrade.
    NotUpgraded,
    /// `Sec-WebSocket-Accept` does not answer our key.
    WrongAccept,
    /// An extension we did not offer.
    Extension,
    /// A subprotocol we did not offer.
    Subprotocol,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(f, "malformed response: {error}"),
            Self::Status { status, .. } => write!(f, "handshake answered with status {status}"),
            Self::NotUpgraded => f.write_str("response does not upgrade to WebSocket"),
            Self::WrongAccept => f.write_str("Sec-WebSocket-Accept does not answer the key"),
            Self::Extension => f.write_str("server chose an extension that was not offered"),
            Self::Subprotocol => f.write_str("server chose a subprotocol that was not offered"),
        }
    }
}

impl core::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Http(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::Http(error)
    }
}

/// Appends the handshake request.
///
/// Panics on control bytes in any argument: they would begin another header.
pub fn write_client_handshake(
    out: &mut Vec<u8>,
    handshake: &ClientHandshake<'_>,
    extra_headers: &[(&str, &str)],
) {
    assert!(
        handshake.path.starts_with('/') && !handshake.path.contains([' ', '#']),
        "a path starts with / and has no space or fragment"
    );
    out.extend_from_slice(b"GET ");
    put_text(out, handshake.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put(out, "Host", handshake.host);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
    out.extend_from_slice(b"Sec-WebSocket-Version: 13\r\n");
    put(out, "Sec-WebSocket-Key", &key_value(handshake.nonce));
    if let Some(subprotocol) = handshake.subprotocol {
        put(out, "Sec-WebSocket-Protocol", subprotocol);
    }
    for (name, value) in extra_headers {
        put(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads and checks the response to `handshake` at the start of `buf`.
pub fn parse_client_response(
    buf: &[u8],
    handshake: &ClientHandshake<'_>,
    limits: &Limits,
) -> Result<ClientParsed, ClientError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let headers_max = limits.headers.min(HEADERS_MAX);
    let mut response = httparse::Response::new(fields.get_mut(..headers_max).unwrap_or(&mut []));
    let block = buf.get(..limits.header_bytes).unwrap_or(buf);
    let Some(consumed) = finish(response.parse(block), block, limits)? else {
        return Ok(ClientParsed::Incomplete);
    };
    let status = response.code.unwrap_or(0);
    if status != 101 {
        return Err(ClientError::Status { status, consumed });
    }
    let headers = Headers::new(response.headers);
    if !headers.list_holds("Upgrade", "websocket") || !headers.list_holds("Connection", "upgrade") {
        return Err(ClientError::NotUpgraded);
    }
    let expected = AcceptValue::of(&key_value(handshake.nonce));
    if headers.once("Sec-WebSocket-Accept") != Once::Value(expected.as_str()) {
        return Err(ClientError::WrongAccept);
    }
    if headers.list("Sec-WebSocket-Extensions").next().is_some() {
        return Err(ClientError::Extension);
    }
    let subprotocol_chosen = match headers.once("Sec-WebSocket-Protocol") {
        Once::Absent => false,
        Once::Value(chosen) if Some(chosen) == handshake.subprotocol => true,
        _ => return Err(ClientError::Subprotocol),
    };
    Ok(ClientParsed::Accepted {
        consumed,
        subprotocol_chosen,
    })
}
