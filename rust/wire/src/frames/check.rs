//! Rules that both encodings share: choices of which exactly one is made, JSON bodies, headers
//! while a frame is read; lengths and ids ([`verb`]) once it is.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::client::{Body, Group, Header, Presence, Send, Target, Verb};
use super::codes::{self, Code};
use super::server::Limits;
use super::{JSON_DEPTH, id, limits};

/// Why a request is refused, and what to say beyond the code's own words.
pub type Refusal = (&'static Code, Cow<'static, str>);

/// Whether a request keeps the limits of [`limits`] and those that `connected` announced, as far
/// as it can be told from the request alone.
pub fn verb(verb: &Verb<'_>, announced: &Limits) -> Result<(), Refusal> {
    match verb {
        Verb::Connect { token, device, .. } => {
            at_most("token", token, limits::TOKEN_BYTES.max)?;
            an_id_or_none("connect.device", device)
        }
        Verb::Refresh { token } => at_most("token", token, limits::TOKEN_BYTES.max),
        Verb::Send(message) => send(message, announced),
        Verb::Ack { conversation, .. }
        | Verb::Read { conversation, .. }
        | Verb::Receipts { conversation, .. } => an_id("conversation", conversation),
        Verb::Recall {
            conversation,
            seq,
            key,
        } => a_message(conversation, *seq, key),
        Verb::Edit {
            conversation,
            seq,
            key,
            body,
        } => {
            a_message(conversation, *seq, key)?;
            a_body("edit", body, announced)
        }
        Verb::React {
            conversation,
            seq,
            key,
            reaction,
            ..
        } => {
            a_message(conversation, *seq, key)?;
            if reaction.is_empty() || reaction.chars().any(char::is_control) {
                return Err(invalid("react.reaction: text without controls".to_owned()));
            }
            at_most("react.reaction", reaction, limits::REACTION_BYTES.max)
        }
        Verb::Presence(action) => presence(action),
        Verb::History {
            conversation,
            limit,
            ..
        } => {
            an_id("history.conversation", conversation)?;
            a_page("history.limit", *limit, announced)
        }
        Verb::Conversations { after, limit } => {
            an_id_or_none("conversations.after", after)?;
            a_page("conversations.limit", *limit, announced)
        }
        Verb::Group(action) => group(action, announced),
        Verb::Ping | Verb::Unknown => Ok(()),
    }
}

fn send(send: &Send<'_>, announced: &Limits) -> Result<(), Refusal> {
    match &send.to {
        Target::User(id) => an_id("send.to.user", id)?,
        Target::Group(id) => an_id("send.to.group", id)?,
        Target::Conversation(id) => an_id("send.to.conversation", id)?,
    }
    a_key("send.key", &send.key)?;
    a_body("send", &send.body, announced)?;
    if send.ttl_ms > limits::TTL_MS.max {
        return Err(invalid(format!(
            "send.ttlMs: at most {}",
            limits::TTL_MS.max
        )));
    }
    if send.headers.len() as u64 > limits::HEADERS.max {
        let text = format!("send.headers: at most {}", limits::HEADERS.max);
        return Err((&codes::HEADERS_TOO_LARGE, text.into()));
    }
    let header_bytes: usize = send
        .headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum();
    if header_bytes as u64 > limits::HEADERS_BYTES.max {
        let text = format!("send.headers: at most {} bytes", limits::HEADERS_BYTES.max);
        return Err((&codes::HEADERS_TOO_LARGE, text.into()));
    }
    Ok(())
}

fn a_body(verb: &str, body: &Body<'_>, announced: &Limits) -> Result<(), Refusal> {
    if body.len() as u64 > announced.body_bytes {
        let text = format!("the body: at most {} bytes", announced.body_bytes);
        return Err((&codes::BODY_TOO_LARGE, text.into()));
    }
    if let Body::Bytes { content_type, .. } = body {
        at_most(
            &format!("{verb}.contentType"),
            content_type,
            limits::CONTENT_TYPE_BYTES.max,
        )?;
    }
    Ok(())
}

/// What a message is named by that something is done to.
fn a_message(conversation: &str, seq: u64, key: &str) -> Result<(), Refusal> {
    an_id("conversation", conversation)?;
    if seq == 0 {
        return Err(invalid("seq: from 1".to_owned()));
    }
    a_key("key", key)
}

fn presence(action: &Presence<'_>) -> Result<(), Refusal> {
    match action {
        Presence::Subscribe { users } | Presence::Unsubscribe { users } => {
            let most = limits::PRESENCE_USERS.max;
            if users.len() as u64 > most {
                return Err(invalid(format!("presence: users: at most {most}")));
            }
            users
                .iter()
                .try_for_each(|user| an_id("presence: users", user))
        }
        Presence::Set { status } if matches!(&**status, "online" | "away") => Ok(()),
        Presence::Set { .. } => Err(invalid(
            "presence.set.status: `online` or `away`".to_owned(),
        )),
    }
}

fn group(group: &Group<'_>, announced: &Limits) -> Result<(), Refusal> {
    match group {
        Group::Create {
            key,
            title,
            members,
            ..
        } => {
            if key.is_empty() {
                return Err(invalid("group.create.key: is needed".to_owned()));
            }
            a_key("group.create.key", key)?;
            at_most("group.create.title", title, limits::TITLE_BYTES.max)?;
            users("group.create.members", members, announced)
        }
        Group::Join { conversation, key } | Group::Leave { conversation, key } => {
            an_id("group: conversation", conversation)?;
            a_key("group: key", key)
        }
        Group::Add {
            conversation,
            key,
            users: named,
        }
        | Group::Remove {
            conversation,
            key,
            users: named,
        }
        | Group::Mute {
            conversation,
            key,
            users: named,
        }
        | Group::Unmute {
            conversation,
            key,
            users: named,
        } => {
            an_id("group: conversation", conversation)?;
            a_key("group: key", key)?;
            users("group: users", named, announced)
        }
        Group::Role {
            conversation,
            key,
            users: named,
            role,
        } => {
            an_id("group: conversation", conversation)?;
            a_key("group: key", key)?;
            users("group: users", named, announced)?;
            match &**role {
                "member" | "admin" => Ok(()),
                "owner" if named.len() == 1 => Ok(()),
                "owner" => Err(invalid("group.role: there is one owner".to_owned())),
                _ => Err(invalid(
                    "group.role.role: `member`, `admin` or `owner`".to_owned(),
                )),
            }
        }
        Group::Settings {
            conversation,
            key,
            title,
            open,
        } => {
            an_id("group: conversation", conversation)?;
            a_key("group: key", key)?;
            let title = title.as_deref();
            if title.is_none() && open.is_none() {
                return Err(invalid("group.settings: `title` or `open`".to_owned()));
            }
            at_most(
                "group.settings.title",
                title.unwrap_or(""),
                limits::TITLE_BYTES.max,
            )
        }
        Group::Members {
            conversation,
            after,
            limit,
        } => {
            an_id("group.members.conversation", conversation)?;
            an_id_or_none("group.members.after", after)?;
            a_page("group.members.limit", *limit, announced)
        }
    }
}

fn invalid(text: String) -> Refusal {
    (&codes::INVALID_ARGUMENT, text.into())
}

fn an_id(name: &str, value: &str) -> Result<(), Refusal> {
    id::check(value).map_err(|error| (&codes::INVALID_ID, format!("{name}: {error}").into()))
}

fn an_id_or_none(name: &str, value: &str) -> Result<(), Refusal> {
    if value.is_empty() {
        Ok(())
    } else {
        an_id(name, value)
    }
}

fn at_most(name: &str, value: &str, bytes: u64) -> Result<(), Refusal> {
    if value.len() as u64 > bytes {
        return Err(invalid(format!("{name}: at most {bytes} bytes")));
    }
    Ok(())
}

fn a_key(name: &str, value: &str) -> Result<(), Refusal> {
    at_most(name, value, limits::KEY_BYTES.max)
}

fn a_page(name: &str, limit: Option<u32>, announced: &Limits) -> Result<(), Refusal> {
    if limit.is_some_and(|limit| u64::from(limit) > announced.page_items) {
        let text = format!("{name}: at most {}", announced.page_items);
        return Err((&codes::PAGE_TOO_LARGE, text.into()));
    }
    Ok(())
}

fn users(name: &str, users: &[Cow<'_, str>], announced: &Limits) -> Result<(), Refusal> {
    if users.len() as u64 > announced.members_per_call {
        let text = format!("{name}: at most {}", announced.members_per_call);
        return Err((&codes::TOO_MANY_MEMBERS, text.into()));
    }
    users.iter().try_for_each(|user| an_id(name, user))
}

pub(super) const NO_TARGET: &str = "send.to: one of user, group, conversation is needed";
pub(super) const MANY_TARGETS: &str = "send.to: more than one of user, group, conversation";
pub(super) const NO_BODY: &str = "send: one of json, text, base64 (bytes) is needed";
pub(super) const MANY_BODIES: &str = "send: more than one of json, text, base64 (bytes)";
pub(super) const STRAY_TYPE: &str = "send.contentType: goes with base64 (bytes) only";
pub(super) const NO_ACTION: &str = "group: no action";
pub(super) const MANY_ACTIONS: &str = "group: more than one action";
pub(super) const NO_PRESENCE: &str = "presence: no action";
pub(super) const MANY_PRESENCES: &str = "presence: more than one action";
pub(super) const BEFORE_AND_AFTER: &str = "history: both before and after";
const TOO_DEEP: &str = "send.json: nested too deeply";

/// A page's limit: 0 is the server's default, and what does not fit is above every limit.
pub(super) fn page_limit(value: u64) -> Option<u32> {
    (value != 0).then(|| u32::try_from(value).unwrap_or(u32::MAX))
}

/// A JSON body that came as text of its own: checked, and as [`json_body`] says. The error has
/// an offset in the text.
pub(super) fn json(text: &str) -> Result<Cow<'_, str>, (usize, &'static str)> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        (
            super::json::offset_of(text, &error),
            "send.json: not valid JSON",
        )
    })?;
    json_body(raw.get()).map_err(|what| (0, what))
}

/// Text that is known to be valid JSON, as it is stored and passed on: without line breaks,
/// which would end a line of an event stream, and not too deep for its readers.
pub(super) fn json_body(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let (mut opened, mut line_breaks) = (0usize, 0usize);
    // Counting in bytes, which a chunk cannot overflow and of which a vector register holds many.
    for chunk in text.as_bytes().chunks(128) {
        let (mut brackets, mut breaks) = (0u8, 0u8);
        for &byte in chunk {
            brackets += u8::from(byte | 0x20 == b'{');
            breaks += u8::from(byte == b'\n') + u8::from(byte == b'\r');
        }
        opened += usize::from(brackets);
        line_breaks += usize::from(breaks);
    }
    if opened > JSON_DEPTH && depth(text) > JSON_DEPTH {
        return Err(TOO_DEEP);
    }
    if line_breaks == 0 {
        Ok(Cow::Borrowed(text))
    } else {
        Ok(Cow::Owned(compact(text)))
    }
}

/// How deep arrays and objects nest in valid JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for (byte, in_string) in tokens(text) {
        match byte {
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Valid JSON without the whitespace between its tokens.
fn compact(text: &str) -> String {
    let bytes = tokens(text)
        .filter(|(byte, in_string)| *in_string || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        .map(|(byte, _)| byte)
        .collect();
    // Only ASCII was left out, so this is still UTF-8.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Each byte, and whether it stands in a string.
fn tokens(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let (mut in_string, mut escaped) = (false, false);
    text.bytes().map(move |byte| {
        let inside = in_string;
        if escaped {
            escaped = false;
        } else if byte == b'"' {
            in_string = !in_string;
        } else if in_string && byte == b'\\' {
            escaped = true;
        }
        (byte, inside)
    })
}

/// The one body, with its type where it has one.
pub(super) fn typed_body<'a>(
    body: Option<Body<'a>>,
    content_type: Cow<'a, str>,
) -> Result<Body<'a>, &'static str> {
    match body {
        None => Err(NO_BODY),
        Some(Body::Bytes { data, .. }) => Ok(Body::Bytes { data, content_type }),
        Some(_) if !content_type.is_empty() => Err(STRAY_TYPE),
        Some(body) => Ok(body),
    }
}

/// Adds a header. JSON has them as one object, so a name stands once. How many there may be is for
/// [`verb`] to say; no more than one above that is kept.
pub(super) fn add_header<'a>(
    headers: &mut Vec<Header<'a>>,
    header: Header<'a>,
) -> Result<(), &'static str> {
    if header.name.is_empty() {
        return Err("send.headers: a name is empty");
    }
    // One beyond the limit is kept, for `verb` to refuse; of more nothing is.
    if headers.len() as u64 > limits::HEADERS.max {
        return Ok(());
    }
    if headers.iter().any(|other| other.name == header.name) {
        return Err("send.headers: a name stands twice");
    }
    headers.push(header);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::json::decode_client;

    const ANNOUNCED: Limits = Limits {
        body_bytes: 10,
        frame_bytes: 1_000,
        members_per_call: 2,
        page_items: 5,
    };

    /// The code that a frame with this verb is refused with, if it is.
    fn refusal(json: &str) -> Option<&'static str> {
        let frame = decode_client(json.as_bytes()).expect("a valid frame");
        verb(&frame.verb, &ANNOUNCED).err().map(|(code, text)| {
            assert!(!text.is_empty());
            code.name
        })
    }

    #[test]
    fn each_limit_refuses_the_first_value_beyond_it() {
        let long = "x".repeat(129);
        let text = |body: &str| format!(r#"{{"send":{{"to":{{"user":"b"}},"text":"{body}"}}}}"#);
        assert_eq!(refusal(&text("0123456789")), None);
        assert_eq!(refusal(&text("0123456789a")), Some("body_too_large"));
        let send = |rest: &str| format!(r#"{{"send":{{"text":"","to":{{"user":"b"}},{rest}}}}}"#);
        assert_eq!(
            refusal(&send(&format!(r#""key":"{long}""#))),
            Some("invalid_argument")
        );
        assert_eq!(refusal(&send(r#""ttlMs":31536000000"#)), None);
        assert_eq!(
            refusal(&send(r#""ttlMs":31536000001"#)),
            Some("invalid_argument")
        );
        let value = "v".repeat(8_191);
        assert_eq!(
            refusal(&send(&format!(r#""headers":{{"n":"{value}"}}"#))),
            None
        );
        assert_eq!(
            refusal(&send(&format!(r#""headers":{{"no":"{value}"}}"#))),
            Some("headers_too_large")
        );
        let headers = |count: usize| {
            let fields: Vec<_> = (0..count).map(|n| format!(r#""n{n}":"""#)).collect();
            refusal(&send(&format!(r#""headers":{{{}}}"#, fields.join(","))))
        };
        assert_eq!(headers(16), None);
        assert_eq!(headers(17), Some("headers_too_large"));
        assert_eq!(headers(1_000), Some("headers_too_large"));
        assert_eq!(
            refusal(r#"{"send":{"to":{"group":""},"text":"a"}}"#),
            Some("invalid_id")
        );
        assert_eq!(
            refusal(r#"{"ack":{"conversation":"a\u0000","seq":1}}"#),
            Some("invalid_id")
        );
        assert_eq!(
            refusal(r#"{"history":{"conversation":"c","limit":5}}"#),
            None
        );
        assert_eq!(
            refusal(r#"{"history":{"conversation":"c","limit":6}}"#),
            Some("page_too_large")
        );
        assert_eq!(
            refusal(r#"{"group":{"create":{"key":"k","members":["a","b"]}}}"#),
            None
        );
        assert_eq!(
            refusal(r#"{"group":{"create":{"key":"k","members":["a","b","c"]}}}"#),
            Some("too_many_members")
        );
        assert_eq!(
            refusal(r#"{"group":{"create":{"members":["a"]}}}"#),
            Some("invalid_argument")
        );
        assert_eq!(
            refusal(&format!(
                r#"{{"connect":{{"token":"t","device":"{long}"}}}}"#
            )),
            Some("invalid_id")
        );
        assert_eq!(refusal(r#"{"ping":{}}"#), None);
    }

    #[test]
    fn json_bodies_lose_line_breaks_and_keep_everything_else() {
        let plain = r#"{"a": [1, 2]}"#;
        assert!(matches!(json_body(plain), Ok(Cow::Borrowed(text)) if text == plain));
        let broken = "{\n \"a\\\" b\" :\r\n[ 1 ,\t\" \" ] }";
        assert_eq!(json_body(broken).as_deref(), Ok(r#"{"a\" b":[1," "]}"#));
    }

    #[test]
    fn json_bodies_nest_to_the_limit_and_no_deeper() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(json_body(&nested(JSON_DEPTH)).is_ok());
        assert_eq!(json_body(&nested(JSON_DEPTH + 1)), Err(TOO_DEEP));
        // Wide, and brackets in strings, are not deep.
        let wide = format!("[{}[]]", "[],".repeat(200));
        assert!(json_body(&wide).is_ok());
        let quoted = format!(r#"["\"{}"]"#, "[".repeat(200));
        assert!(json_body(&quoted).is_ok());
    }
}
