//! One small file a transport: the greeting, the framing, the encoding.

mod http;
mod peers;
mod preframed;
mod sse;
mod tcp;
mod websocket;

#[cfg(test)]
pub(crate) use tcp::Tcp;

use crate::failure::Failure;
use crate::options::Options;
use crate::pool::User;
use crate::result::Outcome;
use crate::scenario;
use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;
use imfast_wire::frames::{json, proto};
use imfast_wire::protobuf::Reader;

/// The one list of transports: what `--transport` calls them, the type, a line of help.
macro_rules! transports {
    ($($name:literal => $transport:path, $about:literal;)+) => {
        /// Names and a line about each.
        pub(crate) const ABOUT: &[(&str, &str)] = &[$(($name, $about)),+];

        /// Runs the scenario of `options` over their transport, in this process alone.
        pub(crate) fn play(options: &Options) -> Result<Outcome, Failure> {
            match options.transport {
                $($name => scenario::play($transport, options),)+
                other => Err(Failure::Said(format!("no transport {other}"))),
            }
        }

        /// Whether users of this transport prove who they are.
        pub(crate) fn needs_tokens(name: &str) -> bool {
            match name {
                $($name => authenticates(&$transport),)+
                _ => true,
            }
        }
    };
}

transports! {
    "ws-json" => websocket::WebSocketJson, "WebSocket with imfast.v1.json";
    "ws-proto" => websocket::WebSocketProto, "WebSocket with imfast.v1.proto";
    "tcp" => tcp::Tcp, "framed TCP with protobuf";
    "http" => http::Http, "HTTP/1.1, a POST for each request; direct only";
    "sse" => sse::Sse, "server-sent events to subscribers, POST of publishers";
    "plain" => peers::Plain, "peers: libraries without a protocol, see benchmarks/peers/servers";
    "socket-io" => peers::SocketIo, "peers: Socket.IO 5";
    "centrifugo" => peers::Centrifugo, "peers: Centrifugo's JSON over WebSocket";
    "nats" => peers::Nats, "peers: core NATS";
    "mqtt" => peers::Mqtt, "peers: MQTT 3.1.1, QoS 0";
    "preframed" => preframed::Preframed, "what benchmarks/limit/fan_out.c sends: no login";
}

fn authenticates<T: Transport>(_: &T) -> bool {
    T::AUTHENTICATES
}

/// What a connection reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// One encoded server frame.
    Frame(&'a [u8]),
    /// The transport's own ping: its payload is to come back.
    Ping(&'a [u8]),
}

/// What kind of frame it is, told from its first bytes: a fan-out's receivers read no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A `message` push.
    Message,
    Other,
}

/// How to speak to the server. All methods take and give whole buffers; none blocks.
pub(crate) trait Transport: Copy {
    /// Whether `connect` follows the greeting, and a token is needed for it.
    const AUTHENTICATES: bool = true;
    /// Whether a send is answered; where not, writing it is all that a sender knows.
    const ANSWERS: bool = true;
    /// Whether the sender of a direct message gets it too.
    const ECHOES: bool = true;
    /// Whether a group has to be created; where not, it is a topic to which the subscribers
    /// subscribed when they connected.
    const GROUPS: bool = true;

    /// Whether what others send arrives; where not, a message is done when it is answered.
    const DELIVERS: bool = true;
    /// The scenarios that it can play; none is named: all.
    const SCENARIOS: &'static [&'static str] = &[];

    /// Whether a connection of `user` becomes a session, by a greeting and `connect`. One that does
    /// not is ready at once.
    fn joins(self, _user: &User) -> bool {
        Self::AUTHENTICATES
    }

    /// Appends what comes before the first frame.
    fn greet(self, user: &User, out: &mut Vec<u8>);

    /// Reads the answer to the greeting at the start of `input`: its length once it is complete.
    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String>;

    /// Appends a client frame of `user`; what the transport has no use for is nothing.
    fn write(self, frame: &ClientFrame<'_>, user: &User, out: &mut Vec<u8>);

    /// Appends the answer to [`Incoming::Ping`].
    fn pong(self, payload: &[u8], out: &mut Vec<u8>);

    /// Hands every complete frame at the start of `input` to `each`; returns the bytes read.
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure>;

    fn kind(self, frame: &[u8]) -> Kind;

    /// Who sent the message of a frame of [`Kind::Message`]; empty where it cannot be read.
    fn author(self, frame: &[u8]) -> &[u8];

    /// The text of the message of a frame of [`Kind::Message`]; empty where it cannot be read.
    fn text(self, frame: &[u8]) -> &[u8];

    /// Reads a frame; `rows` is memory for rows that have to be rewritten.
    fn decode<'a>(self, frame: &'a [u8], rows: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String>;
}

/// The tag of `ServerFrame.message`: field 16, length-delimited.
const MESSAGE_TAG: &[u8] = &[0x82, 0x01];

fn kind_proto(frame: &[u8]) -> Kind {
    if frame.starts_with(MESSAGE_TAG) {
        Kind::Message
    } else {
        Kind::Other
    }
}

fn kind_json(frame: &[u8]) -> Kind {
    if frame.starts_with(br#"{"message""#) {
        Kind::Message
    } else {
        Kind::Other
    }
}

/// Reads no further than `Message.from`, field 4 of field 16.
fn author_proto(frame: &[u8]) -> &[u8] {
    let Some(row) = field(frame, 16) else {
        return &[];
    };
    field(row, 4).unwrap_or_default()
}

/// `Message.text`, field 7 of field 16.
fn text_proto(frame: &[u8]) -> &[u8] {
    field(frame, 16)
        .and_then(|row| field(row, 7))
        .unwrap_or_default()
}

fn field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    while let Ok(Some((number, value))) = reader.field() {
        if number == wanted {
            return Some(value.bytes());
        }
    }
    None
}

/// Finds `from` before the body, where the server writes it. Names that JSON escapes, and
/// conversations that hold the word, are not used by who measures.
fn author_json(frame: &[u8]) -> &[u8] {
    string_json(frame, br#""from":""#)
}

/// The body that a load generator sent, which has nothing to escape.
fn text_json(frame: &[u8]) -> &[u8] {
    string_json(frame, br#""text":""#)
}

/// The string behind the first `before`.
fn string_json<'a>(frame: &'a [u8], before: &[u8]) -> &'a [u8] {
    let start = frame
        .windows(before.len())
        .position(|window| window == before);
    let rest = start
        .and_then(|start| frame.get(start + before.len()..))
        .unwrap_or_default();
    rest.split(|byte| *byte == b'"').next().unwrap_or_default()
}

fn decode_proto(frame: &[u8]) -> Result<ServerFrame<'_>, String> {
    proto::decode_server(frame).map_err(|error| error.to_string())
}

fn decode_json<'a>(frame: &'a [u8], rows: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
    json::decode_server(frame, rows).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::row::write_row_prefix;
    use imfast_wire::frames::server::{Row, ServerBody};
    use imfast_wire::protobuf::put_message;

    use super::*;

    fn kinds(frame: &ServerFrame<'_>) -> [Kind; 2] {
        let (mut as_proto, mut as_json) = (Vec::new(), Vec::new());
        proto::encode_server(frame, &mut as_proto);
        json::encode_server(frame, &mut as_json).expect("a readable row");
        [kind_proto(&as_proto), kind_json(&as_json)]
    }

    #[test]
    fn messages_are_told_from_other_frames_by_their_first_bytes() {
        let mut row = Vec::new();
        write_row_prefix(&mut row, "g.x", 7, 9, "ann", 1);
        let push = |body| kinds(&ServerFrame::push(body));
        assert_eq!(
            push(ServerBody::Row(Row::Message(&row))),
            [Kind::Message; 2]
        );
        assert_eq!(push(ServerBody::Row(Row::Event(&row))), [Kind::Other; 2]);
        let reply = ServerFrame {
            id: 3,
            body: ServerBody::Acked,
        };
        assert_eq!(kinds(&reply), [Kind::Other; 2]);
    }

    #[test]
    fn author_and_text_of_a_message_are_read_in_both_encodings() {
        let mut row = Vec::new();
        write_row_prefix(&mut row, "g.x", 7, 9, "ann", 1);
        put_message(&mut row, 7, b"hello");
        let frame = ServerFrame::push(ServerBody::Row(Row::Message(&row)));
        let (mut as_proto, mut as_json) = (Vec::new(), Vec::new());
        proto::encode_server(&frame, &mut as_proto);
        json::encode_server(&frame, &mut as_json).expect("a readable row");
        assert_eq!(author_proto(&as_proto), b"ann");
        assert_eq!(author_json(&as_json), b"ann");
        assert_eq!(text_proto(&as_proto), b"hello");
        assert_eq!(text_json(&as_json), b"hello");
    }
}
