//! Encoded commands.

use imfast_wire::frames::id;
use imfast_wire::protobuf::{put_bytes, put_message, put_number};

use super::TENANT;

fn command(
    user: &str,
    key: &str,
    conversation: &str,
    kind: u32,
    body: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, TENANT);
    put_bytes(&mut out, 2, user.as_bytes());
    put_bytes(&mut out, 3, key.as_bytes());
    put_bytes(&mut out, 4, conversation.as_bytes());
    let mut nested = Vec::new();
    body(&mut nested);
    put_message(&mut out, kind, &nested);
    out
}

pub fn direct(a: &str, b: &str) -> String {
    id::direct_conversation(TENANT, a, b)
}

pub fn group(creator: &str, key: &str) -> String {
    id::group_conversation(TENANT, creator, key)
}

/// A send with raw content, an empty peer meaning none.
pub fn send_content(
    user: &str,
    key: &str,
    conversation: &str,
    peer: &str,
    content: &[u8],
) -> Vec<u8> {
    command(user, key, conversation, 8, |out| {
        put_bytes(out, 1, peer.as_bytes());
        put_bytes(out, 2, content);
    })
}

pub fn send(user: &str, key: &str, conversation: &str, text: &str) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 7, text.as_bytes());
    send_content(user, key, conversation, "", &content)
}

/// A send to the direct conversation with `peer`.
pub fn tell(user: &str, key: &str, peer: &str, text: &str) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 7, text.as_bytes());
    send_content(user, key, &direct(user, peer), peer, &content)
}

pub fn create(user: &str, key: &str, title: &str, members: &[&str], open: bool) -> Vec<u8> {
    command(user, key, &group(user, key), 9, |out| {
        put_bytes(out, 1, title.as_bytes());
        for member in members {
            put_message(out, 2, member.as_bytes());
        }
        put_number(out, 3, u64::from(open));
    })
}

/// A create with an id of its own.
pub fn create_as(user: &str, key: &str, conversation: &str, members: &[&str]) -> Vec<u8> {
    command(user, key, conversation, 9, |out| {
        for member in members {
            put_message(out, 2, member.as_bytes());
        }
    })
}

pub fn join(user: &str, key: &str, conversation: &str) -> Vec<u8> {
    command(user, key, conversation, 10, |_| {})
}

pub fn leave(user: &str, key: &str, conversation: &str) -> Vec<u8> {
    command(user, key, conversation, 11, |_| {})
}

pub fn add(user: &str, key: &str, conversation: &str, users: &[&str]) -> Vec<u8> {
    command(user, key, conversation, 12, |out| put_users(out, users))
}

pub fn remove(user: &str, key: &str, conversation: &str, users: &[&str]) -> Vec<u8> {
    command(user, key, conversation, 13, |out| put_users(out, users))
}

fn put_users(out: &mut Vec<u8>, users: &[&str]) {
    for user in users {
        put_message(out, 1, user.as_bytes());
    }
}

pub fn ack(user: &str, device: &str, conversation: &str, seq: u64) -> Vec<u8> {
    command(user, "", conversation, 14, |out| {
        put_number(out, 1, seq);
        put_bytes(out, 2, device.as_bytes());
    })
}

pub fn read(user: &str, conversation: &str, seq: u64) -> Vec<u8> {
    command(user, "", conversation, 15, |out| put_number(out, 1, seq))
}

/// The same command with a message id in front, which only the owner may give.
pub fn with_id(command: &[u8], message_id: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 5, message_id);
    out.extend_from_slice(command);
    out
}

fn change(
    user: &str,
    key: &str,
    conversation: &str,
    kind: u32,
    seq: u64,
    content: &[u8],
) -> Vec<u8> {
    command(user, key, conversation, kind, |out| {
        put_number(out, 1, seq);
        put_bytes(out, 2, content);
    })
}

pub fn recall(user: &str, key: &str, conversation: &str, seq: u64) -> Vec<u8> {
    change(user, key, conversation, 17, seq, &[])
}

pub fn edit(user: &str, key: &str, conversation: &str, seq: u64, text: &str) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 11, text.as_bytes());
    change(user, key, conversation, 18, seq, &content)
}

pub fn react(user: &str, key: &str, conversation: &str, seq: u64, reaction: &str) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 14, reaction.as_bytes());
    change(user, key, conversation, 19, seq, &content)
}

/// A send that lives for a time.
pub fn mortal(user: &str, key: &str, conversation: &str, text: &str, ttl_ms: u64) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 7, text.as_bytes());
    put_number(&mut content, 10, ttl_ms);
    send_content(user, key, conversation, "", &content)
}

pub fn role(user: &str, key: &str, conversation: &str, users: &[&str], role: &str) -> Vec<u8> {
    command(user, key, conversation, 20, |out| {
        put_users(out, users);
        put_bytes(out, 2, role.as_bytes());
    })
}

pub fn mute(user: &str, key: &str, conversation: &str, users: &[&str], muted: bool) -> Vec<u8> {
    let kind = if muted { 21 } else { 22 };
    command(user, key, conversation, kind, |out| put_users(out, users))
}

pub fn settings(
    user: &str,
    key: &str,
    conversation: &str,
    title: Option<&str>,
    open: Option<bool>,
) -> Vec<u8> {
    command(user, key, conversation, 23, |out| {
        if let Some(title) = title {
            put_message(out, 1, title.as_bytes());
        }
        if let Some(open) = open {
            out.extend_from_slice(&[2 << 3, u8::from(open)]);
        }
    })
}
