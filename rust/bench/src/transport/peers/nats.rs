//! Core NATS, the text protocol of clients: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;

use super::super::{Incoming, Kind, Transport};
use super::{Request, connected, request};
use crate::failure::Failure;
use crate::pool::User;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Nats;

const LINE_END: &[u8] = b"\r\n";

impl Transport for Nats {
    const ANSWERS: bool = false;
    const ECHOES: bool = false;
    const GROUPS: bool = false;

    /// The server begins, with `INFO`.
    fn greet(self, _: &User, _: &mut Vec<u8>) {}

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        let Some((line, length)) = line(input) else {
            return Ok(None);
        };
        if line.starts_with(b"INFO ") {
            Ok(Some(length))
        } else {
            Err(format!("no INFO but {}", String::from_utf8_lossy(line)))
        }
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        match request(frame) {
            // The server works in order: its PONG says that the subscription stands.
            Some(Request::Subscribe { topic, .. }) => {
                let text = format!(
                    "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":false}}\r\n\
                     SUB {topic} 1\r\nPING\r\n"
                );
                out.extend_from_slice(text.as_bytes());
            }
            Some(Request::Publish { topic, body, .. }) => {
                let head = format!("PUB {topic} {}\r\n", body.len());
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(body.as_bytes());
                out.extend_from_slice(LINE_END);
            }
            None => {}
        }
    }

    fn pong(self, _: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG\r\n");
    }

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        while let Some((line, length)) = line(&input[read..]) {
            let mut whole = length;
            match line {
                [b'M', b'S', b'G', b' ', rest @ ..] => {
                    whole += payload_bytes(rest)? + LINE_END.len();
                    let Some(message) = input.get(read..read + whole) else {
                        break;
                    };
                    each(Incoming::Frame(message));
                }
                b"PONG" => each(Incoming::Frame(line)),
                b"PING" => each(Incoming::Ping(&[])),
                [b'+', ..] | [b'I', b'N', b'F', b'O', ..] => {}
                _ => return Err(Failure::Said(String::from_utf8_lossy(line).into_owned())),
            }
            read += whole;
        }
        Ok(read)
    }

    fn kind(self, frame: &[u8]) -> Kind {
        match frame {
            [b'M', ..] => Kind::Message,
            _ => Kind::Other,
        }
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    /// With the line end, which nobody looks at.
    fn text(self, frame: &[u8]) -> &[u8] {
        line(frame)
            .and_then(|(_, length)| frame.get(length..))
            .unwrap_or_default()
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        match frame {
            b"PONG" => Ok(connected()),
            _ => Err(format!("unexpected: {}", String::from_utf8_lossy(frame))),
        }
    }
}

/// The line at the start of `input`, and its length with the line end.
#[inline]
fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.iter().position(|byte| *byte == b'\r')?;
    (input.get(end + 1) == Some(&b'\n')).then(|| (&input[..end], end + LINE_END.len()))
}

/// The last of `subject sid [reply-to] #bytes`.
#[inline]
fn payload_bytes(arguments: &[u8]) -> Result<usize, String> {
    let number = arguments.rsplit(|byte| *byte == b' ').next();
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
    let number = number.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("MSG {}", String::from_utf8_lossy(arguments)))
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::client::Target;

    use super::super::testing::{connect, is_connected, send, survives_every_cut, walked, written};
    use super::*;

    #[test]
    fn the_servers_info_is_waited_for() {
        let info = b"INFO {\"server_id\":\"Zk0GQ3JBSrg3oyxCRRlE09\",\"proto\":1}\r\n";
        assert_eq!(Nats.greeted(info), Ok(Some(info.len())));
        assert_eq!(Nats.greeted(&info[..info.len() - 1]), Ok(None));
        assert!(Nats.greeted(b"HTTP/1.1 400\r\n").is_err());
    }

    /// `PUB FOO 11\r\nHello NATS!\r\n` is an example of the protocol's documentation.
    #[test]
    fn a_connection_subscribes_and_publishes_as_documented() {
        let subscribe = written(Nats, &connect("FOO"));
        assert!(
            subscribe.ends_with("}\r\nSUB FOO 1\r\nPING\r\n"),
            "{subscribe}"
        );
        let publish = send(1, Target::User("FOO".into()), "Hello NATS!");
        assert_eq!(written(Nats, &publish), "PUB FOO 11\r\nHello NATS!\r\n");
    }

    /// Both `MSG` are examples of the protocol's documentation.
    #[test]
    fn documented_messages_are_read() {
        let input = b"PONG\r\nMSG FOO.BAR 9 11\r\nHello World\r\nPING\r\n+OK\r\n\
                      MSG FOO.BAR 9 GREETING.34 11\r\nHello World\r\n";
        let (found, read) = walked(Nats, input);
        let wanted = [
            "PONG",
            "MSG FOO.BAR 9 11\r\nHello World\r\n",
            "ping",
            "MSG FOO.BAR 9 GREETING.34 11\r\nHello World\r\n",
        ];
        assert_eq!(
            (found, read),
            (wanted.map(String::from).to_vec(), input.len())
        );
        assert_eq!(Nats.kind(b"MSG FOO.BAR 9 11\r\n"), Kind::Message);
        assert_eq!(Nats.text(b"MSG A 1 2\r\nxy\r\n"), b"xy\r\n");
        assert!(is_connected(Nats, b"PONG"));
        survives_every_cut(Nats, input);
    }

    #[test]
    fn an_error_of_the_server_ends_the_run_with_its_words() {
        let error = Nats.walk(b"-ERR 'Slow Consumer'\r\n", &mut |_| ());
        let error = error.expect_err("refused").to_string();
        assert_eq!(error, "-ERR 'Slow Consumer'");
    }
}
