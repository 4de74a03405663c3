//! `imfast.log.v1.Command` as it stands on the wire, borrowed.

use imfast_wire::protobuf::{Malformed, Reader, Value};

/// Field numbers of the kinds (spec/log.proto).
pub(crate) mod field {
    pub(crate) const MESSAGE_ID: u32 = 5;
    pub(crate) const SEND: u32 = 8;
    pub(crate) const CREATE: u32 = 9;
    pub(crate) const JOIN: u32 = 10;
    pub(crate) const LEAVE: u32 = 11;
    pub(crate) const ADD: u32 = 12;
    pub(crate) const REMOVE: u32 = 13;
    pub(crate) const ACK: u32 = 14;
    pub(crate) const READ: u32 = 15;
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
                field::SEND..=field::READ => {
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

    /// Whether the content holds nothing but fields 6 to 13 of `Message`: a smuggled field 4
    /// would overwrite the sender of the row that it is appended to.
    pub(crate) fn content_is_clean(&self) -> bool {
        let mut reader = Reader::new(self.content);
        loop {
            match reader.field() {
                Ok(Some((6..=13, _))) => {}
                Ok(None) => return true,
                _ => return false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_with_a_field_of_the_row_prefix_is_not_clean() {
        let clean = Send {
            peer: "",
            content: &[0x3a, 2, b'h', b'i', 0x60, 1],
        };
        assert!(clean.content_is_clean());
        let forged_sender = Send {
            peer: "",
            content: &[0x3a, 2, b'h', b'i', 0x22, 1, b'x'],
        };
        assert!(!forged_sender.content_is_clean());
        assert!(
            !Send {
                peer: "",
                content: &[0x3a, 9, b'h']
            }
            .content_is_clean()
        );
    }
}
