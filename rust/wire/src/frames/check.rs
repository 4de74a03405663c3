//! Rules that both encodings share: choices of which exactly one is made, JSON bodies, headers.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::client::{Body, Header};
use super::{JSON_DEPTH, limits};

pub(super) const NO_TARGET: &str = "send.to: one of user, group, conversation is needed";
pub(super) const MANY_TARGETS: &str = "send.to: more than one of user, group, conversation";
pub(super) const NO_BODY: &str = "send: one of json, text, base64 (bytes) is needed";
pub(super) const MANY_BODIES: &str = "send: more than one of json, text, base64 (bytes)";
pub(super) const STRAY_TYPE: &str = "send.contentType: goes with base64 (bytes) only";
pub(super) const NO_ACTION: &str = "group: no action";
pub(super) const MANY_ACTIONS: &str = "group: more than one action";
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
    let mut opened = 0usize;
    let mut line_breaks = 0usize;
    // One pass without branches: compilers turn it into vector instructions.
    for &byte in text.as_bytes() {
        opened += usize::from(byte | 0x20 == b'{');
        line_breaks += usize::from(byte == b'\n') + usize::from(byte == b'\r');
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

/// Adds a header. JSON has them as one object, so a name stands once.
pub(super) fn add_header<'a>(
    headers: &mut Vec<Header<'a>>,
    header: Header<'a>,
) -> Result<(), &'static str> {
    if header.name.is_empty() {
        return Err("send.headers: a name is empty");
    }
    if headers.len() as u64 >= limits::HEADERS.max {
        return Err("send.headers: too many");
    }
    if headers.iter().any(|other| other.name == header.name) {
        return Err("send.headers: a name stands twice");
    }
    headers.push(header);
    Ok(())
}
