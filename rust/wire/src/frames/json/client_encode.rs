//! Client frames as JSON: what a client of ours says.

use std::borrow::Cow;

use super::write::{
    array, base64, braces, comma, flag, number, object, optional_flag, optional_number,
    optional_text, raw, string, text,
};
use crate::frames::client::{Body, ClientFrame, Group, Header, Presence, Send, Target, Verb};

/// Appends one frame.
pub fn encode_client(frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
    braces(out, |out| {
        optional_number(out, "id", frame.id);
        encode_verb(&frame.verb, out);
    });
}

fn encode_verb(verb: &Verb<'_>, out: &mut Vec<u8>) {
    match verb {
        Verb::Connect {
            token,
            device,
            sync,
        } => object(out, "connect", |out| {
            text(out, "token", token);
            text(out, "device", device);
            optional_text(out, "sync", sync);
        }),
        Verb::Refresh { token } => object(out, "refresh", |out| text(out, "token", token)),
        Verb::Send(send) => object(out, "send", |out| encode_send(send, out)),
        Verb::Ack { conversation, seq } => object(out, "ack", |out| {
            text(out, "conversation", conversation);
            number(out, "seq", *seq);
        }),
        Verb::Read { conversation, seq } => object(out, "read", |out| {
            text(out, "conversation", conversation);
            number(out, "seq", *seq);
        }),
        Verb::History {
            conversation,
            before,
            after,
            limit,
        } => object(out, "history", |out| {
            text(out, "conversation", conversation);
            if let Some(before) = before {
                number(out, "before", *before);
            }
            if let Some(after) = after {
                number(out, "after", *after);
            }
            optional_number(out, "limit", limit.unwrap_or(0).into());
        }),
        Verb::Conversations { after, limit } => object(out, "conversations", |out| {
            optional_text(out, "after", after);
            optional_number(out, "limit", limit.unwrap_or(0).into());
        }),
        Verb::Group(group) => object(out, "group", |out| encode_group(group, out)),
        Verb::Receipts { conversation, seq } => object(out, "receipts", |out| {
            text(out, "conversation", conversation);
            number(out, "seq", *seq);
        }),
        Verb::Recall {
            conversation,
            seq,
            key,
        } => object(out, "recall", |out| encode_of(conversation, *seq, key, out)),
        Verb::Edit {
            conversation,
            seq,
            key,
            body,
        } => object(out, "edit", |out| {
            encode_of(conversation, *seq, key, out);
            encode_content(body, out);
        }),
        Verb::React {
            conversation,
            seq,
            key,
            reaction,
            remove,
        } => object(out, "react", |out| {
            encode_of(conversation, *seq, key, out);
            text(out, "reaction", reaction);
            optional_flag(out, "remove", *remove);
        }),
        Verb::Presence(presence) => object(out, "presence", |out| match presence {
            Presence::Subscribe { users } => {
                object(out, "subscribe", |out| strings(out, "users", users));
            }
            Presence::Unsubscribe { users } => {
                object(out, "unsubscribe", |out| strings(out, "users", users));
            }
            Presence::Set { status } => object(out, "set", |out| text(out, "status", status)),
        }),
        Verb::Ping => object(out, "ping", |_| {}),
        Verb::Unknown => object(out, "unknown", |_| {}),
    }
}

fn encode_send(send: &Send<'_>, out: &mut Vec<u8>) {
    object(out, "to", |out| match &send.to {
        Target::User(id) => text(out, "user", id),
        Target::Group(id) => text(out, "group", id),
        Target::Conversation(id) => text(out, "conversation", id),
    });
    optional_text(out, "key", &send.key);
    encode_content(&send.body, out);
    optional_number(out, "ttlMs", send.ttl_ms);
    encode_headers(&send.headers, out);
    optional_flag(out, "silent", send.silent);
    optional_flag(out, "ephemeral", send.ephemeral);
}

fn encode_content(body: &Body<'_>, out: &mut Vec<u8>) {
    match body {
        Body::Json(json) => raw(out, "json", json),
        Body::Text(body) => text(out, "text", body),
        Body::Bytes { data, content_type } => {
            base64(out, "base64", data);
            optional_text(out, "contentType", content_type);
        }
    }
}

/// Which message something is done to, under which key.
fn encode_of(conversation: &str, seq: u64, key: &str, out: &mut Vec<u8>) {
    text(out, "conversation", conversation);
    number(out, "seq", seq);
    optional_text(out, "key", key);
}

fn encode_headers(headers: &[Header<'_>], out: &mut Vec<u8>) {
    if headers.is_empty() {
        return;
    }
    object(out, "headers", |out| {
        for header in headers {
            comma(out);
            string(out, &header.name);
            out.push(b':');
            string(out, &header.value);
        }
    });
}

fn encode_group(group: &Group<'_>, out: &mut Vec<u8>) {
    match group {
        Group::Create {
            key,
            title,
            members,
            open,
        } => object(out, "create", |out| {
            optional_text(out, "key", key);
            optional_text(out, "title", title);
            strings(out, "members", members);
            flag(out, "open", *open);
        }),
        Group::Join { conversation, key } => object(out, "join", |out| {
            text(out, "conversation", conversation);
            optional_text(out, "key", key);
        }),
        Group::Leave { conversation, key } => object(out, "leave", |out| {
            text(out, "conversation", conversation);
            optional_text(out, "key", key);
        }),
        Group::Add {
            conversation,
            key,
            users,
        } => object(out, "add", |out| {
            encode_many(conversation, key, users, out);
        }),
        Group::Remove {
            conversation,
            key,
            users,
        } => object(out, "remove", |out| {
            encode_many(conversation, key, users, out);
        }),
        Group::Role {
            conversation,
            key,
            users,
            role,
        } => object(out, "role", |out| {
            encode_many(conversation, key, users, out);
            text(out, "role", role);
        }),
        Group::Mute {
            conversation,
            key,
            users,
        } => object(out, "mute", |out| {
            encode_many(conversation, key, users, out);
        }),
        Group::Unmute {
            conversation,
            key,
            users,
        } => object(out, "unmute", |out| {
            encode_many(conversation, key, users, out);
        }),
        Group::Settings {
            conversation,
            key,
            title,
            open,
        } => object(out, "settings", |out| {
            text(out, "conversation", conversation);
            optional_text(out, "key", key);
            if let Some(title) = title {
                text(out, "title", title);
            }
            if let Some(open) = open {
                flag(out, "open", *open);
            }
        }),
        Group::Members {
            conversation,
            after,
            limit,
        } => object(out, "members", |out| {
            text(out, "conversation", conversation);
            optional_text(out, "after", after);
            optional_number(out, "limit", limit.unwrap_or(0).into());
        }),
    }
}

fn encode_many(conversation: &str, key: &str, users: &[Cow<'_, str>], out: &mut Vec<u8>) {
    text(out, "conversation", conversation);
    optional_text(out, "key", key);
    strings(out, "users", users);
}

fn strings(out: &mut Vec<u8>, name: &str, texts: &[Cow<'_, str>]) {
    array(out, name, |out| {
        for text in texts {
            comma(out);
            string(out, text);
        }
    });
}
