//! Requests of HTTP/1.1, one after the other on one connection: which of them are answered here, and
//! what is asked of the engine. A request is handed on once its body is complete.

mod answers;
mod put_aside;

use crate::session::{Ended, Input, PATH, Policy};
use answers::JSON;
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::limits::HTTP_TARGET_BYTES;
use imfast_wire::http::{
    self, Answer, Answering, Chunked, Framing, Parsed, Refusal, Request, Site, Unchunked, Version,
};
use std::borrow::Cow;
use std::net::IpAddr;

pub(crate) use answers::{Refused, begin_events, refuse, write_reply};
pub use answers::{write_json_answer, write_plain_answer};
pub use put_aside::PutAside;

/// Where a connection stands between requests. While it is idle nothing but these numbers is held.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Bytes of the head that is waiting for its body; 0: a head comes next.
    head: u32,
    /// Bytes of the body: all of them, or those of the chunks so far.
    body: u32,
    chunked: Option<Chunked>,
    /// Part of a request is here.
    partial: bool,
    /// A request was complete before.
    seasoned: bool,
}

/// What came of a head.
pub(crate) enum Head {
    /// The body comes next.
    Read,
    /// The request is for the WebSocket.
    Upgrade,
    /// There is nothing more to be done with it.
    Answered(Input<'static>),
}

/// A request that the engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    pub what: What<'a>,
    pub answering: Answering,
    /// The access token; empty without one.
    pub token: &'a str,
    /// The idempotency key; empty without one.
    pub key: &'a str,
    /// The device; empty: none is named.
    pub device: Cow<'a, str>,
    pub body: &'a [u8],
    /// Where the client is, as a proxy says.
    pub client: Option<IpAddr>,
}

/// What a control request says besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub host: &'a str,
    /// The page that asks; empty: none, or one of ours.
    pub origin: &'a str,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What<'a> {
    /// A verb of the protocol, its fields in the body.
    Verb(&'a str),
    /// A stream of events from a sync token on (empty: none), for whoever has the token, or else the
    /// ticket (empty: none either).
    Events {
        sync: Cow<'a, str>,
        ticket: Cow<'a, str>,
    },
    /// Whether this worker serves.
    Ready,
    /// What Python answers: the server API, its description, cookies, the demonstration.
    Control(Control<'a>),
}

/// What the paths lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Healthy,
    Ready,
    Verb,
    Events,
    /// The server API.
    Backend,
    /// A token as a cookie, and its end.
    Cookie,
    /// The demonstration's tokens.
    Issue,
    /// What is only read.
    Page,
    /// `OPTIONS *`.
    Asterisk,
}

/// The verbs that need no session.
const VERBS: [&str; 12] = [
    "send",
    "ack",
    "read",
    "history",
    "conversations",
    "group",
    "receipts",
    "recall",
    "edit",
    "react",
    "ping",
    "ticket",
];
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY",
];
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Where the server API begins.
const BACKEND: &str = "/v1/server/";
/// The cookie that holds a browser's token.
const COOKIE: &str = "imfast";
/// Seconds for which a browser remembers what it may do.
const PREFLIGHT_AGE: &str = "7200";

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Healthy),
            "/readyz" => Some(Self::Ready),
            "/v1/events" => Some(Self::Events),
            "/v1/cookie" => Some(Self::Cookie),
            "/v1/openapi.json" | "/demo" => Some(Self::Page),
            "/demo/token" => Some(Self::Issue),
            "*" => Some(Self::Asterisk),
            _ if path.starts_with(BACKEND) => Some(Self::Backend),
            _ => {
                let verb = path.strip_prefix("/v1/")?;
                VERBS.contains(&verb).then_some(Self::Verb)
            }
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Healthy | Self::Ready | Self::Page => "GET, HEAD, OPTIONS",
            Self::Events => "GET, OPTIONS",
            Self::Verb | Self::Backend | Self::Issue => "POST, OPTIONS",
            Self::Cookie => "POST, DELETE, OPTIONS",
            Self::Asterisk => "OPTIONS",
        }
    }

    fn allows(self, method: &str) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method)
    }
}

impl Requests {
    /// Whether part of a request is here: it has to be complete some time.
    pub(crate) fn partial(&self) -> bool {
        self.partial
    }

    /// Whether nothing was asked yet.
    pub(crate) fn fresh(&self) -> bool {
        !self.seasoned
    }

    /// Reads the next request's head, unless it was read before.
    pub(crate) fn head(&mut self, input: &[u8], policy: &Policy, out: &mut Vec<u8>) -> Head {
        self.partial = true;
        if self.head > 0 {
            return Head::Read;
        }
        let (consumed, request) = match http::parse(input, &policy.http) {
            Ok(Parsed::Request { consumed, request }) => (consumed, request),
            Ok(Parsed::Incomplete) => {
                let needed = input.len() + 1;
                return Head::Answered(Input::Incomplete { needed });
            }
            Err(error) => {
                refuse(out, &policy.site, LAST, &malformed(input, error));
                return Head::Answered(Input::Ended(Ended::Refused));
            }
        };
        if request.path == PATH {
            return Head::Upgrade;
        }
        let framing = match judge(&request, policy) {
            Ok(framing) => framing,
            Err((answering, refused)) => {
                let last = answering.last;
                let end = end_of_body(&request, consumed, input.len()).filter(|_| !last);
                let last = end.is_none();
                refuse(out, &policy.site, Answering { last, ..answering }, &refused);
                return Head::Answered(match end {
                    Some(consumed) => {
                        self.next();
                        Input::Handled { consumed }
                    }
                    None => Input::Ended(Ended::Refused),
                });
            }
        };
        self.head = consumed as u32;
        self.chunked = (framing == Framing::Chunked).then(Chunked::default);
        self.body = match framing {
            Framing::Length(length) => length as u32,
            Framing::Absent | Framing::Chunked => 0,
        };
        let waits = request.version() == Version::Http11 && request.headers.get("Expect").is_some();
        // A client that sends the body anyway needs no word.
        if waits && framing != Framing::Absent && input.len() == consumed {
            out.extend_from_slice(CONTINUE);
        }
        Head::Read
    }

    /// Reads the body of the request whose head was read, and serves it.
    pub(crate) fn body<'a>(
        &mut self,
        input: &'a mut [u8],
        policy: &Policy,
        out: &mut Vec<u8>,
    ) -> Input<'a> {
        let head = self.head as usize;
        let (body, consumed) = if let Some(chunked) = &mut self.chunked {
            let chunks = input.get_mut(head..).unwrap_or(&mut []);
            match chunked.read(chunks, self.body as usize, policy.message_bytes_max) {
                Ok(Unchunked::Incomplete { body, kept }) => {
                    self.body = body as u32;
                    return Input::Partial { kept: head + kept };
                }
                Ok(Unchunked::Complete { body, consumed }) => (body, head + consumed),
                Err(refusal) => {
                    refuse(out, &policy.site, LAST, &refusal.into());
                    return Input::Ended(Ended::Refused);
                }
            }
        } else {
            let body = self.body as usize;
            if input.len() < head + body {
                let kept = input.len();
                return Input::Partial { kept };
            }
            (body, head + body)
        };
        self.next();
        let input: &'a [u8] = input;
        let body = input.get(head..head + body).unwrap_or(&[]);
        match http::parse(input, &policy.http) {
            Ok(Parsed::Request { request, .. }) => serve(&request, body, consumed, policy, out),
            // It was one before, and these bytes were not touched.
            _ => Input::Ended(Ended::Refused),
        }
    }

    /// A request is over; another one may follow.
    fn next(&mut self) {
        *self = Self {
            seasoned: true,
            ..Self::default()
        };
    }

    /// The last words of a connection on which nothing else is being answered.
    pub(crate) fn close(&self, code: &'static Code, site: &Site, out: &mut Vec<u8>) {
        // Between two requests nobody waits for an answer.
        if self.partial || !self.seasoned {
            let refused = Refused {
                status: code.http,
                code,
                detail: code.message,
                headers: &[],
            };
            refuse(out, site, LAST, &refused);
        }
    }
}

/// Where a refused request ends, if that is known and all of it is here.
fn end_of_body(request: &Request<'_>, head: usize, present: usize) -> Option<usize> {
    let body = match request.framing().ok()? {
        Framing::Absent => 0,
        Framing::Length(length) => usize::try_from(length).ok()?,
        Framing::Chunked => return None,
    };
    head.checked_add(body).filter(|end| *end <= present)
}

/// For what is no request, or only half of one.
const LAST: Answering = Answering {
    last: true,
    version: Version::Http11,
    head: false,
    shared_with: 0,
};

/// What bytes that are no request are answered with.
fn malformed(input: &[u8], error: http::Error) -> Refused {
    let status = match error {
        // Not even the first line has ended.
        http::Error::TooLong { .. } if !input.contains(&b'\r') => 414,
        _ => error.status(),
    };
    Refusal::new(status, error.reason()).into()
}

/// Whether a request is one that is served, from its head alone.
pub(crate) fn judge(
    request: &Request<'_>,
    policy: &Policy,
) -> Result<Framing, (Answering, Refused)> {
    let mut answering = Answering {
        last: request.is_last(),
        version: request.version(),
        head: request.method == "HEAD",
        shared_with: 0,
    };
    let last = Answering {
        version: answering.version,
        ..LAST
    };
    let host = match request.host() {
        Ok(host) => host,
        Err(refusal) => return Err((last, refusal.into())),
    };
    let framing = request
        .framing()
        .map_err(|refusal| (last, refusal.into()))?;
    let origin = request.header("Origin");
    let origin = origin.map_err(|refusal| (last, refusal.into()))?;
    if let Some(origin) = origin {
        if !policy.site.origins.allows(origin, host) {
            let refusal = Refusal::new(403, codes::ORIGIN_REFUSED.message);
            return Err((answering, refusal.into()));
        }
        answering.shared_with = policy.site.origins.shares_with(origin);
    }
    let checked = check(request, framing, policy);
    checked.map_err(|refused| (answering, refused))
}

fn check(request: &Request<'_>, framing: Framing, policy: &Policy) -> Result<Framing, Refused> {
    let refused = |status, detail| Err(Refusal::new(status, detail).into());
    if !METHODS.contains(&request.method) {
        return refused(501, "this method is not known");
    }
    if request.target.len() as u64 > HTTP_TARGET_BYTES.default {
        return refused(414, "the request's target is too long");
    }
    if !request.path.starts_with('/') && request.path != "*" {
        return refused(400, "the request's target is not a path");
    }
    let Some(route) = Route::of(request.path) else {
        return refused(404, "there is nothing here");
    };
    if !route.allows(request.method) {
        return Err(Refused {
            headers: match route {
                Route::Healthy | Route::Ready | Route::Page => &[("Allow", "GET, HEAD, OPTIONS")],
                Route::Events => &[("Allow", "GET, OPTIONS")],
                Route::Verb | Route::Backend | Route::Issue => &[("Allow", "POST, OPTIONS")],
                Route::Cookie => &[("Allow", "POST, DELETE, OPTIONS")],
                Route::Asterisk => &[("Allow", "OPTIONS")],
            },
            ..Refusal::new(405, "this method is not for this path").into()
        });
    }
    if route == Route::Events && request.version() == Version::Http10 {
        return refused(505, "a stream of events is HTTP/1.1");
    }
    if let Some(expected) = request.header("Expect")?
        && !expected.eq_ignore_ascii_case("100-continue")
    {
        return refused(417, "only 100-continue can be expected");
    }
    if let Framing::Length(length) = framing
        && length > policy.message_bytes_max as u64
    {
        return refused(413, "the body is above the limit");
    }
    if request.method == "POST" {
        if framing == Framing::Absent && request.version() != Version::Http2 {
            return refused(411, "a POST says how long its body is");
        }
        check_media_type(request, framing)?;
    }
    Ok(framing)
}

fn check_media_type(request: &Request<'_>, framing: Framing) -> Result<(), Refusal> {
    let coding = request.header("Content-Encoding")?;
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::new(415, "the body must not be compressed"));
    }
    let media_type = request.header("Content-Type")?;
    let is_json = |value: &str| {
        let essence = value.split(';').next().unwrap_or("");
        essence.trim_ascii().eq_ignore_ascii_case(JSON)
    };
    // Where a stream's end tells the length, an empty body may be what comes.
    let empty = matches!(framing, Framing::Length(0) | Framing::Absent);
    if media_type.map_or(empty, is_json) {
        Ok(())
    } else {
        Err(Refusal::new(415, "the body must be application/json"))
    }
}

/// Answers a complete request, or hands it on.
pub(crate) fn serve<'a>(
    request: &Request<'a>,
    body: &'a [u8],
    consumed: usize,
    policy: &Policy,
    out: &mut Vec<u8>,
) -> Input<'a> {
    let site = &policy.site;
    let mut answering = Answering {
        last: request.is_last(),
        version: request.version(),
        head: request.method == "HEAD",
        shared_with: 0,
    };
    let origin = request.headers.get("Origin");
    answering.shared_with = origin.map_or(0, |origin| site.origins.shares_with(origin));
    let asked = match ask(request, body, answering, policy) {
        Ok(asked) => asked,
        Err(refusal) => {
            refuse(out, site, answering, &refusal.into());
            return answered(consumed, answering);
        }
    };
    let Some(asked) = asked else {
        if request.method == "OPTIONS" {
            options(request, site, answering, out);
        } else {
            let answer = Answer {
                status: 200,
                content_type: "text/plain; charset=utf-8",
                headers: &[("Cache-Control", "no-store")],
                body: b"ok\n",
            };
            http::write_answer(out, site, answering, &answer);
        }
        return answered(consumed, answering);
    };
    Input::Request { consumed, asked }
}

fn answered(consumed: usize, answering: Answering) -> Input<'static> {
    if answering.last {
        Input::Ended(Ended::Refused)
    } else {
        Input::Handled { consumed }
    }
}

/// What the engine is asked; `None` where nothing is.
fn ask<'a>(
    request: &Request<'a>,
    body: &'a [u8],
    answering: Answering,
    policy: &Policy,
) -> Result<Option<Asked<'a>>, Refusal> {
    let what = match Route::of(request.path) {
        _ if request.method == "OPTIONS" => return Ok(None),
        Some(Route::Verb) => What::Verb(request.path.strip_prefix("/v1/").unwrap_or("")),
        Some(Route::Ready) => What::Ready,
        Some(Route::Events) => {
            let query = request.query.unwrap_or("");
            // A browser names the last id that it saw; a client that begins anew, in the query.
            let sync = match once(request, "Last-Event-ID")? {
                "" => http::query_value(query, "sync")?,
                id => Cow::Borrowed(id),
            };
            let ticket = http::query_value(query, "ticket")?;
            What::Events { sync, ticket }
        }
        Some(Route::Backend | Route::Cookie | Route::Issue | Route::Page) => {
            What::Control(Control {
                method: request.method,
                path: request.path,
                host: once(request, "Host")?,
                origin: once(request, "Origin")?,
            })
        }
        Some(Route::Healthy | Route::Asterisk) | None => return Ok(None),
    };
    let (scheme, token) = once(request, "Authorization")?
        .split_once(' ')
        .unwrap_or(("", ""));
    let token = if scheme.eq_ignore_ascii_case("Bearer") {
        token.trim_ascii()
    } else if matches!(what, What::Control(_) | What::Ready) {
        // A browser brings its cookies unasked; these are for whoever means it.
        ""
    } else {
        cookie(request)?
    };
    let key = once(request, "Idempotency-Key")?;
    // The draft of the header wants it quoted; most write it plain.
    let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
    Ok(Some(Asked {
        what,
        answering,
        token,
        key: quoted.unwrap_or(key),
        device: http::query_value(request.query.unwrap_or(""), "device")?,
        body,
        client: policy.client_of(request),
    }))
}

/// The token that a browser keeps where no page can read it; empty without one. A browser adds it to
/// whatever any page makes it ask, so that a request which changes something has to come from a page
/// that may connect: it has an `Origin`, which was judged, or the browser says that it is our own.
fn cookie<'a>(request: &Request<'a>) -> Result<&'a str, Refusal> {
    let pairs = once(request, "Cookie")?.split(';');
    let mut named = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim_ascii() == COOKIE).then_some(value.trim_ascii())
    });
    let Some(token) = named.next() else {
        return Ok("");
    };
    let from = once(request, "Sec-Fetch-Site")?;
    let judged = request.headers.get("Origin").is_some() || from == "same-origin";
    // A stream changes nothing, and no other page can read it.
    let reads = request.method == "GET" && matches!(from, "" | "none");
    if judged || reads {
        Ok(token)
    } else {
        Err(Refusal::new(
            403,
            "a cookie counts only with the Origin of a page that may connect",
        ))
    }
}

/// The only value of a header, empty without it.
fn once<'a>(request: &Request<'a>, name: &str) -> Result<&'a str, Refusal> {
    Ok(request.header(name)?.unwrap_or(""))
}

/// What may be done with a path, also as browsers ask before they do it (CORS).
fn options(request: &Request<'_>, site: &Site, answering: Answering, out: &mut Vec<u8>) {
    let methods = Route::of(request.path).map_or("OPTIONS", Route::methods);
    let mut headers = vec![("Allow", methods)];
    if answering.shared_with != 0 {
        headers.extend([
            ("Access-Control-Allow-Methods", methods),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
            ),
            ("Access-Control-Max-Age", PREFLIGHT_AGE),
        ]);
    }
    let answer = Answer {
        status: 204,
        content_type: "",
        headers: &headers,
        body: &[],
    };
    http::write_answer(out, site, answering, &answer);
}
