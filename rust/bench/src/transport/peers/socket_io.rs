//! Socket.IO protocol 5 over Engine.IO 4, WebSocket only:
//! <https://socket.io/docs/v4/socket-io-protocol/>, <https://socket.io/docs/v4/engine-io-protocol/>.
//!
//! The application's events: `join` with a topic, which is acknowledged; `fan` and `to` with a
//! topic and a body; `m` with a body is what arrives.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;
use imfast_wire::websocket::{Opcode, masked_frame};

use super::super::websocket::{self, MASK};
use super::super::{Incoming, Kind, Transport, string_json};
use super::{Request, connected, request, text_frame};
use crate::failure::Failure;
use crate::pool::User;

const PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// Engine.IO `message` (4) with Socket.IO `CONNECT` (0) to the main namespace.
const CONNECT: &[u8] = b"40";
/// The event `join` with acknowledgement id 1, and what acknowledges it.
const JOIN: &str = "421[\"join\",";
const JOINED: &[u8] = b"431[";
const DELIVERY: &[u8] = b"42[\"m\",";
/// Engine.IO `ping` and `pong`.
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";

#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketIo;

impl Transport for SocketIo {
    const ANSWERS: bool = false;
    const ECHOES: bool = false;
    const GROUPS: bool = false;

    fn greet(self, _: &User, out: &mut Vec<u8>) {
        websocket::greet(PATH, None, out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        websocket::answer(PATH, None, input)
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        match request(frame) {
            Some(Request::Subscribe { topic, .. }) => {
                text_frame(CONNECT, out);
                text_frame(format!("{JOIN}\"{topic}\"]").as_bytes(), out);
            }
            // Topics and bodies of a benchmark have nothing that JSON escapes.
            Some(Request::Publish {
                topic,
                body,
                direct,
                ..
            }) => {
                let event = if direct { "to" } else { "fan" };
                text_frame(
                    format!("42[\"{event}\",\"{topic}\",\"{body}\"]").as_bytes(),
                    out,
                );
            }
            None => {}
        }
    }

    /// The payload of [`Incoming::Ping`] is a WebSocket ping's, or [`PING`] for Engine.IO's own.
    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        if payload == PING {
            text_frame(PONG, out);
        } else {
            masked_frame(Opcode::Pong, payload, MASK, out);
        }
    }

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        websocket::walk(input, |incoming| {
            let Incoming::Frame(packet) = incoming else {
                each(incoming);
                return Ok(());
            };
            match packet {
                [b'4', b'2' | b'3', ..] => each(incoming),
                PING => each(Incoming::Ping(packet)),
                // Engine.IO's `open`; the namespace is connected.
                [b'0', ..] | [b'4', b'0', ..] => {}
                _ => return Err(Failure::Said(String::from_utf8_lossy(packet).into_owned())),
            }
            Ok(())
        })
    }

    fn kind(self, frame: &[u8]) -> Kind {
        if frame.starts_with(DELIVERY) {
            Kind::Message
        } else {
            Kind::Other
        }
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        string_json(frame, br#"42["m",""#)
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        if frame.starts_with(JOINED) {
            Ok(connected())
        } else {
            Err(format!("unexpected: {}", String::from_utf8_lossy(frame)))
        }
    }
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::client::Target;

    use super::super::testing::{
        connect, from_server, is_connected, send, survives_every_cut, texts, walked,
    };
    use super::*;

    /// `40`, an event with an acknowledgement id and one without: the packets of the protocol's
    /// sample sessions, with this application's events.
    #[test]
    fn a_connection_joins_and_publishes() {
        assert_eq!(
            texts(SocketIo, &connect("fan")),
            ["40", "421[\"join\",\"fan\"]"]
        );
        let user = send(1, Target::User("bob".into()), "xy");
        assert_eq!(texts(SocketIo, &user), ["42[\"to\",\"bob\",\"xy\"]"]);
    }

    /// The session of the Engine.IO document, up to the first event.
    #[test]
    fn a_documented_session_is_read() {
        let input = from_server(&[
            "0{\"sid\":\"lv_VI97HAXpY6yYWAAAC\",\"upgrades\":[],\"pingInterval\":25000,\
             \"pingTimeout\":20000,\"maxPayload\":1000000}",
            "40{\"sid\":\"wZX3oN0bSVIhsaknAAAI\"}",
            "431[]",
            "2",
            "42[\"m\",\"xy\"]",
        ]);
        let (found, read) = walked(SocketIo, &input);
        assert_eq!(found, ["431[]", "ping", "42[\"m\",\"xy\"]"]);
        assert_eq!(read, input.len());
        assert!(is_connected(SocketIo, b"431[]"));
        assert_eq!(SocketIo.kind(b"42[\"m\",\"xy\"]"), Kind::Message);
        assert_eq!(SocketIo.text(b"42[\"m\",\"xy\"]"), b"xy");
        survives_every_cut(SocketIo, &input);
    }

    #[test]
    fn a_refused_connection_ends_the_run() {
        let input = from_server(&["44{\"message\":\"Not authorized\"}"]);
        let error = SocketIo.walk(&input, &mut |_| ()).expect_err("refused");
        assert!(error.to_string().contains("Not authorized"), "{error}");
    }

    #[test]
    fn an_engine_ping_is_answered_with_an_engine_pong() {
        let mut out = Vec::new();
        SocketIo.pong(PING, &mut out);
        assert_eq!(out, [0x81, 0x81, 0x5a, 0xc3, 0x96, 0x0f, b'3' ^ 0x5a]);
    }
}
