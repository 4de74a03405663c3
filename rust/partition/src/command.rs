//! `imfast.log.v1.Command` as it stands on the wire, borrowed.

use imfast_wire::protobuf::{Malformed, Reader, Value};

/// Field numbers of the kinds (spec/log.proto).
pub(crate) mod field {
    pub(crate) const MESSAGE_ID: u32 = 5;
    pub(crate) const EXPIRES_MS: u32 = 6;
    pub(crate) const BY_SERVER: u32 = 7;
    pub(crate) const SEND: u32 = 8;
    pub(crate) const CREATE: u32 = 9;
    pub(crate) const JOIN: u32 = 10;
    pub(crate) const LEAVE: u32 = 11;
    pub(crate) const ADD: u32 = 12;
    pub(crate) const REMOVE: u32 = 13;
    pub(crate) const ACK: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const CURSORS: u32 = 16;
    pub(crate) const RECALL: u32 = 17;
    pub(crate) const EDIT: u32 = 18;
    pub(crate) const REACT: u32 = 19;
    pub(crate) const ROLE: u32 = 20;
    pub(crate) const MUTE: u32 = 21;
    pub(crate) const UNMUTE: u32 = 22;
    pub(crate) const SETTINGS: u32 = 23;
}

/// One command, read without a copy.
#[derive(Debug, Default)]
pub struct Command<'a> {
    /// Whom the conversation belongs to.
    pub tenant: &'a [u8],
    /// Who acts.
    pub user: &'a str,
    /// Idempotency key; empty without one.
    pub key: &'a [u8],
    /// Conversation id.
    pub conversation: &'a str,
    /// Snowflake id, 0 before the command was logged and where it gets none.
    pub message_id: u64,
    /// When the message that an edit is of expires, milliseconds since 1970; 0 for never. As the
    /// id, it is set by the owner before logging.
    pub(crate) expires_ms: u64,
    /// The server acts itself: rights are not asked for.
    pub by_server: bool,
    /// Field number of the kind, 0 if there is none that we know.
    pub(crate) kind: u32,
    /// The kind's own message.
    pub body: &'a [u8],
}

impl<'a> Command<'a> {
    /// The kind's name in `spec/log.proto`; "unknown" for one of a newer version.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            field::SEND => "send",
            field::CREATE => "create",
            field::JOIN => "join",
            field::LEAVE => "leave",
            field::ADD => "add",
            field::REMOVE => "remove",
            field::ACK => "ack",
            field::READ => "read",
            field::CURSORS => "cursors",
            field::RECALL => "recall",
            field::EDIT => "edit",
            field::REACT => "react",
            field::ROLE => "role",
            field::MUTE => "mute",
            field::UNMUTE => "unmute",
            field::SETTINGS => "settings",
            _ => "unknown",
        }
    }

    /// Reads one command of the log.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut command = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => command.tenant = value.bytes(),
                2 => command.user = value.text(reader.offset())?,
                3 => command.key = value.bytes(),
                4 => command.conversation = value.text(reader.offset())?,
                field::MESSAGE_ID => command.message_id = value.number(),
                field::EXPIRES_MS => command.expires_ms = value.number(),
                field::BY_SERVER => command.by_server = value.number() != 0,
                field::SEND..=field::SETTINGS => {
                    command.kind = number;
                    command.body = value.bytes();
                }
                _ => {}
            }
        }
        Ok(command)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Send<'a> {
    pub(crate) peer: &'a str,
    pub(crate) content: &'a [u8],
}

impl<'a> Send<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut send = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => send.peer = value.text(reader.offset())?,
                2 => send.content = value.bytes(),
                _ => {}
            }
        }
        Ok(send)
    }

    /// How long the message lives, 0 for ever; none if the content holds anything but fields 6 to 13
    /// of `Message`: a smuggled field 4 would overwrite the sender of the row that it is appended to.
    pub(crate) fn ttl_of_clean_content(&self) -> Option<u64> {
        let mut ttl_ms = 0;
        let mut reader = Reader::new(self.content);
        loop {
            match reader.field() {
                Ok(Some((10, value))) => ttl_ms = value.number(),
                Ok(Some((6..=13, _))) => {}
                Ok(None) => return Some(ttl_ms),
                _ => return None,
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Create<'a> {
    pub(crate) title: &'a str,
    pub(crate) members: Vec<&'a str>,
    pub(crate) open: bool,
}

impl<'a> Create<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut create = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => create.title = value.text(reader.offset())?,
                2 => create.members.push(value.text(reader.offset())?),
                3 => create.open = value.number() != 0,
                _ => {}
            }
        }
        Ok(create)
    }
}

/// The users of an add or a remove.
pub(crate) fn users(body: &[u8]) -> Result<Vec<&str>, Malformed> {
    let mut users = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            users.push(value.text(reader.offset())?);
        }
    }
    Ok(users)
}

#[derive(Debug, Default)]
pub(crate) struct Cursor<'a> {
    pub(crate) seq: u64,
    pub(crate) device: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, value)) = reader.field()? {
            match (number, value) {
                (1, Value::Varint(seq)) => cursor.seq = seq,
                (2, value) => cursor.device = value.text(reader.offset())?,
                _ => {}
            }
        }
        Ok(cursor)
    }
}

/// One user's cursors in one conversation.
#[derive(Debug, Default)]
pub(crate) struct Reached<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) user: &'a str,
    pub(crate) read: u64,
    /// Devices, and up to where each has what there is.
    pub(crate) acks: Vec<(&'a str, u64)>,
}

/// The cursors that an owner puts together, conversation by conversation.
pub(crate) fn cursors(body: &[u8]) -> Result<Vec<Reached<'_>>, Malformed> {
    let mut all = Vec::new();
    let mut reader = Reader::new(body);
    while let Some((number, value)) = reader.field()? {
        if number != 1 {
            continue;
        }
        let mut conversation = "";
        let mut inner = Reader::new(value.bytes());
        while let Some((number, value)) = inner.field()? {
            match number {
                1 => conversation = value.text(inner.offset())?,
                2 => all.push(Reached {
                    conversation,
                    ..reached(value.bytes())?
                }),
                _ => {}
            }
        }
    }
    Ok(all)
}

fn reached(bytes: &[u8]) -> Result<Reached<'_>, Malformed> {
    let mut reached = Reached::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => reached.user = value.text(reader.offset())?,
            2 => reached.read = value.number(),
            3 => {
                let ack = Cursor::parse(value.bytes())?;
                reached.acks.push((ack.device, ack.seq));
            }
            _ => {}
        }
    }
    Ok(reached)
}

/// What is done to a message: recall, edit or react.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) seq: u64,
    /// Fields of `imfast.v1.Event`: the new body or the reaction.
    pub(crate) content: &'a [u8],
}

impl<'a> Change<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut change = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => change.seq = value.number(),
                2 => change.content = value.bytes(),
                _ => {}
            }
        }
        Ok(change)
    }

    /// Whether the content holds nothing but what the event of `kind` may take over.
    pub(crate) fn content_is_clean(&self, kind: u32) -> bool {
        let mut reader = Reader::new(self.content);
        loop {
            match reader.field() {
                Ok(Some((10..=13, _))) if kind == field::EDIT => {}
                Ok(Some((14..=15, _))) if kind == field::REACT => {}
                Ok(None) => return true,
                _ => return false,
            }
        }
    }
}

/// The users of a change of roles, and their new role's name.
pub(crate) fn roles(body: &[u8]) -> Result<(Vec<&str>, &str), Malformed> {
    let mut role = "";
    let mut reader = Reader::new(body);
    while let Some((number, value)) = reader.field()? {
        if number == 2 {
            role = value.text(reader.offset())?;
        }
    }
    Ok((users(body)?, role))
}

/// What changes of a group's title and openness.
pub(crate) fn settings(body: &[u8]) -> Result<(Option<&str>, Option<bool>), Malformed> {
    let (mut title, mut open) = (None, None);
    let mut reader = Reader::new(body);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => title = Some(value.text(reader.offset())?),
            2 => open = Some(value.number() != 0),
            _ => {}
        }
    }
    Ok((title, open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_with_a_field_of_the_row_prefix_is_not_clean() {
        let clean = Send {
            peer: "",
            content: &[0x3a, 2, b'h', b'i', 0x60, 1],
        };
        assert_eq!(clean.ttl_of_clean_content(), Some(0));
        let forged_sender = Send {
            peer: "",
            content: &[0x3a, 2, b'h', b'i', 0x22, 1, b'x'],
        };
        assert_eq!(forged_sender.ttl_of_clean_content(), None);
        let cut_off = Send {
            peer: "",
            content: &[0x3a, 9, b'h'],
        };
        assert_eq!(cut_off.ttl_of_clean_content(), None);
        let mortal = Send {
            peer: "",
            content: &[0x3a, 2, b'h', b'i', 0x50, 7],
        };
        assert_eq!(mortal.ttl_of_clean_content(), Some(7));
    }
}
