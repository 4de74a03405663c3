//! `imfast.v1.ClientFrame`.

use std::borrow::Cow;

use super::Fields;
use super::client_group::{decode_group, encode_group, put_repeated};
use crate::frames::client::{
    Body, ClientFrame, Header, Presence, Send, Target, Verb, write_edited_body,
};
use crate::frames::{FrameError, check};
use crate::protobuf::{Reader, Value, put_bytes, put_message, put_nested, put_number, put_varint};

/// Reads one frame, all of `input`.
pub fn decode_client(input: &[u8]) -> Result<ClientFrame<'_>, FrameError> {
    decode(input).map_err(|error| FrameError {
        id: readable_id(input),
        ..error
    })
}

/// The id of a frame that is not valid: the fields around the broken one may well be whole.
fn readable_id(input: &[u8]) -> u64 {
    let mut reader = Reader::new(input);
    let mut id = 0;
    while let Ok(Some((number, value))) = reader.field() {
        if let (1, Value::Varint(n)) = (number, value) {
            id = n;
        }
    }
    if id <= crate::frames::MAX_NUMBER {
        id
    } else {
        0
    }
}

fn decode(input: &[u8]) -> Result<ClientFrame<'_>, FrameError> {
    let mut fields = Fields::new(input, 0);
    let mut id = 0;
    let mut verb = None;
    let mut unknown = false;
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(n)) => id = fields.number("id", n)?,
            (2..=15, Value::Bytes(bytes)) => {
                if verb.is_some() {
                    return Err(fields.invalid("more than one verb in the frame"));
                }
                verb = Some(decode_verb(number, fields.nested(bytes))?);
            }
            _ => unknown = true,
        }
    }
    match verb {
        Some(verb) => Ok(ClientFrame { id, verb }),
        None if unknown => Ok(ClientFrame {
            id,
            verb: Verb::Unknown,
        }),
        None => Err(fields.invalid("no verb in the frame")),
    }
}

fn decode_verb(number: u32, fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    Ok(match number {
        2 => {
            let [token, device, sync] = decode_texts(fields)?;
            Verb::Connect {
                token,
                device,
                sync,
            }
        }
        3 => {
            let [token] = decode_texts(fields)?;
            Verb::Refresh { token }
        }
        4 => Verb::Send(decode_send(fields)?),
        5 => {
            let (conversation, seq) = decode_cursor(fields, "ack.seq")?;
            Verb::Ack { conversation, seq }
        }
        6 => {
            let (conversation, seq) = decode_cursor(fields, "read.seq")?;
            Verb::Read { conversation, seq }
        }
        7 => decode_history(fields)?,
        8 => {
            let page = decode_page(fields, 1, 2)?;
            Verb::Conversations {
                after: page.after,
                limit: page.limit,
            }
        }
        9 => decode_group(fields)?,
        11 => {
            let (conversation, seq) = decode_cursor(fields, "receipts.seq")?;
            Verb::Receipts { conversation, seq }
        }
        12..=14 => decode_change(number, fields)?,
        15 => decode_presence(fields)?,
        _ => {
            let [] = decode_texts(fields)?;
            Verb::Ping
        }
    })
}

/// The strings that are fields 1 to `N`.
pub(super) fn decode_texts<const N: usize>(
    mut fields: Fields<'_>,
) -> Result<[Cow<'_, str>; N], FrameError> {
    let mut texts = [const { Cow::Borrowed("") }; N];
    while let Some((number, value)) = fields.next()? {
        if let (Some(text), Value::Bytes(bytes)) = (texts.get_mut(number as usize - 1), value) {
            *text = Cow::Borrowed(fields.text(bytes)?);
        }
    }
    Ok(texts)
}

fn decode_cursor<'a>(
    mut fields: Fields<'a>,
    name: &str,
) -> Result<(Cow<'a, str>, u64), FrameError> {
    let (mut conversation, mut seq) = ("", 0);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Varint(n)) => seq = fields.number(name, n)?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(conversation), seq))
}

fn decode_history(mut fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    let (mut conversation, mut before, mut after, mut limit) = ("", None, None, None);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Varint(n)) => before = Some(fields.number("history.before", n)?),
            (3, Value::Varint(n)) => after = Some(fields.number("history.after", n)?),
            (4, Value::Varint(n)) => limit = check::page_limit(n),
            _ => {}
        }
    }
    if before.is_some() && after.is_some() {
        return Err(fields.invalid(check::BEFORE_AND_AFTER));
    }
    Ok(Verb::History {
        conversation: Cow::Borrowed(conversation),
        before,
        after,
        limit,
    })
}

pub(super) struct Page<'a> {
    pub(super) conversation: Cow<'a, str>,
    pub(super) after: Cow<'a, str>,
    pub(super) limit: Option<u32>,
}

pub(super) fn decode_page(
    mut fields: Fields<'_>,
    after_field: u32,
    limit_field: u32,
) -> Result<Page<'_>, FrameError> {
    let (mut conversation, mut after, mut limit) = ("", "", None);
    while let Some((number, value)) = fields.next()? {
        match value {
            Value::Bytes(bytes) if number == after_field => after = fields.text(bytes)?,
            Value::Varint(n) if number == limit_field => limit = check::page_limit(n),
            Value::Bytes(bytes) if number == 1 => conversation = fields.text(bytes)?,
            _ => {}
        }
    }
    Ok(Page {
        conversation: Cow::Borrowed(conversation),
        after: Cow::Borrowed(after),
        limit,
    })
}

fn decode_send(mut fields: Fields<'_>) -> Result<Send<'_>, FrameError> {
    let mut to = None;
    let mut key = "";
    let mut body = None;
    let mut content_type = "";
    let mut ttl_ms = 0;
    let (mut silent, mut ephemeral) = (false, false);
    let mut headers = Vec::new();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => decode_target(fields.nested(bytes), &mut to)?,
            (2, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (6..=8, Value::Bytes(bytes)) => {
                if body.is_some() {
                    return Err(fields.invalid(check::MANY_BODIES));
                }
                body = Some(decode_body(number - 6, &fields, bytes)?);
            }
            (9, Value::Bytes(bytes)) => content_type = fields.text(bytes)?,
            (10, Value::Varint(n)) => ttl_ms = fields.number("send.ttlMs", n)?,
            (11, Value::Bytes(bytes)) => {
                let [name, value] = decode_texts(fields.nested(bytes))?;
                check::add_header(&mut headers, Header { name, value })
                    .map_err(|what| fields.invalid(what))?;
            }
            (12, Value::Varint(n)) => silent = n != 0,
            (13, Value::Varint(n)) => ephemeral = n != 0,
            _ => {}
        }
    }
    let body = check::typed_body(body, Cow::Borrowed(content_type))
        .map_err(|what| fields.invalid(what))?;
    Ok(Send {
        to: to.ok_or_else(|| fields.invalid(check::NO_TARGET))?,
        key: Cow::Borrowed(key),
        body,
        ttl_ms,
        silent,
        ephemeral,
        headers,
    })
}

/// A body: JSON, text or bytes, by its place in the choice.
fn decode_body<'a>(
    place: u32,
    fields: &Fields<'a>,
    bytes: &'a [u8],
) -> Result<Body<'a>, FrameError> {
    Ok(match place {
        0 => {
            Body::Json(check::json(fields.text(bytes)?).map_err(|(at, what)| {
                FrameError::invalid(fields.offset() - bytes.len() + at, what)
            })?)
        }
        1 => Body::Text(Cow::Borrowed(fields.text(bytes)?)),
        _ => Body::Bytes {
            data: Cow::Borrowed(bytes),
            content_type: Cow::Borrowed(""),
        },
    })
}

/// Recall, edit or react, by the number of the verb's field.
fn decode_change(verb: u32, mut fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    let (mut conversation, mut seq, mut key) = ("", 0, "");
    let (mut reaction, mut remove) = ("", false);
    let (mut body, mut content_type) = (None, "");
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Varint(n)) => seq = fields.number("seq", n)?,
            (3, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (4, Value::Bytes(bytes)) => reaction = fields.text(bytes)?,
            (5, Value::Varint(n)) => remove = n != 0,
            (10..=12, Value::Bytes(bytes)) if verb == 13 => {
                if body.is_some() {
                    return Err(fields.invalid(check::MANY_BODIES));
                }
                body = Some(decode_body(number - 10, &fields, bytes)?);
            }
            (13, Value::Bytes(bytes)) => content_type = fields.text(bytes)?,
            _ => {}
        }
    }
    let (conversation, key) = (Cow::Borrowed(conversation), Cow::Borrowed(key));
    Ok(match verb {
        12 => Verb::Recall {
            conversation,
            seq,
            key,
        },
        13 => Verb::Edit {
            conversation,
            seq,
            key,
            body: check::typed_body(body, Cow::Borrowed(content_type))
                .map_err(|what| fields.invalid(what))?,
        },
        _ => Verb::React {
            conversation,
            seq,
            key,
            reaction: Cow::Borrowed(reaction),
            remove,
        },
    })
}

fn decode_presence(mut fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    let mut action = None;
    let mut unknown = false;
    while let Some((number, value)) = fields.next()? {
        let (1..=3, Value::Bytes(bytes)) = (number, value) else {
            unknown = true;
            continue;
        };
        if action.is_some() {
            return Err(fields.invalid(check::MANY_PRESENCES));
        }
        let mut said = fields.nested(bytes);
        let mut texts = Vec::new();
        while let Some((number, value)) = said.next()? {
            if let (1, Value::Bytes(bytes)) = (number, value) {
                texts.push(Cow::Borrowed(said.text(bytes)?));
            }
        }
        action = Some(match number {
            1 => Presence::Subscribe { users: texts },
            2 => Presence::Unsubscribe { users: texts },
            _ => Presence::Set {
                status: texts.pop().unwrap_or_default(),
            },
        });
    }
    match action {
        Some(action) => Ok(Verb::Presence(action)),
        None if unknown => Ok(Verb::Unknown),
        None => Err(fields.invalid(check::NO_PRESENCE)),
    }
}

fn decode_target<'a>(
    mut fields: Fields<'a>,
    to: &mut Option<Target<'a>>,
) -> Result<(), FrameError> {
    while let Some((number, value)) = fields.next()? {
        let (make, Value::Bytes(bytes)): (fn(Cow<'a, str>) -> Target<'a>, _) = (
            match number {
                1 => Target::User,
                2 => Target::Group,
                3 => Target::Conversation,
                _ => continue,
            },
            value,
        ) else {
            continue;
        };
        if to.is_some() {
            return Err(fields.invalid(check::MANY_TARGETS));
        }
        *to = Some(make(Cow::Borrowed(fields.text(bytes)?)));
    }
    Ok(())
}

/// Appends one frame, without a length before it.
pub fn encode_client(frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
    put_number(out, 1, frame.id);
    match &frame.verb {
        Verb::Connect {
            token,
            device,
            sync,
        } => put_nested(out, 2, |out| put_texts(out, &[token, device, sync])),
        Verb::Refresh { token } => put_nested(out, 3, |out| put_texts(out, &[token])),
        Verb::Send(send) => put_nested(out, 4, |out| encode_send(send, out)),
        Verb::Ack { conversation, seq } => put_nested(out, 5, |out| {
            put_texts(out, &[conversation]);
            put_number(out, 2, *seq);
        }),
        Verb::Read { conversation, seq } => put_nested(out, 6, |out| {
            put_texts(out, &[conversation]);
            put_number(out, 2, *seq);
        }),
        Verb::History {
            conversation,
            before,
            after,
            limit,
        } => put_nested(out, 7, |out| {
            put_texts(out, &[conversation]);
            put_present(out, 2, *before);
            put_present(out, 3, *after);
            put_number(out, 4, limit.unwrap_or(0).into());
        }),
        Verb::Conversations { after, limit } => put_nested(out, 8, |out| {
            put_texts(out, &[after]);
            put_number(out, 2, limit.unwrap_or(0).into());
        }),
        Verb::Group(group) => put_nested(out, 9, |out| encode_group(group, out)),
        Verb::Ping => put_message(out, 10, &[]),
        Verb::Receipts { conversation, seq } => put_nested(out, 11, |out| {
            put_texts(out, &[conversation]);
            put_number(out, 2, *seq);
        }),
        Verb::Recall {
            conversation,
            seq,
            key,
        } => put_nested(out, 12, |out| put_of(out, conversation, *seq, key)),
        Verb::Edit {
            conversation,
            seq,
            key,
            body,
        } => put_nested(out, 13, |out| {
            put_of(out, conversation, *seq, key);
            write_edited_body(out, body);
        }),
        Verb::React {
            conversation,
            seq,
            key,
            reaction,
            remove,
        } => put_nested(out, 14, |out| {
            put_of(out, conversation, *seq, key);
            put_bytes(out, 4, reaction.as_bytes());
            put_number(out, 5, u64::from(*remove));
        }),
        Verb::Presence(presence) => put_nested(out, 15, |out| match presence {
            Presence::Subscribe { users } => {
                put_nested(out, 1, |out| put_repeated(out, 1, users));
            }
            Presence::Unsubscribe { users } => {
                put_nested(out, 2, |out| put_repeated(out, 1, users));
            }
            Presence::Set { status } => put_nested(out, 3, |out| put_texts(out, &[status])),
        }),
        Verb::Unknown => put_message(out, 100, &[]),
    }
}

/// Fields 1, 2, …
pub(super) fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
    for (field, text) in (1..).zip(texts) {
        put_bytes(out, field, text.as_bytes());
    }
}

/// Which message something is done to, under which key.
fn put_of(out: &mut Vec<u8>, conversation: &str, seq: u64, key: &str) {
    put_texts(out, &[conversation]);
    put_number(out, 2, seq);
    put_bytes(out, 3, key.as_bytes());
}

/// A field declared `optional`: 0 is written.
pub(super) fn put_present(out: &mut Vec<u8>, field: u32, value: Option<u64>) {
    if let Some(value) = value {
        put_varint(out, u64::from(field << 3));
        put_varint(out, value);
    }
}

fn encode_send(send: &Send<'_>, out: &mut Vec<u8>) {
    put_nested(out, 1, |out| match &send.to {
        Target::User(id) => put_message(out, 1, id.as_bytes()),
        Target::Group(id) => put_message(out, 2, id.as_bytes()),
        Target::Conversation(id) => put_message(out, 3, id.as_bytes()),
    });
    put_bytes(out, 2, send.key.as_bytes());
    send.write_content(out);
}
