//! Decides whether a request may become a WebSocket connection (RFC 6455 section 4.2).

use super::handshake::{AcceptValue, key_is_valid};
use super::headers::{Once, is_token};
use super::response::write_error;
use super::{OriginPolicy, Request};
use crate::websocket::deflate::{Agreement, Malformed, negotiate};

/// A handshake that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept<'p> {
    value: AcceptValue,
    /// The subprotocol chosen, one of those we accept; `None` where the client named none of them.
    pub subprotocol: Option<&'p str>,
    /// permessage-deflate as agreed on: see [`Accept::agree_on_deflate`].
    pub deflate: Option<Agreement>,
}

impl Accept<'_> {
    /// Agrees on permessage-deflate if `request` offers it in a form that we can honour.
    pub fn agree_on_deflate(&mut self, request: &Request<'_>) -> Result<(), Rejection> {
        match negotiate(request.headers.all("Sec-WebSocket-Extensions")) {
            Ok(agreed) => self.deflate = agreed,
            Err(Malformed) => {
                return Err(bad_request(
                    "Sec-WebSocket-Extensions is not a list of extensions",
                ));
            }
        }
        Ok(())
    }

    /// The value for `Sec-WebSocket-Accept`.
    pub fn value(&self) -> &str {
        self.value.as_str()
    }
}

/// A request that is no acceptable handshake, and the response that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    pub status: u16,
    /// The status' reason phrase.
    pub reason: &'static str,
    /// What is wrong, for the response's body and the log.
    pub detail: &'static str,
    /// Headers the status demands.
    pub headers: &'static [(&'static str, &'static str)],
}

impl Rejection {
    /// Appends the response, with `detail` as its body.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_error(
            out,
            self.status,
            self.reason,
            self.headers,
            self.detail.as_bytes(),
        );
    }
}

/// Checks a handshake and chooses the first of the client's subprotocols that we accept.
///
/// Without a common subprotocol the handshake still succeeds, as RFC 6455 section 4.2.2 wants it;
/// whether to serve such a client is the caller's decision.
pub fn websocket_upgrade<'p>(
    request: &Request<'_>,
    accepted_subprotocols: &[&'p str],
    origins: &OriginPolicy,
) -> Result<Accept<'p>, Rejection> {
    if request.method != "GET" {
        return Err(Rejection {
            status: 405,
            reason: "Method Not Allowed",
            detail: "a WebSocket handshake is a GET",
            headers: &[("Allow", "GET")],
        });
    }
    if request.version != 1 {
        return Err(Rejection {
            status: 505,
            reason: "HTTP Version Not Supported",
            detail: "a WebSocket handshake is HTTP/1.1",
            headers: &[],
        });
    }
    let host = check_host(request)?;
    check_no_body(request)?;
    let headers = &request.headers;
    if !headers.list_holds("Upgrade", "websocket") || !headers.list_holds("Connection", "upgrade") {
        return Err(upgrade_required("not a WebSocket handshake"));
    }
    check_version(request)?;
    let value = match headers.once("Sec-WebSocket-Key") {
        Once::Value(key) if key_is_valid(key) => AcceptValue::of(key),
        _ => return Err(bad_request("Sec-WebSocket-Key is not one key of 16 bytes")),
    };
    check_origin(request, origins, host)?;
    let subprotocol = choose_subprotocol(request, accepted_subprotocols)?;
    Ok(Accept {
        value,
        subprotocol,
        deflate: None,
    })
}

/// As [`websocket_upgrade`], of a stream of HTTP/2 (RFC 8441 section 5): the method and the protocol
/// stand for the upgrade, and there is no key.
pub fn websocket_connect<'p>(
    request: &Request<'_>,
    accepted_subprotocols: &[&'p str],
    origins: &OriginPolicy,
) -> Result<Accept<'p>, Rejection> {
    let host = check_host(request)?;
    check_no_body(request)?;
    check_version(request)?;
    check_origin(request, origins, host)?;
    let subprotocol = choose_subprotocol(request, accepted_subprotocols)?;
    Ok(Accept {
        value: AcceptValue::NONE,
        subprotocol,
        deflate: None,
    })
}

fn check_version(request: &Request<'_>) -> Result<(), Rejection> {
    match request.headers.once("Sec-WebSocket-Version") {
        Once::Value("13") => Ok(()),
        Once::Unusable => Err(bad_request("Sec-WebSocket-Version is given twice")),
        _ => Err(upgrade_required("WebSocket version 13 is required")),
    }
}

fn check_origin(
    request: &Request<'_>,
    origins: &OriginPolicy,
    host: &str,
) -> Result<(), Rejection> {
    match request.headers.once("Origin") {
        Once::Absent => Ok(()),
        Once::Value(origin) if origins.allows(origin, host) => Ok(()),
        Once::Unusable => Err(bad_request("Origin is given twice")),
        Once::Value(_) => Err(Rejection {
            status: 403,
            reason: "Forbidden",
            detail: "this origin may not connect",
            headers: &[],
        }),
    }
}

/// Exactly one host, the same as in an absolute target (RFC 9112 section 3.2).
fn check_host<'a>(request: &Request<'a>) -> Result<&'a str, Rejection> {
    let Once::Value(host) = request.headers.once("Host") else {
        return Err(bad_request("Host must be given once"));
    };
    if host.is_empty() || host.contains([' ', '\t', ',', '/', '@']) {
        return Err(bad_request("Host is not a host"));
    }
    if request
        .authority
        .is_some_and(|authority| !authority.eq_ignore_ascii_case(host))
    {
        return Err(bad_request("Host differs from the target's"));
    }
    Ok(host)
}

/// No body: its bytes would be read as frames, or frames as a body by a proxy before us.
fn check_no_body(request: &Request<'_>) -> Result<(), Rejection> {
    match request.headers.once("Content-Length") {
        Once::Absent | Once::Value("0") => {}
        _ => return Err(bad_request("a WebSocket handshake has no body")),
    }
    if request.headers.all("Transfer-Encoding").next().is_some() {
        return Err(bad_request("a WebSocket handshake has no body"));
    }
    Ok(())
}

fn choose_subprotocol<'p>(
    request: &Request<'_>,
    accepted: &[&'p str],
) -> Result<Option<&'p str>, Rejection> {
    let mut chosen = None;
    for offered in request.headers.list("Sec-WebSocket-Protocol") {
        if !is_token(offered) {
            return Err(bad_request(
                "Sec-WebSocket-Protocol is not a list of tokens",
            ));
        }
        if chosen.is_none() {
            chosen = accepted
                .iter()
                .copied()
                .find(|accepted| *accepted == offered);
        }
    }
    Ok(chosen)
}

fn bad_request(detail: &'static str) -> Rejection {
    Rejection {
        status: 400,
        reason: "Bad Request",
        detail,
        headers: &[],
    }
}

/// 426 names the protocol to upgrade to (RFC 9110 section 15.5.22) and, for a client of another
/// version, the one we speak (RFC 6455 section 4.4).
fn upgrade_required(detail: &'static str) -> Rejection {
    Rejection {
        status: 426,
        reason: "Upgrade Required",
        detail,
        headers: &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
        ],
    }
}
