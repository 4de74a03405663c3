//! HTTP/1.1: each request is a `POST /v1/<verb>` with its token, on a connection that is kept. Such
//! a connection gets answers, in the order of its requests, and no pushes.

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::json;
use imfast_wire::frames::server::{List, ServerBody, ServerFrame};

use super::{Incoming, Kind, Transport, string_json};
use crate::failure::Failure;
use crate::pool::User;

/// Nothing in an answer says which request it is for.
const ANY_ID: u64 = 1;
/// Of an answer's head.
const FIELDS_MAX: usize = 32;
const CONVERSATION: &[u8] = br#""conversation":""#;
/// What the answer to `send` has, and that to `group` has not.
const STAMP: &[u8] = br#""timestampMs":"#;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Http;

impl Transport for Http {
    const DELIVERS: bool = false;
    const SCENARIOS: &'static [&'static str] = &["direct"];

    fn joins(self, _: &User) -> bool {
        false
    }

    fn greet(self, _: &User, _: &mut Vec<u8>) {}

    fn greeted(self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(Some(0))
    }

    fn write(self, frame: &ClientFrame<'_>, user: &User, out: &mut Vec<u8>) {
        write_request(&frame.verb, user, out);
    }

    fn pong(self, _: &[u8], _: &mut Vec<u8>) {}

    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        while let Some(bytes) = answer_bytes(&input[read..])? {
            each(Incoming::Frame(&input[read..read + bytes]));
            read += bytes;
        }
        Ok(read)
    }

    fn kind(self, _: &[u8]) -> Kind {
        Kind::Other
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn text(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        decode_answer(frame)
    }
}

/// Appends the request that carries `verb`: its body is what the verb's member of a frame holds.
pub(super) fn write_request(verb: &Verb<'_>, user: &User, out: &mut Vec<u8>) {
    let mut text = Vec::with_capacity(512);
    let frame = ClientFrame {
        id: 0,
        verb: verb.clone(),
    };
    json::encode_client(&frame, &mut text);
    // `{"<verb>":<body>}`
    let member = text.get(2..text.len() - 1).unwrap_or_default();
    let name = member.split(|byte| *byte == b'"').next().unwrap_or(member);
    let body = member.get(name.len() + 2..).unwrap_or_default();
    out.extend_from_slice(b"POST /v1/");
    out.extend_from_slice(name);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ");
    out.extend_from_slice(user.token.as_bytes());
    let length = body.len();
    let rest = format!("\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(body);
}

/// The head at the start of `input`, if it is complete: its bytes, the status, and how long the body
/// is; none where that is in chunks.
pub(super) fn head(input: &[u8]) -> Result<Option<(usize, u16, Option<usize>)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) =
        response.parse(input).map_err(|error| error.to_string())?
    else {
        return Ok(None);
    };
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    Ok(Some((bytes, response.code.unwrap_or(0), length)))
}

/// The bytes of the answer at the start of `input`, once it is complete.
pub(super) fn answer_bytes(input: &[u8]) -> Result<Option<usize>, Failure> {
    let Some((head, _, body)) = head(input)? else {
        return Ok(None);
    };
    let Some(body) = body else {
        return Err(Failure::Said("an answer without Content-Length".into()));
    };
    let bytes = head.saturating_add(body);
    Ok((bytes <= input.len()).then_some(bytes))
}

/// Reads a whole answer, of `send` or `group`.
pub(super) fn decode_answer(answer: &[u8]) -> Result<ServerFrame<'_>, String> {
    let Some((head, status, _)) = head(answer)? else {
        return Err("a cut answer".into());
    };
    let body = answer.get(head..).unwrap_or_default();
    let string = |before: &[u8]| String::from_utf8_lossy(string_json(body, before));
    let body = if status != 200 {
        ServerBody::Error {
            code: u32::from(status),
            name: string(br#""reason":""#),
            retryable: false,
            retry_after_ms: 0,
            message: format!("{status}: {}", string(br#""detail":""#)).into(),
        }
    } else if body.windows(STAMP.len()).any(|window| window == STAMP) {
        ServerBody::Sent {
            conversation: string(CONVERSATION),
            seq: 0,
            message_id: 0,
            partition: 0,
            position: 0,
            timestamp_ms: 0,
            duplicate: false,
        }
    } else {
        ServerBody::Group {
            conversation: string(CONVERSATION),
            seq: 0,
            members: List::Borrowed(&[]),
            more: false,
        }
    };
    Ok(ServerFrame { id: ANY_ID, body })
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::client::{Body, Group, Send, Target};

    use super::*;

    fn ann() -> User {
        User {
            name: "ann".into(),
            token: "t.o.k".into(),
            only_sends: false,
        }
    }

    fn written(verb: Verb<'_>) -> (String, String) {
        let mut out = Vec::new();
        Http.write(&ClientFrame { id: 7, verb }, &ann(), &mut out);
        let text = String::from_utf8(out).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = format!("Content-Length: {}", body.len());
        assert!(head.lines().any(|line| line == length), "{head}");
        (head.into(), body.into())
    }

    /// What a server says, as an answer.
    fn answer(status: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nDate: x\r\ncontent-length: {length}\r\n\r\n{body}").into()
    }

    fn decoded(answer: &[u8]) -> ServerBody<'_> {
        decode_answer(answer).expect("readable").body
    }

    #[test]
    fn a_send_is_a_post_of_what_its_frame_holds() {
        let (head, body) = written(Verb::Send(Send {
            to: Target::User("bob".into()),
            key: "k".into(),
            body: Body::Text("hi \"you\"}".into()),
            ttl_ms: 0,
            silent: false,
            ephemeral: true,
            headers: Vec::new(),
        }));
        assert!(
            head.starts_with("POST /v1/send HTTP/1.1\r\nHost: "),
            "{head}"
        );
        let token = |line| line == "Authorization: Bearer t.o.k";
        assert!(head.lines().any(token), "{head}");
        let frame = format!(r#"{{"id":3,"send":{body}}}"#);
        let frame = json::decode_client(frame.as_bytes()).expect("a frame");
        let Verb::Send(send) = frame.verb else {
            panic!("{frame:?}")
        };
        assert!(send.ephemeral && send.key == "k" && send.to == Target::User("bob".into()));
        assert_eq!(send.body, Body::Text("hi \"you\"}".into()));
        let (head, body) = written(Verb::Group(Group::Create {
            key: "".into(),
            title: "".into(),
            members: vec!["bob".into()],
            open: false,
        }));
        assert!(head.starts_with("POST /v1/group HTTP/1.1\r\n"), "{head}");
        assert!(body.starts_with(r#"{"create":{"#), "{body}");
    }

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        let all = [
            answer(
                "200 OK",
                r#"{"conversation":"d.x","seq":4,"timestampMs":17}"#,
            ),
            answer(
                "429 Too Many Requests",
                r#"{"detail":"later","reason":"rate_limited"}"#,
            ),
            answer("200 OK", r#"{"conversation":"g.y","seq":1}"#),
        ];
        let input = all.concat();
        let walked = |input: &[u8]| {
            let mut found = Vec::new();
            let read = Http.walk(input, &mut |incoming| match incoming {
                Incoming::Frame(frame) => found.push(frame.to_vec()),
                Incoming::Ping(_) => panic!("no pings"),
            });
            (found, read.expect("valid answers"))
        };
        for cut in 0..=input.len() {
            let (mut found, read) = walked(&input[..cut]);
            found.extend(walked(&input[read..]).0);
            assert_eq!(found, all, "cut at {cut}");
        }
        let [sent, refused, group] = &all;
        assert!(
            matches!(decoded(sent), ServerBody::Sent { conversation, .. } if conversation == "d.x")
        );
        assert!(
            matches!(decoded(group), ServerBody::Group { conversation, .. } if conversation == "g.y")
        );
        let ServerBody::Error { name, message, .. } = decoded(refused) else {
            panic!("an error")
        };
        assert_eq!((&*name, &*message), ("rate_limited", "429: later"));
    }

    #[test]
    fn what_is_no_answer_ends_the_run() {
        for input in [
            &b"SSH-2.0-x\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(Http.walk(input, &mut |_| ()).is_err());
        }
    }
}
