//! Centrifugo's bidirectional client protocol, version 2, as JSON over WebSocket:
//! <https://centrifugal.dev/docs/transports/client_protocol>.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::websocket::{Opcode, masked_frame};
use serde_json::Value;

use super::super::websocket::{self, MASK};
use super::super::{Incoming, Kind, Transport, string_json};
use super::{Request, connected, published, request, text_frame};
use crate::failure::Failure;
use crate::pool::User;

const PATH: &str = "/connection/websocket";

/// An empty reply is the server's ping, an empty command the client's pong.
const PING: &[u8] = b"{}";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Centrifugo;

impl Transport for Centrifugo {
    const ANSWERS: bool = true;
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
            // Commands of one message stand in lines of their own.
            Some(Request::Subscribe { topic, credential }) => {
                let text = format!(
                    "{{\"id\":1,\"connect\":{{\"token\":\"{credential}\"}}}}\n\
                     {{\"id\":2,\"subscribe\":{{\"channel\":\"{topic}\"}}}}"
                );
                text_frame(text.as_bytes(), out);
            }
            // Topics and bodies of a benchmark have nothing that JSON escapes.
            Some(Request::Publish {
                id, topic, body, ..
            }) => {
                let text = format!(
                    "{{\"id\":{id},\"publish\":{{\"channel\":\"{topic}\",\"data\":\"{body}\"}}}}"
                );
                text_frame(text.as_bytes(), out);
            }
            None => {}
        }
    }

    /// The payload of [`Incoming::Ping`] is a WebSocket ping's, or [`PING`] for the protocol's own.
    fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        if payload == PING {
            text_frame(PING, out);
        } else {
            masked_frame(Opcode::Pong, payload, MASK, out);
        }
    }

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        websocket::walk(input, |incoming| {
            let Incoming::Frame(message) = incoming else {
                each(incoming);
                return Ok(());
            };
            for reply in message.split(|byte| *byte == b'\n') {
                match reply {
                    [] => {}
                    PING => each(Incoming::Ping(reply)),
                    _ if succeeded(reply, b"connect") => {}
                    _ => each(Incoming::Frame(reply)),
                }
            }
            Ok(())
        })
    }

    fn kind(self, frame: &[u8]) -> Kind {
        if frame.starts_with(br#"{"push":"#) {
            Kind::Message
        } else {
            Kind::Other
        }
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        string_json(frame, br#""data":""#)
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        let reply: Value = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
        let id = reply["id"].as_u64().unwrap_or(0);
        let error = &reply["error"];
        if error.is_object() {
            let code = error["code"].as_u64().unwrap_or(0);
            let message = error["message"].as_str().unwrap_or_default().to_owned();
            return Ok(ServerFrame {
                id,
                body: ServerBody::Error {
                    code: u32::try_from(code).unwrap_or(u32::MAX),
                    name: "centrifugo".into(),
                    retryable: false,
                    retry_after_ms: 0,
                    message: message.into(),
                },
            });
        }
        if reply["subscribe"].is_object() {
            Ok(connected())
        } else if reply["publish"].is_object() {
            Ok(published(id))
        } else {
            Err(format!("unexpected: {reply}"))
        }
    }
}

/// Whether `reply` is `{"id":…,"<command>":…`.
fn succeeded(reply: &[u8], command: &[u8]) -> bool {
    let Some(rest) = reply.strip_prefix(br#"{"id":"#) else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].strip_prefix(br#",""#);
    rest.and_then(|rest| rest.strip_prefix(command))
        .is_some_and(|rest| rest.starts_with(br#"":"#))
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::client::Target;

    use super::super::testing::{
        connect, from_server, is_connected, send, survives_every_cut, texts, walked,
    };
    use super::*;

    #[test]
    fn commands_are_those_of_the_documentation() {
        assert_eq!(
            texts(Centrifugo, &connect("fan jwt")),
            ["{\"id\":1,\"connect\":{\"token\":\"jwt\"}}\n\
              {\"id\":2,\"subscribe\":{\"channel\":\"fan\"}}"]
        );
        let publish = send(7, Target::User("bob".into()), "xy");
        assert_eq!(
            texts(Centrifugo, &publish),
            ["{\"id\":7,\"publish\":{\"channel\":\"bob\",\"data\":\"xy\"}}"]
        );
    }

    /// Replies as the documentation shows them, two of them in one message.
    #[test]
    fn documented_replies_are_read() {
        let push = "{\"push\":{\"channel\":\"fan\",\"pub\":{\"data\":\"xy\"}}}";
        let subscribed = "{\"id\":2,\"subscribe\":{}}";
        let input = from_server(&[
            &format!(
                "{{\"id\":1,\"connect\":{{\"client\":\"421bf374\",\"ping\":25,\"pong\":true}}}}\n\
                 {subscribed}"
            ),
            "{}",
            push,
        ]);
        let (found, read) = walked(Centrifugo, &input);
        assert_eq!(found, [subscribed, "ping", push]);
        assert_eq!(read, input.len());
        assert!(is_connected(Centrifugo, subscribed.as_bytes()));
        assert_eq!(Centrifugo.kind(push.as_bytes()), Kind::Message);
        assert_eq!(Centrifugo.text(push.as_bytes()), b"xy");
        survives_every_cut(Centrifugo, &input);
    }

    #[test]
    fn an_answer_belongs_to_its_publication_and_an_error_keeps_its_message() {
        let mut rows = Vec::new();
        let done = Centrifugo.decode(b"{\"id\":7,\"publish\":{}}", &mut rows);
        assert_eq!(done, Ok(published(7)));
        let reply = b"{\"id\":1,\"error\":{\"code\":103,\"message\":\"permission denied\"}}";
        assert_eq!(
            walked(Centrifugo, &from_server(&["{\"id\":1,\"error\":{}}"]))
                .0
                .len(),
            1
        );
        let mut rows = Vec::new();
        let error = Centrifugo.decode(reply, &mut rows).expect("readable");
        assert!(
            matches!(&error.body, ServerBody::Error { code: 103, message, .. } if message == "permission denied"),
            "{error:?}"
        );
    }
}
