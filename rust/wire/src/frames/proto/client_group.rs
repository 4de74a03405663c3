//! `imfast.v1.Group`.

use std::borrow::Cow;

use super::Fields;
use super::client::{decode_page, decode_texts, put_present, put_texts};
use crate::frames::client::{Group, Verb};
use crate::frames::{FrameError, check};
use crate::protobuf::{Value, put_bytes, put_message, put_nested, put_number};

pub(super) fn decode_group(mut fields: Fields<'_>) -> Result<Verb<'_>, FrameError> {
    let mut action = None;
    let mut unknown = false;
    while let Some((number, value)) = fields.next()? {
        let (1..=10, Value::Bytes(bytes)) = (number, value) else {
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
                let (conversation, key, users, _) = decode_many(nested)?;
                Group::Add {
                    conversation,
                    key,
                    users,
                }
            }
            5 => {
                let (conversation, key, users, _) = decode_many(nested)?;
                Group::Remove {
                    conversation,
                    key,
                    users,
                }
            }
            6 => {
                let page = decode_page(nested, 2, 3)?;
                Group::Members {
                    conversation: page.conversation,
                    after: page.after,
                    limit: page.limit,
                }
            }
            7 => {
                let (conversation, key, users, role) = decode_many(nested)?;
                Group::Role {
                    conversation,
                    key,
                    users,
                    role,
                }
            }
            8 => {
                let (conversation, key, users, _) = decode_many(nested)?;
                Group::Mute {
                    conversation,
                    key,
                    users,
                }
            }
            9 => {
                let (conversation, key, users, _) = decode_many(nested)?;
                Group::Unmute {
                    conversation,
                    key,
                    users,
                }
            }
            _ => decode_settings(nested)?,
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

type Many<'a> = (Cow<'a, str>, Cow<'a, str>, Vec<Cow<'a, str>>, Cow<'a, str>);

fn decode_many(mut fields: Fields<'_>) -> Result<Many<'_>, FrameError> {
    let (mut conversation, mut key, mut users, mut role) = ("", "", Vec::new(), "");
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (3, Value::Bytes(bytes)) => users.push(Cow::Borrowed(fields.text(bytes)?)),
            (4, Value::Bytes(bytes)) => role = fields.text(bytes)?,
            _ => {}
        }
    }
    Ok((conversation.into(), key.into(), users, role.into()))
}

fn decode_settings(mut fields: Fields<'_>) -> Result<Group<'_>, FrameError> {
    let (mut conversation, mut key, mut title, mut open) = ("", "", None, None);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => conversation = fields.text(bytes)?,
            (2, Value::Bytes(bytes)) => key = fields.text(bytes)?,
            (3, Value::Bytes(bytes)) => title = Some(Cow::Borrowed(fields.text(bytes)?)),
            (4, Value::Varint(n)) => open = Some(n != 0),
            _ => {}
        }
    }
    Ok(Group::Settings {
        conversation: conversation.into(),
        key: key.into(),
        title,
        open,
    })
}

pub(super) fn encode_group(group: &Group<'_>, out: &mut Vec<u8>) {
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
        } => put_nested(out, 4, |out| put_many(out, conversation, key, users)),
        Group::Remove {
            conversation,
            key,
            users,
        } => put_nested(out, 5, |out| put_many(out, conversation, key, users)),
        Group::Role {
            conversation,
            key,
            users,
            role,
        } => put_nested(out, 7, |out| {
            put_many(out, conversation, key, users);
            put_bytes(out, 4, role.as_bytes());
        }),
        Group::Mute {
            conversation,
            key,
            users,
        } => put_nested(out, 8, |out| put_many(out, conversation, key, users)),
        Group::Unmute {
            conversation,
            key,
            users,
        } => put_nested(out, 9, |out| put_many(out, conversation, key, users)),
        Group::Settings {
            conversation,
            key,
            title,
            open,
        } => put_nested(out, 10, |out| {
            put_texts(out, &[conversation, key]);
            if let Some(title) = title {
                put_message(out, 3, title.as_bytes());
            }
            put_present(out, 4, open.map(u64::from));
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

fn put_many(out: &mut Vec<u8>, conversation: &str, key: &str, users: &[Cow<'_, str>]) {
    put_texts(out, &[conversation, key]);
    put_repeated(out, 3, users);
}

pub(super) fn put_repeated(out: &mut Vec<u8>, field: u32, texts: &[Cow<'_, str>]) {
    for text in texts {
        put_message(out, field, text.as_bytes());
    }
}
