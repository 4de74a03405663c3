//! `imfast.v1.ClientFrame`.

use std::borrow::Cow;

use super::Fields;
use crate::frames::client::{Body, ClientFrame, Group, Header, Send, Target, Verb};
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
            (2..=10, Value::Bytes(bytes)) => {
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
        _ => {
            let [] = decode_texts(fields)?;
            Verb::Ping
        }
    })
}

/// The strings that are fields 1 to `N`.
fn decode_texts<const N: usize>(mut fields: Fields<'_>) -> Result<[Cow<'_, str>; N], FrameError> {
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

struct Page<'a> {
    conversation: Cow<'a, str>,
    after: Cow<'a, str>,
    limit: Option<u32>,
}

fn decode_page(
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
                body = Some(match number {
                    6 => Body::Json(check::json(fields.text(bytes)?).map_err(|(at, what)| {
                        FrameError::invalid(fields.offset() - bytes.len() + at, what)
                    })?),
                    7 => Body::Text(Cow::Borrowed(fields.text(bytes)?)),
                    _ => Body::Bytes {
                        data: Cow::Borrowed(bytes),
                        content_type: Cow::Borrowed(""),
                    },
                });
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

fn decode_group(mut fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    let mut action = None;
    let mut unknown = false;
    while let Some((number, value)) = fields.next()? {
        let (1..=6, Value::Bytes(bytes)) = (number, value) else {
            unknown = true;
            continue;
        };
        if action.is_some() {
            return Err(fields.invalid(check::MANY_ACTIONS));
        }
        let nested = fields.nested(bytes);
        action = Some(match number {
            1 => decode_create(nested)?,
            2 => {
                let [conversation, key] = decode_texts(nested)?;
                Group::Join { conversation, key }
            }
            3 => {
                let [conversation, key] = decode_texts(nested)?;
                Group::Leave { conversation, key }
            }
            4 => {
                let (conversation, key, users) = decode_many(nested)?;
                Group::Add {
                    conversation,
                    key,
                    users,
                }
            }
            5 => {
                let (conversation, key, users) = decode_many(nested)?;
                Group::Remove {
                    conversation,
                    key,
                    users,
                }
            }
            _ => {
                let page = decode_page(nested, 2, 3)?;
                Group::Members {
                    conversation: page.conversation,
                    after: page.after,
                    limit: page.limit,
                }
            }
        });
    }
    match action {
        Some(action) => Ok(Verb::Group(action)),
        None if unknown => Ok(Verb::Unknown),
        None => Err(fields.invalid(check::NO_ACTION)),
    }
}

fn decode_create(mut fields: Fields<'_>) -> Result<Group<'_>, FrameError> {
    let (mut key, mut title, mut members, mut open) = ("", "", Vec::new(), false);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (2, Value::Bytes(bytes)) => title = fields.text(bytes)?,
            (3, Value::Bytes(bytes)) => members.push(Cow::Borrowed(fields.text(bytes)?)),
            (4, Value::Varint(n)) => open = n != 0,
            _ => {}
        }
    }
    Ok(Group::Create {
        key: Cow::Borrowed(key),
        title: Cow::Borrowed(title),
        members,
        open,
    })
}

type Many<'a> = (Cow<'a, str>, Cow<'a, str>, Vec<Cow<'a, str>>);

fn decode_many(mut fields: Fields<'_>) -> Result<Many<'_>, FrameError> {
    let (mut conversation, mut key, mut users) = ("", "", Vec::new());
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (3, Value::Bytes(bytes)) => users.push(Cow::Borrowed(fields.text(bytes)?)),
            _ => {}
        }
    }
    Ok((Cow::Borrowed(conversation), Cow::Borrowed(key), users))
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
        Verb::Unknown => put_message(out, 15, &[]),
    }
}

/// Fields 1, 2, …
fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
    for (field, text) in (1..).zip(texts) {
        put_bytes(out, field, text.as_bytes());
    }
}

/// A field declared `optional`: 0 is written.
fn put_present(out: &mut Vec<u8>, field: u32, value: Option<u64>) {
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

fn encode_group(group: &Group<'_>, out: &mut Vec<u8>) {
    match group {
        Group::Create {
            key,
            title,
            members,
            open,
        } => put_nested(out, 1, |out| {
            put_texts(out, &[key, title]);
            put_repeated(out, 3, members);
            put_number(out, 4, u64::from(*open));
        }),
        Group::Join { conversation, key } => {
            put_nested(out, 2, |out| put_texts(out, &[conversation, key]));
        }
        Group::Leave { conversation, key } => {
            put_nested(out, 3, |out| put_texts(out, &[conversation, key]));
        }
        Group::Add {
            conversation,
            key,
            users,
        } => put_nested(out, 4, |out| {
            put_texts(out, &[conversation, key]);
            put_repeated(out, 3, users);
        }),
        Group::Remove {
            conversation,
            key,
            users,
        } => put_nested(out, 5, |out| {
            put_texts(out, &[conversation, key]);
            put_repeated(out, 3, users);
        }),
        Group::Members {
            conversation,
            after,
            limit,
        } => put_nested(out, 6, |out| {
            put_texts(out, &[conversation, after]);
            put_number(out, 3, limit.unwrap_or(0).into());
        }),
    }
}

fn put_repeated(out: &mut Vec<u8>, field: u32, texts: &[Cow<'_, str>]) {
    for text in texts {
        put_message(out, field, text.as_bytes());
    }
}
