//! The connection's state: handshake, then messages, then the end.
//!
//! Inputs: [`Session::receive`] with bytes, [`Session::overdue`] with the passing of time,
//! [`Session::close`] from our side. Each appends what must be sent to the given buffer; the
//! caller sends it before anything it queues later.

use crate::http::{Asked, Head, Requests, begin_events};
use crate::http2::Exchange;
use crate::{Encoding, Writer};
use imfast_wire::frames::codes::Code;
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::http::{self, Answering, Site, Version};
use imfast_wire::http2;
use imfast_wire::sniff::{HTTP2_PREFACE, Protocol, sniff};
use imfast_wire::websocket::deflate::{Inflater, WINDOW_BITS_MAX};
use imfast_wire::{tcp, websocket};
use std::net::IpAddr;

/// What a listener accepts.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Bytes of one message from a client, all fragments together.
    pub message_bytes_max: usize,
    pub http: http::Limits,
    /// Streams that an HTTP/2 connection may have open.
    pub http2_streams: usize,
    /// Whose pages may connect, and the time.
    pub site: Site,
    /// Whether clients that offer permessage-deflate get it.
    pub compression: bool,
    /// Whether some peers are proxies that say where their clients are.
    pub forwarded: bool,
}

impl Policy {
    /// Where the client of a request is, as a proxy says; whether to believe it is the caller's to know.
    pub(crate) fn client_of(&self, request: &http::Request<'_>) -> Option<IpAddr> {
        let forwarded = self.forwarded.then(|| http::forwarded_for(request));
        forwarded.flatten()
    }
}

/// The WebSocket endpoint.
pub(crate) const PATH: &str = "/v1/ws";
const JSON: &str = "imfast.v1.json";
const PROTO: &str = "imfast.v1.proto";

pub(crate) enum Stage {
    /// HTTP requests, one of which may become another stage.
    Http(Requests),
    WebSocket(websocket::Decoder),
    Tcp,
    /// The connection of HTTP/2 streams, each of which is a session of its own.
    Http2(Box<http2::Connection>),
    /// A request on such a stream, which may become another stage.
    Exchange(Box<Exchange>),
    /// A stream of events; what the client still says means nothing.
    Events,
    /// Over; bytes that still come are thrown away.
    Over,
}

/// One connection.
pub struct Session {
    pub(crate) stage: Stage,
    pub(crate) encoding: Encoding,
    /// A ping is unanswered.
    pub(crate) awaiting: bool,
}

/// What received bytes meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Call again once there are at least `needed` bytes from the start of this input.
    Incomplete { needed: usize },
    /// Call again once there is more; of this input the first `kept` bytes still mean something,
    /// which may have changed.
    Partial { kept: usize },
    /// Protocol business, done.
    Handled { consumed: usize },
    /// A request that stands alone; its answer is written with [`Encoding::Http`].
    Request { consumed: usize, asked: Asked<'a> },
    /// The handshake is over.
    Opened {
        consumed: usize,
        encoding: Encoding,
        /// Where the client is, as a proxy says.
        client: Option<IpAddr>,
    },
    /// From here on the bytes are frames for [`Session::carry`].
    Multiplexed { consumed: usize },
    /// A message with client frames.
    Message { consumed: usize, bytes: &'a [u8] },
    /// Nothing more is to be read; flush and close.
    Ended(Ended),
}

/// Why a session ended from the peer's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A close frame, answered.
    ByPeer,
    /// Bytes against the protocol, answered with its code.
    Violation,
    /// An HTTP request that is no handshake of ours, answered.
    Refused,
}

/// What a silent connection is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// A ping was written.
    Pinged,
    /// It did not answer the last one, or has no means to: give it up.
    Lost,
}

impl Session {
    /// A connection accepted on the HTTP port.
    pub fn http() -> Self {
        Self {
            stage: Stage::Http(Requests::default()),
            encoding: Encoding::Http,
            awaiting: false,
        }
    }

    /// A connection accepted on the TCP port.
    pub fn tcp() -> Self {
        Self {
            stage: Stage::Tcp,
            encoding: Encoding::Tcp,
            awaiting: false,
        }
    }

    /// A placeholder that takes no input.
    pub fn over() -> Self {
        Self {
            stage: Stage::Over,
            encoding: Encoding::Tcp,
            awaiting: false,
        }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Reads the next unit from `input`, unmasking in place. All connections of a thread can
    /// share one inflater.
    pub fn receive<'a>(
        &'a mut self,
        input: &'a mut [u8],
        policy: &Policy,
        inflater: &'a mut Inflater,
        out: &mut Vec<u8>,
    ) -> Input<'a> {
        self.awaiting = false;
        if matches!(&self.stage, Stage::Http(requests) if requests.fresh()) {
            match sniff(input) {
                Some(Protocol::Framed) => {
                    *self = Self::tcp();
                    let encoding = self.encoding;
                    return Input::Opened {
                        consumed: 0,
                        encoding,
                        client: None,
                    };
                }
                Some(Protocol::Http2) => {
                    self.encoding = Encoding::Http2;
                    let connection = http2::Connection::new(&policy.http2(), out);
                    self.stage = Stage::Http2(Box::new(connection));
                    let consumed = HTTP2_PREFACE.len();
                    return Input::Multiplexed { consumed };
                }
                // Too little to tell, if it is more than nothing.
                None if !input.is_empty() => {
                    let needed = input.len() + 1;
                    return Input::Incomplete { needed };
                }
                // Not served: a client that gets no CONNACK knows what that means.
                Some(Protocol::Mqtt) => {
                    self.stage = Stage::Over;
                    return Input::Ended(Ended::Violation);
                }
                // What belongs before HTTP and is here in its place, its parser refuses.
                _ => {}
            }
        }
        match &mut self.stage {
            Stage::Http(requests) => match requests.head(input, policy, out) {
                Head::Upgrade => self.handshake(input, policy, out),
                Head::Answered(input) => input,
                Head::Read => requests.body(input, policy, out),
            },
            Stage::Tcp => match tcp::decode(input, policy.message_bytes_max) {
                Ok(tcp::Decoded::Incomplete { needed }) => Input::Incomplete { needed },
                Ok(tcp::Decoded::Frame { consumed, payload }) => Input::Message {
                    consumed,
                    bytes: payload,
                },
                Err(error) => {
                    self.stage = Stage::Over;
                    let code = &imfast_wire::frames::codes::FRAME_TOO_LARGE;
                    let body = ServerBody::error(code, 0, error.to_string());
                    write_tcp(body, out);
                    Input::Ended(Ended::Violation)
                }
            },
            Stage::WebSocket(_) => self.message(input, inflater, out),
            Stage::Exchange(_) => self.exchanged(input, policy, out),
            // Its frames are read by `carry`.
            Stage::Http2(_) => Input::Multiplexed { consumed: 0 },
            Stage::Events | Stage::Over => Input::Handled {
                consumed: input.len(),
            },
        }
    }

    fn message<'a>(
        &'a mut self,
        input: &'a mut [u8],
        inflater: &'a mut Inflater,
        out: &mut Vec<u8>,
    ) -> Input<'a> {
        use websocket::{Decoded, Event, Opcode};
        let Self {
            stage, encoding, ..
        } = self;
        let Stage::WebSocket(decoder) = stage else {
            return Input::Handled { consumed: 0 };
        };
        let ended = match decoder.decode(input, inflater) {
            Ok(Decoded::Incomplete { needed }) => return Input::Incomplete { needed },
            Ok(Decoded::Fragment { consumed }) => return Input::Handled { consumed },
            Ok(Decoded::Frame { consumed, event }) => match (event, encoding.inflated()) {
                (Event::Text(text), Encoding::WebSocketJson) => {
                    return Input::Message {
                        consumed,
                        bytes: text.as_bytes(),
                    };
                }
                (Event::Binary(bytes), Encoding::WebSocketProto) => {
                    return Input::Message { consumed, bytes };
                }
                (Event::Text(_) | Event::Binary(_), _) => {
                    websocket::close_frame(1003, "wrong message type for this subprotocol", out);
                    Ended::Violation
                }
                (Event::Ping(payload), _) => {
                    websocket::frame(Opcode::Pong, payload, out);
                    return Input::Handled { consumed };
                }
                (Event::Pong(_), _) => return Input::Handled { consumed },
                (Event::Close { code, .. }, _) => {
                    // RFC 6455 section 5.5.1: echo the status code.
                    match code {
                        Some(code) => websocket::close_frame(code, "", out),
                        None => websocket::frame(Opcode::Close, &[], out),
                    }
                    Ended::ByPeer
                }
            },
            Err(error) => {
                websocket::close_frame(error.close_code(), &error.to_string(), out);
                Ended::Violation
            }
        };
        Input::Ended(ended)
    }

    fn handshake(&mut self, input: &[u8], policy: &Policy, out: &mut Vec<u8>) -> Input<'static> {
        let (consumed, request) = match http::parse(input, &policy.http) {
            Ok(http::Parsed::Incomplete) => {
                return Input::Incomplete {
                    needed: input.len() + 1,
                };
            }
            Ok(http::Parsed::Request { consumed, request }) => (consumed, request),
            Err(error) => {
                self.stage = Stage::Over;
                http::write_error(
                    out,
                    error.status(),
                    error.reason(),
                    &[],
                    error.to_string().as_bytes(),
                );
                return Input::Ended(Ended::Refused);
            }
        };
        if request.path != PATH {
            self.stage = Stage::Over;
            let body = b"The WebSocket endpoint is /v1/ws.";
            http::write_error(out, 404, "Not Found", &[], body);
            return Input::Ended(Ended::Refused);
        }
        let accept = http::websocket_upgrade(&request, &[JSON, PROTO], &policy.site.origins);
        let accept = accept.and_then(|mut accept| {
            if policy.compression {
                accept.agree_on_deflate(&request)?;
            }
            Ok(accept)
        });
        match accept {
            Ok(accept) => {
                http::write_switching_protocols(out, &accept);
                self.open(&accept, policy);
                Input::Opened {
                    consumed,
                    encoding: self.encoding,
                    client: policy.client_of(&request),
                }
            }
            Err(rejection) => {
                self.stage = Stage::Over;
                rejection.write(out);
                Input::Ended(Ended::Refused)
            }
        }
    }

    /// A WebSocket begins as it was agreed on.
    fn open(&mut self, accept: &http::Accept<'_>, policy: &Policy) {
        self.encoding = match accept.subprotocol {
            Some(PROTO) => Encoding::WebSocketProto,
            _ => Encoding::WebSocketJson,
        };
        let mut decoder =
            websocket::Decoder::new(websocket::Role::Server, policy.message_bytes_max);
        if let Some(deflate) = accept.deflate {
            decoder = decoder.with_deflate();
            // Frames are shared, so all are compressed with the same window. A client that cannot
            // inflate those gets them as they are.
            if deflate.server_window_bits == WINDOW_BITS_MAX {
                self.encoding = self.encoding.deflated();
            }
        }
        self.stage = Stage::WebSocket(decoder);
    }

    /// Goes on with a request on a stream of HTTP/2.
    fn exchanged<'a>(
        &'a mut self,
        input: &'a mut [u8],
        policy: &Policy,
        out: &mut Vec<u8>,
    ) -> Input<'a> {
        if matches!(&self.stage, Stage::Exchange(exchange) if exchange.is_websocket()) {
            return self.connect(policy, out);
        }
        match &mut self.stage {
            Stage::Exchange(exchange) => exchange.receive(input, policy, out),
            _ => Input::Ended(Ended::Refused),
        }
    }

    /// Opens a WebSocket on a stream of HTTP/2.
    fn connect(&mut self, policy: &Policy, out: &mut Vec<u8>) -> Input<'static> {
        let Stage::Exchange(exchange) = &mut self.stage else {
            return Input::Ended(Ended::Refused);
        };
        match exchange.connect(&[JSON, PROTO], policy, out) {
            Ok((accept, client)) => {
                self.open(&accept, policy);
                Input::Opened {
                    consumed: 0,
                    encoding: self.encoding,
                    client,
                }
            }
            Err(ended) => Input::Ended(ended),
        }
    }

    /// The connection was silent for a heartbeat: a WebSocket is pinged once, a TCP client
    /// pings by itself and is given up.
    pub fn overdue(&mut self, out: &mut Vec<u8>) -> Overdue {
        match self.stage {
            Stage::WebSocket(_) if !self.awaiting => {
                self.awaiting = true;
                websocket::frame(websocket::Opcode::Ping, &[], out);
                Overdue::Pinged
            }
            // A TCP client is told the interval and is granted one beat more than that.
            Stage::Tcp if !self.awaiting => {
                self.awaiting = true;
                Overdue::Pinged
            }
            // Whether anybody reads it, the kernel finds out.
            Stage::Events => {
                const COMMENT: &[u8] = b":\n\n";
                if self.encoding == Encoding::Events {
                    http::write_chunk(out, |out| out.extend_from_slice(COMMENT));
                } else {
                    out.extend_from_slice(COMMENT);
                }
                Overdue::Pinged
            }
            Stage::Http2(ref mut connection) => {
                if connection.ping(out) {
                    Overdue::Pinged
                } else {
                    Overdue::Lost
                }
            }
            _ => Overdue::Lost,
        }
    }

    /// A request for events was granted: writes the head of its answer, after which every push is
    /// one event. `number` is the request's; `retry_ms` is when the client is to come back after a break.
    pub fn stream(&mut self, number: u64, retry_ms: u32, site: &Site, out: &mut Vec<u8>) {
        self.stage = Stage::Events;
        self.encoding = match Answering::from_bits(number).version {
            Version::Http2 => Encoding::Http2Events,
            _ => Encoding::Events,
        };
        begin_events(number, retry_ms, site, out);
    }

    /// Whether part of a request is here, of which the rest has to come.
    pub fn in_request(&self) -> bool {
        matches!(&self.stage, Stage::Http(requests) if requests.partial())
    }

    /// Ends the session from our side, with the close code that `code` names.
    pub fn close(&mut self, code: &'static Code, site: &Site, out: &mut Vec<u8>) {
        match self.stage {
            Stage::WebSocket(_) => {
                let number = code.close.map_or(1000, |close| close.number);
                websocket::close_frame(number, code.name, out);
            }
            Stage::Tcp => {
                let body = ServerBody::error(code, 0, "");
                write_tcp(body, out);
            }
            Stage::Http(ref requests) => requests.close(code, site, out),
            Stage::Events => {
                let frame = ServerFrame::push(ServerBody::error(code, 0, ""));
                self.encoding.write(&frame, &mut Writer::default(), out);
                if self.encoding == Encoding::Events {
                    out.extend_from_slice(http::LAST_CHUNK);
                }
            }
            Stage::Http2(ref mut connection) => connection.leave(http2::Code::NoError, out),
            Stage::Exchange(ref exchange) => exchange.close(code, site, out),
            Stage::Over => {}
        }
        self.stage = Stage::Over;
    }
}

fn write_tcp(body: ServerBody<'_>, out: &mut Vec<u8>) {
    let frame = ServerFrame::push(body);
    tcp::frame_with(out, |out| proto::encode_server(&frame, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use imfast_wire::frames::codes;

    fn policy() -> Policy {
        Policy {
            message_bytes_max: 1000,
            http: http::Limits::default(),
            http2_streams: 100,
            site: Site::default(),
            compression: false,
            forwarded: false,
        }
    }

    fn upgrade(subprotocol: &str) -> Vec<u8> {
        let mut request = Vec::new();
        let handshake = http::ClientHandshake {
            host: "localhost",
            path: PATH,
            nonce: [7; 16],
            subprotocol: Some(subprotocol),
        };
        http::write_client_handshake(&mut request, &handshake, &[]);
        request
    }

    fn opened(subprotocol: &str) -> Session {
        let mut session = Session::http();
        let mut out = Vec::new();
        let mut request = upgrade(subprotocol);
        let consumed = request.len();
        let encoding = if subprotocol == PROTO {
            Encoding::WebSocketProto
        } else {
            Encoding::WebSocketJson
        };
        assert_eq!(
            session.receive(&mut request, &policy(), &mut Inflater::default(), &mut out),
            Input::Opened {
                consumed,
                encoding,
                client: None
            }
        );
        assert!(out.starts_with(b"HTTP/1.1 101"));
        session
    }

    #[test]
    fn a_handshake_in_single_bytes_opens_once_complete() {
        let request = upgrade(JSON);
        let mut session = Session::http();
        for end in 0..request.len() {
            let mut out = Vec::new();
            let mut head = request[..end].to_vec();
            let mut inflater = Inflater::default();
            let got = session.receive(&mut head, &policy(), &mut inflater, &mut out);
            assert_eq!(got, Input::Incomplete { needed: end + 1 });
            assert!(out.is_empty());
        }
    }

    #[test]
    fn client_text_is_a_message_and_client_ping_is_answered() {
        let mut session = opened(JSON);
        let mut input = Vec::new();
        websocket::masked_frame(websocket::Opcode::Ping, b"x", [1, 2, 3, 4], &mut input);
        let mut out = Vec::new();
        let consumed = input.len();
        assert_eq!(
            session.receive(&mut input, &policy(), &mut Inflater::default(), &mut out),
            Input::Handled { consumed }
        );
        assert_eq!(out, [0x8a, 1, b'x']);
        input.clear();
        websocket::masked_frame(websocket::Opcode::Text, b"{}", [1, 2, 3, 4], &mut input);
        let consumed = input.len();
        assert_eq!(
            session.receive(&mut input, &policy(), &mut Inflater::default(), &mut out),
            Input::Message {
                consumed,
                bytes: b"{}"
            }
        );
    }

    #[test]
    fn a_message_of_the_other_subprotocols_type_is_a_violation() {
        let mut session = opened(PROTO);
        let mut input = Vec::new();
        websocket::masked_frame(websocket::Opcode::Text, b"{}", [0; 4], &mut input);
        let mut out = Vec::new();
        assert_eq!(
            session.receive(&mut input, &policy(), &mut Inflater::default(), &mut out),
            Input::Ended(Ended::Violation)
        );
        assert_eq!(out[2..4], 1003u16.to_be_bytes());
    }

    #[test]
    fn a_request_elsewhere_is_answered_and_ended() {
        let mut request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec();
        let mut out = Vec::new();
        let mut session = Session::http();
        let mut inflater = Inflater::default();
        let got = session.receive(&mut request, &policy(), &mut inflater, &mut out);
        assert_eq!(got, Input::Ended(Ended::Refused));
        assert!(out.starts_with(b"HTTP/1.1 404 "));
    }

    #[test]
    fn a_tcp_frame_over_the_limit_is_told_so_and_ended() {
        let mut session = Session::tcp();
        let mut out = Vec::new();
        let mut input = 1001u32.to_be_bytes().to_vec();
        assert_eq!(
            session.receive(&mut input, &policy(), &mut Inflater::default(), &mut out),
            Input::Ended(Ended::Violation)
        );
        assert!(out.windows(15).any(|w| w == b"frame_too_large"));
    }

    #[test]
    fn silence_is_met_with_one_ping_and_then_the_end() {
        let mut session = opened(JSON);
        let mut out = Vec::new();
        assert_eq!(session.overdue(&mut out), Overdue::Pinged);
        assert_eq!(out, [0x89, 0]);
        assert_eq!(session.overdue(&mut out), Overdue::Lost);
        let mut pong = Vec::new();
        websocket::masked_frame(websocket::Opcode::Pong, b"", [0; 4], &mut pong);
        let _ = session.receive(&mut pong, &policy(), &mut Inflater::default(), &mut out);
        assert_eq!(session.overdue(&mut out), Overdue::Pinged);
    }

    #[test]
    fn closing_names_the_catalogues_close_code() {
        let mut session = opened(JSON);
        let mut out = Vec::new();
        session.close(&codes::SHUTTING_DOWN, &Site::default(), &mut out);
        let expected = codes::SHUTTING_DOWN.close.expect("closes").number;
        assert_eq!(out[2..4], expected.to_be_bytes());
        out.clear();
        session.close(&codes::SHUTTING_DOWN, &Site::default(), &mut out);
        assert!(out.is_empty(), "the end is said once");
    }

    /// A session whose client offers `extensions`, and the response.
    fn offered(extensions: &str, compression: bool) -> (Session, String) {
        let mut request = Vec::new();
        let handshake = http::ClientHandshake {
            host: "localhost",
            path: PATH,
            nonce: [7; 16],
            subprotocol: Some(JSON),
        };
        let header = ("Sec-WebSocket-Extensions", extensions);
        http::write_client_handshake(&mut request, &handshake, &[header]);
        let mut session = Session::http();
        let mut out = Vec::new();
        let policy = Policy {
            compression,
            ..policy()
        };
        let _ = session.receive(&mut request, &policy, &mut Inflater::default(), &mut out);
        (session, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_client_that_offers_compression_gets_it_where_it_is_switched_on() {
        let (session, response) = offered("permessage-deflate", true);
        assert_eq!(session.encoding(), Encoding::WebSocketJsonDeflate);
        let expected = "\r\nSec-WebSocket-Extensions: permessage-deflate; \
                        server_no_context_takeover; client_no_context_takeover\r\n";
        assert!(response.contains(expected), "{response}");

        let (session, response) = offered("permessage-deflate", false);
        assert_eq!(session.encoding(), Encoding::WebSocketJson);
        assert!(!response.contains("Extensions"), "{response}");
    }

    #[test]
    fn a_client_with_a_smaller_window_may_compress_and_is_sent_plain_frames() {
        let (mut session, response) =
            offered("permessage-deflate; server_max_window_bits=10", true);
        assert!(response.contains("server_max_window_bits=10"), "{response}");
        assert_eq!(session.encoding(), Encoding::WebSocketJson);
        // `{}` in a stored block, masked with zeros.
        let stored = [0x00, 0x02, 0x00, 0xfd, 0xff, b'{', b'}', 0x00];
        let mut input = [&[0xc1, 0x88, 0, 0, 0, 0], &stored[..]].concat();
        let mut inflater = Inflater::default();
        let got = session.receive(&mut input, &policy(), &mut inflater, &mut Vec::new());
        let bytes = &b"{}"[..];
        let consumed = 14;
        assert_eq!(got, Input::Message { consumed, bytes });
    }

    #[test]
    fn an_offer_that_is_no_list_fails_the_handshake() {
        let (_, response) = offered("permessage-deflate; a=", true);
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    }

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 48, "{}", size_of::<Session>());
    }
}
