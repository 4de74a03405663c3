//! Messages and events from JSON, written to a buffer in protobuf.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::MapAccess;

use super::content::Content;
use super::read::{Fields, flag, ignore, number, read, text, texts, wide};
use crate::frames::client::{write_content, write_edited_body};
use crate::frames::row::write_row_prefix;
use crate::frames::server::Row;
use crate::protobuf::{put_bytes, put_message, put_number};

/// A row in the buffer of rows.
pub(super) enum Stored {
    Message(Range<usize>),
    Event(Range<usize>),
}

impl Stored {
    pub(super) fn row(self, rows: &[u8]) -> Row<'_> {
        match self {
            Self::Message(range) => Row::Message(&rows[range]),
            Self::Event(range) => Row::Event(&rows[range]),
        }
    }
}

/// A row: one of the two, or neither where it is of a kind that this version does not know.
#[derive(Default)]
pub(super) struct Item<'a> {
    message: Option<Box<MessageFields<'a>>>,
    event: Option<Box<EventFields<'a>>>,
}

impl<'de> Item<'de> {
    /// The message that follows in `map`.
    pub(super) fn message<A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(Self {
            message: Some(Box::new(read(map)?)),
            event: None,
        })
    }

    /// The event that follows in `map`.
    pub(super) fn event<A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(Self {
            message: None,
            event: Some(Box::new(read(map)?)),
        })
    }

    pub(super) fn store(self, rows: &mut Vec<u8>) -> Option<Stored> {
        let start = rows.len();
        if let Some(message) = self.message {
            message.write(rows);
            return Some(Stored::Message(start..rows.len()));
        }
        self.event?.write(rows);
        Some(Stored::Event(start..rows.len()))
    }
}

impl<'de> Fields<'de> for Item<'de> {
    const NAME: &'static str = "an item";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "message" => self.message = Some(Box::new(read(map)?)),
            "event" => self.event = Some(Box::new(read(map)?)),
            _ => ignore(map)?,
        }
        Ok(())
    }
}

/// The fields that a message and an event have in common.
#[derive(Default)]
struct Prefix<'a> {
    conversation: Cow<'a, str>,
    seq: u64,
    message_id: u64,
    from: Cow<'a, str>,
    timestamp_ms: u64,
}

impl Prefix<'_> {
    fn write(&self, rows: &mut Vec<u8>) {
        write_row_prefix(
            rows,
            &self.conversation,
            self.seq,
            self.message_id,
            &self.from,
            self.timestamp_ms,
        );
    }
}

#[derive(Default)]
struct MessageFields<'a> {
    prefix: Prefix<'a>,
    content: Content<'a>,
    edited_seq: u64,
}

impl MessageFields<'_> {
    fn write(mut self, rows: &mut Vec<u8>) {
        self.prefix.write(rows);
        let body = self.content.take_body().ok();
        write_content(
            rows,
            body.as_ref(),
            self.content.ttl_ms,
            &self.content.headers,
            self.content.silent,
            self.content.ephemeral,
        );
        put_number(rows, 14, self.edited_seq);
    }
}

impl<'de> Fields<'de> for MessageFields<'de> {
    const NAME: &'static str = "message";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.prefix.conversation = text(map, "message.conversation")?,
            "seq" => self.prefix.seq = number(map, "message.seq")?,
            "messageId" => self.prefix.message_id = wide(map, "message.messageId")?,
            "from" => self.prefix.from = text(map, "message.from")?,
            "timestampMs" => self.prefix.timestamp_ms = number(map, "message.timestampMs")?,
            "editedSeq" => self.edited_seq = number(map, "message.editedSeq")?,
            _ => self.content.field(key, map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct EventFields<'a> {
    prefix: Prefix<'a>,
    kind: Cow<'a, str>,
    users: Vec<Cow<'a, str>>,
    title: Cow<'a, str>,
    ref_seq: u64,
    content: Content<'a>,
    reaction: Cow<'a, str>,
    withdrawn: bool,
    role: Cow<'a, str>,
    open: bool,
    expires_ms: u64,
}

impl EventFields<'_> {
    fn write(mut self, rows: &mut Vec<u8>) {
        self.prefix.write(rows);
        put_bytes(rows, 6, self.kind.as_bytes());
        for user in &self.users {
            put_message(rows, 7, user.as_bytes());
        }
        put_bytes(rows, 8, self.title.as_bytes());
        put_number(rows, 9, self.ref_seq);
        if let Ok(body) = self.content.take_body() {
            write_edited_body(rows, &body);
        }
        put_bytes(rows, 14, self.reaction.as_bytes());
        put_number(rows, 15, u64::from(self.withdrawn));
        put_bytes(rows, 16, self.role.as_bytes());
        put_number(rows, 17, u64::from(self.open));
        put_number(rows, 18, self.expires_ms);
    }
}

impl<'de> Fields<'de> for EventFields<'de> {
    const NAME: &'static str = "event";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.prefix.conversation = text(map, "event.conversation")?,
            "seq" => self.prefix.seq = number(map, "event.seq")?,
            "messageId" => self.prefix.message_id = wide(map, "event.messageId")?,
            "by" => self.prefix.from = text(map, "event.by")?,
            "timestampMs" => self.prefix.timestamp_ms = number(map, "event.timestampMs")?,
            "type" => self.kind = text(map, "event.type")?,
            "user" => self.users = vec![text(map, "event.user")?],
            "users" => self.users = texts(map, "event.users")?,
            "title" => self.title = text(map, "event.title")?,
            "refSeq" => self.ref_seq = number(map, "event.refSeq")?,
            "json" | "text" | "base64" | "contentType" => self.content.field(key, map)?,
            "reaction" => self.reaction = text(map, "event.reaction")?,
            "withdrawn" => self.withdrawn = flag(map, "event.withdrawn")?,
            "role" => self.role = text(map, "event.role")?,
            "open" => self.open = flag(map, "event.open")?,
            "expiresMs" => self.expires_ms = number(map, "event.expiresMs")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
