//! A protocol of one letter, for WebSocket libraries that have none of their own: the servers of
//! `benchmarks/peers/servers` are the broadcast example of their library's documentation.
//!
//! `s` and a topic subscribes and is answered with `+`; `b` or `d`, a topic, a line end and a body
//! broadcasts to that topic or sends to the one connection that subscribed to it. What is
//! delivered is the body alone; [`BODY`] is put before each, to tell it from whatever else a
//! server says. There is no answer to a send.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;
use imfast_wire::websocket::{Opcode, masked_frame};

use super::super::websocket::{self, MASK};
use super::super::{Incoming, Kind, Transport};
use super::{Request, connected, request, text_frame};
use crate::failure::Failure;
use crate::pool::User;

/// Begins every body.
const BODY: u8 = b'x';
const SUBSCRIBED: u8 = b'+';

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

impl Transport for Plain {
    const ANSWERS: bool = false;
    const ECHOES: bool = false;
    const GROUPS: bool = false;

    fn greet(self, _: &User, out: &mut Vec<u8>) {
        websocket::greet("/ws", None, out);
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        websocket::answer("/ws", None, input)
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        match request(frame) {
            Some(Request::Subscribe { topic, .. }) => {
                text_frame(format!("s{topic}").as_bytes(), out);
            }
            Some(Request::Publish {
                topic,
                body,
                direct,
                ..
            }) => {
                let how = if direct { 'd' } else { 'b' };
                text_frame(format!("{how}{topic}\nx{body}").as_bytes(), out);
            }
            None => {}
        }
    }

    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        masked_frame(Opcode::Pong, payload, MASK, out);
    }

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        websocket::walk(input, |incoming| {
            match incoming {
                // Servers greet with lines of their own.
                Incoming::Frame([BODY | SUBSCRIBED, ..]) | Incoming::Ping(_) => each(incoming),
                Incoming::Frame(_) => {}
            }
            Ok(())
        })
    }

    fn kind(self, frame: &[u8]) -> Kind {
        match frame {
            [BODY, ..] => Kind::Message,
            _ => Kind::Other,
        }
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        frame.get(1..).unwrap_or_default()
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        match frame {
            [SUBSCRIBED, ..] => Ok(connected()),
            _ => Err(format!("unexpected: {}", String::from_utf8_lossy(frame))),
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

    #[test]
    fn a_connection_subscribes_and_publishes() {
        assert_eq!(texts(Plain, &connect("fan")), ["sfan"]);
        let group = send(1, Target::Group("g.1".into()), "ab");
        assert_eq!(texts(Plain, &group), ["bfan\nxab"]);
        let user = send(2, Target::User("bob".into()), "ab");
        assert_eq!(texts(Plain, &user), ["dbob\nxab"]);
    }

    #[test]
    fn bodies_are_messages_and_a_servers_own_greeting_is_passed_over() {
        let input = from_server(&["WSE{}", "+", "xy"]);
        assert_eq!(walked(Plain, &input).0, ["+", "xy"]);
        assert!(is_connected(Plain, b"+"));
        assert_eq!(Plain.kind(b"xab"), Kind::Message);
        assert_eq!(Plain.text(b"xab"), b"ab");
        assert_eq!(Plain.kind(b"+"), Kind::Other);
        survives_every_cut(Plain, &input);
    }
}
