//! Where a client is, as a proxy says in a request's headers (RFC 7239, and what came before it).

#![deny(clippy::indexing_slicing)]

use super::Request;
use std::net::IpAddr;

/// The address that the proxy nearest to us saw: the last one of `Forwarded`, or, without that header,
/// of `X-Forwarded-For`. Those before it are what the client, or somebody on the way, only claimed.
///
/// `None` where there is no such header or its last word is no address.
pub fn forwarded_for(request: &Request<'_>) -> Option<IpAddr> {
    let last = |name| {
        let value = request.headers.all(name).last()?;
        core::str::from_utf8(value).ok()
    };
    match last("Forwarded") {
        Some(value) => standard(value),
        None => address(last("X-Forwarded-For")?.rsplit(',').next()?),
    }
}

/// The `for` parameter of the last element. A comma within quotes is in no address, so that the last
/// one outside is found by the last one at all where the value is well made.
fn standard(value: &str) -> Option<IpAddr> {
    let element = value.rsplit(',').next()?;
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let named = name.trim_ascii().eq_ignore_ascii_case("for");
        named.then(|| address(value))?
    })
}

/// An address, perhaps quoted, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let whole = after.is_empty() || after.starts_with(':');
        return whole.then(|| address.parse().ok().map(IpAddr::V6))?;
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Limits, Parsed, parse};

    fn found(headers: &str) -> Option<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        match parse(request.as_bytes(), &Limits::default()) {
            Ok(Parsed::Request { request, .. }) => {
                forwarded_for(&request).map(|address| address.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearest_proxys_word_counts() {
        for (headers, wanted) in [
            ("X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", Some("192.0.2.1")),
            (
                "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1:99\r\n",
                Some("192.0.2.1"),
            ),
            ("X-Forwarded-For: 2001:db8::1\r\n", Some("2001:db8::1")),
            (
                "Forwarded: for=192.0.2.60;proto=http;by=203.0.113.43\r\n",
                Some("192.0.2.60"),
            ),
            (
                "Forwarded: for=6.6.6.6, For=\"[2001:db8:cafe::17]:4711\"\r\n",
                Some("2001:db8:cafe::17"),
            ),
            (
                "Forwarded: proto=https; for=\"192.0.2.1:80\"\r\nX-Forwarded-For: 6.6.6.6\r\n",
                Some("192.0.2.1"),
            ),
            ("Forwarded: for=unknown\r\n", None),
            ("Forwarded: for=_hidden, for=_SEVKISEK\r\n", None),
            ("X-Forwarded-For: 192.0.2.1:port\r\n", None),
            ("X-Forwarded-For: \r\n", None),
            ("Forwarded: for=\"[::1]x\"\r\n", None),
            ("", None),
        ] {
            assert_eq!(found(headers).as_deref(), wanted, "{headers}");
        }
    }
}
