//! What a client is told: replies, which echo a request's id, and pushes, whose id is 0.

use std::borrow::Cow;
use std::ops::Deref;

use super::codes::Code;

/// A reply or a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame<'a> {
    /// The request's id; 0 is a push.
    pub id: u64,
    pub body: ServerBody<'a>,
}

impl<'a> ServerFrame<'a> {
    /// A push.
    pub fn push(body: ServerBody<'a>) -> Self {
        Self { id: 0, body }
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerBody<'a> {
    Connected {
        user: Cow<'a, str>,
        session: Cow<'a, str>,
        /// Node and worker, as in `n1.w0`.
        server: Cow<'a, str>,
        heartbeat_ms: u64,
        server_time_ms: u64,
        limits: Limits,
    },
    Refreshed {
        expires_at_ms: u64,
    },
    Sent {
        conversation: Cow<'a, str>,
        /// 0 for an ephemeral message.
        seq: u64,
        /// 0 for an ephemeral message.
        message_id: u64,
        partition: u16,
        /// Position in the partition's log; 0 for an ephemeral message.
        position: u64,
        timestamp_ms: u64,
        duplicate: bool,
    },
    Acked,
    History {
        items: List<'a, Row<'a>>,
        more: bool,
    },
    Conversations {
        items: List<'a, Summary<'a>>,
        more: bool,
    },
    /// Answer to every action of `group`. `seq` is 0 for `members`, which alone has the list.
    Group {
        conversation: Cow<'a, str>,
        seq: u64,
        members: List<'a, Member<'a>>,
        more: bool,
    },
    Pong {
        server_time_ms: u64,
    },
    /// How many of a conversation's other members have the message `seq`.
    Receipts {
        conversation: Cow<'a, str>,
        seq: u64,
        delivered: u64,
        read: u64,
        members: u64,
    },
    /// How far `user` has come. 0 where that is not known to have changed.
    Receipt {
        conversation: Cow<'a, str>,
        user: Cow<'a, str>,
        delivered_seq: u64,
        read_seq: u64,
    },
    /// Who is online: an answer, or a push of what changed.
    Presence {
        items: List<'a, Status<'a>>,
    },
    /// Made by [`ServerBody::error`]; the fields stand for themselves so that a client can be
    /// told a code that its catalogue does not have yet.
    Error {
        code: u32,
        name: Cow<'a, str>,
        retryable: bool,
        /// 0: nothing is said about when.
        retry_after_ms: u64,
        message: Cow<'a, str>,
    },
    /// A `message` or `event` push.
    Row(Row<'a>),
    Checkpoint {
        token: Cow<'a, str>,
    },
    CaughtUp {
        token: Cow<'a, str>,
    },
    TokenExpiring {
        expires_at_ms: u64,
    },
    Kicked {
        reason: Cow<'a, str>,
    },
    GoAway {
        reconnect_after_ms: u64,
    },
    Expired {
        conversation: Cow<'a, str>,
        from_seq: u64,
        to_seq: u64,
    },
    /// Something that this version does not know. Only decoders make it; it is written as a
    /// frame without a body.
    Unknown,
}

impl<'a> ServerBody<'a> {
    /// An error of the catalogue. An empty `message` gives the catalogue's own.
    pub fn error(
        code: &'static Code,
        retry_after_ms: u64,
        message: impl Into<Cow<'a, str>>,
    ) -> Self {
        let message = message.into();
        Self::Error {
            code: u32::from(code.number),
            name: Cow::Borrowed(code.name),
            retryable: code.retryable,
            retry_after_ms,
            message: if message.is_empty() {
                Cow::Borrowed(code.message)
            } else {
                message
            },
        }
    }
}

/// What the server accepts, told once per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub body_bytes: u64,
    pub frame_bytes: u64,
    pub members_per_call: u64,
    pub page_items: u64,
}

/// A stored message or event: the protobuf bytes of `imfast.v1.Message` or `imfast.v1.Event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'a> {
    Message(&'a [u8]),
    Event(&'a [u8]),
}

impl<'a> Row<'a> {
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Message(bytes) | Self::Event(bytes) => bytes,
        }
    }
}

/// A conversation as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary<'a> {
    pub conversation: Cow<'a, str>,
    /// `direct` or `group`.
    pub kind: Cow<'a, str>,
    /// Of a group; may be empty.
    pub title: Cow<'a, str>,
    /// The other user of a direct conversation.
    pub peer: Cow<'a, str>,
    /// The last seq.
    pub seq: u64,
    pub joined_seq: u64,
    pub read_seq: u64,
    pub acked_seq: u64,
    pub unread: u64,
    pub last: Option<Row<'a>>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    pub user: Cow<'a, str>,
    pub role: Cow<'a, str>,
    pub joined_seq: u64,
}

/// Whether somebody is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status<'a> {
    pub user: Cow<'a, str>,
    /// `online`, `away` or `offline`.
    pub status: Cow<'a, str>,
    /// When the user was last online, milliseconds since 1970; 0: now, or not known.
    pub last_seen_ms: u64,
}

/// The items of a page: borrowed by who encodes, owned by who decodes.
#[derive(Debug, Clone)]
pub enum List<'a, T> {
    Borrowed(&'a [T]),
    Owned(Vec<T>),
}

impl<T> Deref for List<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Borrowed(items) => items,
            Self::Owned(items) => items,
        }
    }
}

impl<T: PartialEq> PartialEq for List<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for List<'_, T> {}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(items: &'a [T]) -> Self {
        Self::Borrowed(items)
    }
}

impl<'a, T> From<&'a Vec<T>> for List<'a, T> {
    fn from(items: &'a Vec<T>) -> Self {
        Self::Borrowed(items)
    }
}

impl<T> From<Vec<T>> for List<'_, T> {
    fn from(items: Vec<T>) -> Self {
        Self::Owned(items)
    }
}

/// Appends a position as clients see it, `"<partition>-<position>"` without the quotes.
pub(super) fn position_text(partition: u16, position: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(partition).as_bytes());
    out.push(b'-');
    out.extend_from_slice(digits.format(position).as_bytes());
}

/// Reads what [`position_text`] wrote; an absent one is (0, 0).
pub(super) fn parse_position(text: &str) -> Option<(u16, u64)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let (partition, position) = text.split_once('-')?;
    Some((partition.parse().ok()?, position.parse().ok()?))
}
