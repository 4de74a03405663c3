//! Where a request's body ends (RFC 9112 section 6). What two readers could understand in two ways
//! is refused: a proxy in front of us might have chosen the other one (request smuggling).

use super::headers::Once;
use super::{Request, Version};

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing is said: there is none.
    Absent,
    /// So many bytes.
    Length(u64),
    /// Chunks, see [`super::Chunked`].
    Chunked,
}

/// Why a request is refused: the status, and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub detail: &'static str,
}

impl Refusal {
    pub const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail }
    }
}

impl<'a> Request<'a> {
    /// What it was written in.
    pub fn version(&self) -> Version {
        match self.version {
            0 => Version::Http10,
            1 => Version::Http11,
            _ => Version::Http2,
        }
    }

    /// How long the body is.
    ///
    /// # Errors
    /// Both headers, one of them twice, a length that is no number, a coding that is not `chunked`.
    pub fn framing(&self) -> Result<Framing, Refusal> {
        let length = match self.headers.once("Content-Length") {
            Once::Absent => None,
            Once::Value(digits) => Some(length(digits)?),
            Once::Unusable => return Err(Refusal::new(400, "Content-Length is given twice")),
        };
        let coding = match self.headers.once("Transfer-Encoding") {
            Once::Absent => return Ok(length.map_or(Framing::Absent, Framing::Length)),
            Once::Value(coding) => coding,
            Once::Unusable => return Err(Refusal::new(400, "Transfer-Encoding is given twice")),
        };
        if length.is_some() {
            return Err(Refusal::new(400, "Content-Length beside Transfer-Encoding"));
        }
        if self.version == 0 {
            return Err(Refusal::new(400, "Transfer-Encoding in HTTP/1.0"));
        }
        if coding.eq_ignore_ascii_case("chunked") {
            Ok(Framing::Chunked)
        } else {
            Err(Refusal::new(
                501,
                "only the transfer coding chunked is known",
            ))
        }
    }

    /// The host that is asked: given once, and the same as in an absolute target (RFC 9112 section
    /// 3.2). HTTP/1.0 need not name one, and gets an empty one.
    ///
    /// # Errors
    /// It is missing, repeated, not a host, or another one than the target's.
    pub fn host(&self) -> Result<&'a str, Refusal> {
        let host = match self.headers.once("Host") {
            Once::Value(host) => host,
            Once::Absent if self.version == 0 => return Ok(self.authority.unwrap_or("")),
            _ => return Err(Refusal::new(400, "Host must be given once")),
        };
        if host.is_empty() || host.contains([' ', '\t', ',', '/', '@', '?', '#']) {
            return Err(Refusal::new(400, "Host is not a host"));
        }
        let differs = |authority: &str| !authority.eq_ignore_ascii_case(host);
        if self.authority.is_some_and(differs) {
            return Err(Refusal::new(400, "Host differs from the target's"));
        }
        Ok(host)
    }

    /// Whether the connection, or the stream, ends with this request's answer (RFC 9112 section 9.3).
    pub fn is_last(&self) -> bool {
        if self.version == 2 {
            return true;
        }
        let says = |option| self.headers.list_holds("Connection", option);
        says("close") || (self.version == 0 && !says("keep-alive"))
    }

    /// The only value of a header, `None` without it.
    ///
    /// # Errors
    /// It is given twice or is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.headers.once(name) {
            Once::Absent => Ok(None),
            Once::Value(value) => Ok(Some(value)),
            Once::Unusable => Err(Refusal::new(400, "a header is given twice or not UTF-8")),
        }
    }
}

/// Digits alone: a sign, a list of two equal lengths or a space in between are refused.
fn length(digits: &str) -> Result<u64, Refusal> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(400, "Content-Length is not a number"));
    }
    // All digits: it fails for its size alone, which is above every limit.
    Ok(digits.parse().unwrap_or(u64::MAX))
}
