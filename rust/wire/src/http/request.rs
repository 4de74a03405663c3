//! Reads a request's header block (RFC 9112), more strictly than the RFC demands: lines end in
//! CR LF, nothing is folded. What is ambiguous is refused, since a proxy in front of us might
//! have read it otherwise.

use super::{Error, Headers};

/// Header fields there is room for, whatever [`Limits`] says.
pub(super) const HEADERS_MAX: usize = 64;

/// How much of a header block we are ready to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes up to and including the empty line; default 8 KiB.
    pub header_bytes: usize,
    /// Header fields, at most (and by default) 64.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 8 * 1024,
            headers: HEADERS_MAX,
        }
    }
}

/// The outcome of [`parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The header block is not complete yet, and within its limit so far.
    Incomplete,
    /// A request whose header block took `consumed` bytes; its body follows.
    Request {
        consumed: usize,
        request: Request<'a>,
    },
}

/// A request's header block, borrowed from the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The request target as it stands: a path with its query, or an absolute URL.
    pub target: &'a str,
    /// The target's authority where it is an absolute URL (RFC 9112 section 3.2.2).
    pub authority: Option<&'a str>,
    /// The target's path, percent-encoded as sent.
    pub path: &'a str,
    /// What follows the first `?`, if there is one.
    pub query: Option<&'a str>,
    /// The minor version of HTTP/1: 0 or 1; 2 for HTTP/2.
    pub version: u8,
    pub headers: Headers<'a>,
}

/// Reads the header block at the start of `buf`. The limits hold for incomplete blocks as well.
pub fn parse<'a>(buf: &'a [u8], limits: &Limits) -> Result<Parsed<'a>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let headers_max = limits.headers.min(HEADERS_MAX);
    let mut request = httparse::Request::new(fields.get_mut(..headers_max).unwrap_or(&mut []));
    let block = buf.get(..limits.header_bytes).unwrap_or(buf);
    let Some(consumed) = finish(request.parse(block), block, limits)? else {
        return Ok(Parsed::Incomplete);
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Error::StartLine);
    };
    // A fragment is never sent (RFC 9112 section 3.2, RFC 6455 section 3).
    if target.contains('#') {
        return Err(Error::StartLine);
    }
    let (authority, rest) = split_authority(target);
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let headers = Headers::new(request.headers);
    Ok(Parsed::Request {
        consumed,
        request: Request {
            method,
            target,
            authority,
            path,
            query,
            version,
            headers,
        },
    })
}

/// What requests and responses have in common: the block's length, or `None` if it goes on.
pub(super) fn finish(
    parsed: httparse::Result<usize>,
    block: &[u8],
    limits: &Limits,
) -> Result<Option<usize>, Error> {
    let (consumed, block) = match parsed {
        Ok(httparse::Status::Complete(end)) => (Some(end), block.get(..end).unwrap_or(block)),
        Ok(httparse::Status::Partial) => (None, block),
        Err(error) => {
            let named = match error {
                httparse::Error::TooManyHeaders => {
                    let limit = limits.headers.min(HEADERS_MAX);
                    return Err(Error::TooManyHeaders { limit });
                }
                httparse::Error::Version => return Err(Error::Version),
                httparse::Error::HeaderName => Error::HeaderName,
                httparse::Error::HeaderValue => Error::HeaderValue,
                httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
                    Error::StartLine
                }
            };
            // A lone LF or CR looks like one of these to the parser: say where it is.
            check_line_endings(block)?;
            return Err(named);
        }
    };
    check_line_endings(block)?;
    if consumed.is_none() && block.len() >= limits.header_bytes {
        return Err(Error::TooLong {
            limit: limits.header_bytes,
        });
    }
    Ok(consumed)
}

/// Every LF has a CR before it, and every CR but the last byte has an LF after it.
fn check_line_endings(block: &[u8]) -> Result<(), Error> {
    let mut after_cr = false;
    for (offset, &byte) in block.iter().enumerate() {
        if (byte == b'\n') != after_cr {
            return Err(Error::LineEnding { offset });
        }
        after_cr = byte == b'\r';
    }
    Ok(())
}

/// Splits `http://authority/path` into its authority and the rest; other forms have none.
fn split_authority(target: &str) -> (Option<&str>, &str) {
    let Some((scheme, rest)) = target.split_once("://") else {
        return (None, target);
    };
    if target.starts_with('/') || !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return (None, target);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest.split_at_checked(end) {
        Some((authority, "")) => (Some(authority), "/"),
        Some((authority, path)) => (Some(authority), path),
        None => (None, target),
    }
}
