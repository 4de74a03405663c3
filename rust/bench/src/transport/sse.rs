//! Server-sent events: subscribers listen at `GET /v1/events`, publishers send by `POST` on
//! connections of their own. What comes on either tells by its first byte which of them it is.
//!
//! Chunks and events are walked here: a receiver that is to count millions a second looks at where
//! they begin and end only. What our server never sends (several events in a chunk, data of several
//! lines) is an error.

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::ServerFrame;

use super::http::{answer_bytes, decode_answer, head, write_request};
use super::{Incoming, Kind, Transport};
use super::{author_json, decode_json, kind_json, text_json};
use crate::failure::Failure;
use crate::pool::User;

/// Begins an answer, and no chunk: chunks begin with the hexadecimal digits of their size.
const ANSWER: u8 = b'H';
const SIZE_DIGITS_MAX: usize = 8;
const LINE_END: &[u8] = b"\r\n";
const EVENT_END: &[u8] = b"\n\n";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sse;

impl Transport for Sse {
    const SCENARIOS: &'static [&'static str] = &["connect", "idle", "fanout", "slow-consumers"];

    fn joins(self, user: &User) -> bool {
        !user.only_sends
    }

    fn greet(self, user: &User, out: &mut Vec<u8>) {
        if !self.joins(user) {
            return;
        }
        out.extend_from_slice(
            b"GET /v1/events?device=bench HTTP/1.1\r\nHost: localhost\r\n\
              Accept: text/event-stream\r\nAuthorization: Bearer ",
        );
        out.extend_from_slice(user.token.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn greeted(self, input: &[u8]) -> Result<Option<usize>, String> {
        match head(input)? {
            None => Ok(None),
            Some((bytes, 200, None)) => Ok(Some(bytes)),
            Some((_, 200, Some(_))) => Err("an answer with an end instead of events".into()),
            Some((bytes, status, _)) => {
                let reason = String::from_utf8_lossy(&input[bytes..]);
                Err(format!("events were refused with {status}: {reason}"))
            }
        }
    }

    /// A listener cannot say anything, and need not: it is its server that keeps it alive.
    fn write(self, frame: &ClientFrame<'_>, user: &User, out: &mut Vec<u8>) {
        if !matches!(frame.verb, Verb::Connect { .. } | Verb::Ping) {
            write_request(&frame.verb, user, out);
        }
    }

    fn pong(self, _: &[u8], _: &mut Vec<u8>) {}

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        while let Some(&first) = input.get(read) {
            if first == ANSWER {
                let Some(bytes) = answer_bytes(&input[read..])? else {
                    break;
                };
                each(Incoming::Frame(&input[read..read + bytes]));
                read += bytes;
                continue;
            }
            let Some((event, bytes)) = chunk(&input[read..])? else {
                break;
            };
            if let Some(data) = data(event)? {
                each(Incoming::Frame(data));
            }
            read += bytes;
        }
        Ok(read)
    }

    #[inline]
    fn kind(self, frame: &[u8]) -> Kind {
        kind_json(frame)
    }

    fn author(self, frame: &[u8]) -> &[u8] {
        author_json(frame)
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        text_json(frame)
    }

    fn decode<'a>(self, frame: &'a [u8], rows: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        match frame {
            [ANSWER, ..] => decode_answer(frame),
            _ => decode_json(frame, rows),
        }
    }
}

/// What the chunk at the start of `input` holds, if it is complete, and its bytes with the framing.
#[inline]
fn chunk(input: &[u8]) -> Result<Option<(&[u8], usize)>, Failure> {
    let mut size = 0;
    let mut digits = 0;
    loop {
        match input.get(digits) {
            None => return Ok(None),
            Some(b'\r') if digits > 0 => break,
            Some(byte) => {
                let digit = char::from(*byte).to_digit(16);
                let Some(digit) = digit.filter(|_| digits < SIZE_DIGITS_MAX) else {
                    return Err(Failure::Said("events that are not in chunks".into()));
                };
                size = size << 4 | digit as usize;
                digits += 1;
            }
        }
    }
    let start = digits + LINE_END.len();
    let end = start + size;
    let Some(event) = input.get(start..end) else {
        return Ok(None);
    };
    if size == 0 {
        return Err(Failure::ended("end of the events"));
    }
    let bytes = end + LINE_END.len();
    Ok((bytes <= input.len()).then_some((event, bytes)))
}

/// The data of an event; a comment has none, nor the time to come back after.
#[inline]
fn data(event: &[u8]) -> Result<Option<&[u8]>, Failure> {
    let Some(lines) = event.strip_suffix(EVENT_END) else {
        return Err(Failure::Said("a chunk ends within an event".into()));
    };
    let lines = match lines.strip_prefix(b"id: ") {
        None => lines,
        Some(token) => {
            let end = token.iter().position(|byte| *byte == b'\n');
            end.and_then(|end| token.get(end + 1..)).unwrap_or(lines)
        }
    };
    match lines.strip_prefix(b"data: ") {
        // The text of a frame has no line end, and ends with its brace.
        Some(data @ [b'{', .., b'}']) => Ok(Some(data)),
        None if lines.starts_with(b":") || lines.starts_with(b"retry: ") => Ok(None),
        _ => Err(format!("no event of ours: {}", String::from_utf8_lossy(lines)).into()),
    }
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::server::ServerBody;

    use super::*;

    fn user(only_sends: bool) -> User {
        User {
            name: "ann".into(),
            token: "t.o.k".into(),
            only_sends,
        }
    }

    fn stream(events: &[&str]) -> Vec<u8> {
        let chunk = |event: &&str| format!("{:06x}\r\n{event}\r\n", event.len());
        events.iter().map(chunk).collect::<String>().into()
    }

    fn walked(input: &[u8]) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        let read = Sse.walk(input, &mut |incoming| match incoming {
            Incoming::Frame(frame) => found.push(String::from_utf8_lossy(frame).into_owned()),
            Incoming::Ping(_) => panic!("no pings"),
        });
        (found, read.expect("valid events"))
    }

    fn refused(input: &[u8]) -> String {
        let error = Sse.walk(input, &mut |_| ()).expect_err("refused");
        error.to_string()
    }

    #[test]
    fn events_are_frames_and_comments_are_nothing_wherever_the_stream_is_cut() {
        let input = stream(&[
            "retry: 500\n\n",
            "data: {\"connected\":{\"server\":\"n1.w0\"}}\n\n",
            ":\n\n",
            "data: {\"message\":{\"seq\":1}}\n\n",
            "id: AQ\ndata: {\"checkpoint\":{\"token\":\"AQ\"}}\n\n",
        ]);
        let all = [
            "{\"connected\":{\"server\":\"n1.w0\"}}",
            "{\"message\":{\"seq\":1}}",
            "{\"checkpoint\":{\"token\":\"AQ\"}}",
        ];
        for cut in 0..=input.len() {
            let (mut found, read) = walked(&input[..cut]);
            assert!(read <= cut, "cut at {cut}");
            let (rest, last) = walked(&input[read..]);
            found.extend(rest);
            assert_eq!(
                (&*found, read + last),
                (&all.map(String::from)[..], input.len())
            );
        }
        assert_eq!(Sse.kind(all[1].as_bytes()), Kind::Message);
        assert_eq!(Sse.kind(all[2].as_bytes()), Kind::Other);
    }

    #[test]
    fn answers_to_a_publisher_are_read_by_the_same_connection_type() {
        let body = "{\"conversation\":\"d.x\",\"timestampMs\":1}";
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let twice = answer.repeat(2);
        assert_eq!(walked(twice.as_bytes()).0, [&*answer, &*answer]);
        let mut rows = Vec::new();
        let frame = Sse.decode(answer.as_bytes(), &mut rows).expect("readable");
        assert!(matches!(frame.body, ServerBody::Sent { .. }));
    }

    #[test]
    fn a_listener_greets_and_says_nothing_more_and_a_publisher_only_sends() {
        let said = |user: &User, verb| {
            let mut out = Vec::new();
            Sse.write(&ClientFrame { id: 1, verb }, user, &mut out);
            out
        };
        let (mut greeting, mut nothing) = (Vec::new(), Vec::new());
        Sse.greet(&user(false), &mut greeting);
        Sse.greet(&user(true), &mut nothing);
        assert!(greeting.starts_with(b"GET /v1/events"));
        assert_eq!(
            (nothing.len(), said(&user(false), Verb::Ping).len()),
            (0, 0)
        );
        assert!(Sse.joins(&user(false)) && !Sse.joins(&user(true)));
        let read = Verb::Read {
            conversation: "g.x".into(),
            seq: 1,
        };
        assert!(said(&user(true), read).starts_with(b"POST /v1/read "));
    }

    #[test]
    fn a_stream_is_greeted_by_its_head_and_a_refusal_says_why() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(Sse.greeted(head), Ok(Some(head.len())));
        assert_eq!(Sse.greeted(&head[..head.len() - 1]), Ok(None));
        let problem = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";
        let error = Sse.greeted(problem).expect_err("refused");
        assert!(error.contains("401: {}"), "{error}");
    }

    #[test]
    fn the_end_of_the_events_and_what_is_no_event_end_the_run() {
        assert!(refused(b"0\r\n\r\n").contains("end of the events"));
        for input in [
            stream(&["data: {\"message\":{}}"]),
            stream(&["data: 1\n\n"]),
            stream(&["event: x\n\n"]),
            b"zz\r\n".to_vec(),
            b"123456789\r\n".to_vec(),
        ] {
            assert!(!refused(&input).is_empty());
        }
    }
}
