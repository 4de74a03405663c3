//! What the generator speaks to other servers, so that they do the same work for the same client.
//!
//! A line of the token file is `user topic`, or `user topic credential` where the server asks for
//! one: the connection subscribes to that topic as soon as it is connected, and only the answer to
//! that counts as connected. A send to a user goes to the topic of that name, a send to the group
//! to the topic [`GROUP`], which the publisher does not subscribe to.

mod centrifugo;
mod mqtt;
mod nats;
mod plain;
mod socket_io;

pub(crate) use centrifugo::Centrifugo;
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::Nats;
pub(crate) use plain::Plain;
pub(crate) use socket_io::SocketIo;

use std::borrow::Cow;

use imfast_wire::frames::client::{Body, ClientFrame, Target, Verb};
use imfast_wire::frames::server::{Limits, ServerBody, ServerFrame};
use imfast_wire::websocket::{Opcode, masked_frame};

use super::websocket::MASK;

/// The topic that stands for the group of a fan-out.
pub(crate) const GROUP: &str = "fan";

/// Peers have pings of their own; an idle connection needs no other.
const HEARTBEAT_MS: u64 = 3_600_000;

/// The three things that a client of any of these servers does.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Subscribe {
        topic: &'a str,
        credential: &'a str,
    },
    Publish {
        id: u64,
        topic: &'a str,
        body: &'a str,
        /// For one connection, where a server tells that from a broadcast.
        direct: bool,
    },
}

/// What `frame` is for a peer; none where it has nothing like it, as for our heartbeat.
fn request<'a>(frame: &'a ClientFrame<'_>) -> Option<Request<'a>> {
    match &frame.verb {
        Verb::Connect { token, .. } => {
            let (topic, credential) = token.split_once(' ').unwrap_or((token, ""));
            Some(Request::Subscribe { topic, credential })
        }
        Verb::Send(send) => {
            let (topic, direct) = match &send.to {
                Target::User(user) => (&**user, true),
                Target::Group(_) | Target::Conversation(_) => (GROUP, false),
            };
            let Body::Text(body) = &send.body else {
                return None;
            };
            Some(Request::Publish {
                id: frame.id,
                topic,
                body,
                direct,
            })
        }
        _ => None,
    }
}

/// The subscription stands: the connection is ready.
fn connected() -> ServerFrame<'static> {
    ServerFrame {
        id: 1,
        body: ServerBody::Connected {
            user: Cow::Borrowed(""),
            session: Cow::Borrowed(""),
            server: Cow::Borrowed("peer"),
            heartbeat_ms: HEARTBEAT_MS,
            server_time_ms: 0,
            limits: Limits::default(),
        },
    }
}

/// Request `id` was carried out.
fn published(id: u64) -> ServerFrame<'static> {
    ServerFrame {
        id,
        body: ServerBody::Sent {
            conversation: Cow::Borrowed(""),
            seq: 0,
            message_id: 0,
            partition: 0,
            position: 0,
            timestamp_ms: 0,
            duplicate: false,
        },
    }
}

fn text_frame(text: &[u8], out: &mut Vec<u8>) {
    masked_frame(Opcode::Text, text, MASK, out);
}

#[cfg(test)]
mod testing {
    use imfast_wire::frames::client::Send;
    use imfast_wire::websocket::frame;

    use super::super::{Incoming, Transport};
    use super::*;
    use crate::pool::User;

    pub(super) fn nobody() -> User {
        User {
            name: String::new(),
            token: String::new(),
            only_sends: false,
        }
    }

    pub(super) fn connect(token: &str) -> ClientFrame<'_> {
        ClientFrame {
            id: 1,
            verb: Verb::Connect {
                token: token.into(),
                device: "".into(),
                sync: "".into(),
            },
        }
    }

    pub(super) fn send<'a>(id: u64, to: Target<'a>, body: &'a str) -> ClientFrame<'a> {
        ClientFrame {
            id,
            verb: Verb::Send(Send {
                to,
                key: "".into(),
                body: Body::Text(body.into()),
                ttl_ms: 0,
                silent: false,
                ephemeral: true,
                headers: Vec::new(),
            }),
        }
    }

    /// What `transport` writes for `frame`, as plain bytes.
    pub(super) fn written(transport: impl Transport, frame: &ClientFrame<'_>) -> String {
        let mut out = Vec::new();
        transport.write(frame, &nobody(), &mut out);
        String::from_utf8(out).expect("text")
    }

    /// The texts of the masked WebSocket frames that `transport` writes for `frame`.
    pub(super) fn texts(transport: impl Transport, frame: &ClientFrame<'_>) -> Vec<String> {
        let mut out = Vec::new();
        transport.write(frame, &nobody(), &mut out);
        let (mut rest, mut found) = (&*out, Vec::new());
        while let [0x81, length, ..] = rest {
            let length = usize::from(length & 0x7f);
            let (payload, after) = rest[6..].split_at(length);
            let plain = payload.iter().zip(MASK.iter().cycle());
            found.push(plain.map(|(byte, mask)| char::from(byte ^ mask)).collect());
            rest = after;
        }
        assert!(rest.is_empty(), "short text frames only");
        found
    }

    /// A server's text frames.
    pub(super) fn from_server(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for text in texts {
            frame(Opcode::Text, text.as_bytes(), &mut out);
        }
        out
    }

    /// What `transport` hands on of `input`, pings as `ping`, and how many bytes it read.
    pub(super) fn walked(transport: impl Transport, input: &[u8]) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        let read = transport.walk(input, &mut |incoming| {
            found.push(match incoming {
                Incoming::Frame(frame) => String::from_utf8_lossy(frame).into_owned(),
                Incoming::Ping(_) => "ping".into(),
            });
        });
        (found, read.expect("valid input"))
    }

    /// Every way to cut `input` in two gives the same frames.
    pub(super) fn survives_every_cut(transport: impl Transport, input: &[u8]) {
        let whole = walked(transport, input).0;
        for cut in 0..input.len() {
            let (mut found, read) = walked(transport, &input[..cut]);
            found.extend(walked(transport, &input[read..]).0);
            assert_eq!(found, whole, "cut at {cut}");
        }
    }

    pub(super) fn is_connected(transport: impl Transport, frame: &[u8]) -> bool {
        let mut rows = Vec::new();
        let frame = transport.decode(frame, &mut rows).expect("readable");
        matches!(frame.body, ServerBody::Connected { .. })
    }
}
