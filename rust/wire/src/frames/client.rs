//! What a client may say. Text borrows from the frame's bytes; it is copied only where JSON
//! escapes or base64 leave no choice.

use std::borrow::Cow;

use crate::protobuf::{put_bytes, put_message, put_nested, put_number};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFrame<'a> {
    /// Other than 0 asks for exactly one reply; at most [`super::MAX_NUMBER`].
    pub id: u64,
    pub verb: Verb<'a>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb<'a> {
    /// First on every connection. `sync` is empty or a sync token ([`super::token`]).
    Connect {
        token: Cow<'a, str>,
        device: Cow<'a, str>,
        sync: Cow<'a, str>,
    },
    /// A new access token for the running session.
    Refresh {
        token: Cow<'a, str>,
    },
    Send(Send<'a>),
    /// Delivered on this device, everything up to `seq`.
    Ack {
        conversation: Cow<'a, str>,
        seq: u64,
    },
    /// Read by this user, everything up to `seq`.
    Read {
        conversation: Cow<'a, str>,
        seq: u64,
    },
    /// A page of one conversation; at most one of `before` and `after`.
    History {
        conversation: Cow<'a, str>,
        before: Option<u64>,
        after: Option<u64>,
        limit: Option<u32>,
    },
    /// A page of the user's conversations behind the id `after` (empty: from the start).
    Conversations {
        after: Cow<'a, str>,
        limit: Option<u32>,
    },
    Group(Group<'a>),
    /// How many have the message `seq`, and how many have read it.
    Receipts {
        conversation: Cow<'a, str>,
        seq: u64,
    },
    /// Takes the content of the message `seq` away, for everybody.
    Recall {
        conversation: Cow<'a, str>,
        seq: u64,
        key: Cow<'a, str>,
    },
    /// Gives the message `seq` another body.
    Edit {
        conversation: Cow<'a, str>,
        seq: u64,
        key: Cow<'a, str>,
        body: Body<'a>,
    },
    /// Adds a reaction to the message `seq`, or removes one.
    React {
        conversation: Cow<'a, str>,
        seq: u64,
        key: Cow<'a, str>,
        reaction: Cow<'a, str>,
        remove: bool,
    },
    Presence(Presence<'a>),
    Ping,
    /// A verb, or an action of `group`, that this version does not know: to be answered with
    /// [`super::codes::UNSUPPORTED`].
    Unknown,
}

/// A message on its way to a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send<'a> {
    pub to: Target<'a>,
    /// Idempotency key; empty: none.
    pub key: Cow<'a, str>,
    pub body: Body<'a>,
    /// Milliseconds after which the message is skipped; 0: never.
    pub ttl_ms: u64,
    /// Delivered without a notification.
    pub silent: bool,
    /// Neither stored nor numbered.
    pub ephemeral: bool,
    pub headers: Vec<Header<'a>>,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// The direct conversation with this user.
    User(Cow<'a, str>),
    /// A group, by its conversation id.
    Group(Cow<'a, str>),
    /// Any conversation, by its id.
    Conversation(Cow<'a, str>),
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Valid JSON text without line breaks, at most [`super::JSON_DEPTH`] deep.
    Json(Cow<'a, str>),
    Text(Cow<'a, str>),
    Bytes {
        data: Cow<'a, [u8]>,
        /// MIME type; empty: unknown.
        content_type: Cow<'a, str>,
    },
}

impl Body<'_> {
    /// Size of the body alone, without envelope and headers.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(text) | Self::Text(text) => text.len(),
            Self::Bytes { data, .. } => data.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A name and value of the application's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

impl Send<'_> {
    /// Appends fields 6 to 13 of `imfast.v1.Message`: what the log keeps and rows end with. The
    /// same message gives the same bytes whichever encoding it came in, so that a retry over
    /// another transport is no conflict.
    pub fn write_content(&self, out: &mut Vec<u8>) {
        write_content(
            out,
            Some(&self.body),
            self.ttl_ms,
            &self.headers,
            self.silent,
            self.ephemeral,
        );
    }
}

/// Appends fields 10 to 13 of `imfast.v1.Event`: the body that an edit gives.
pub fn write_edited_body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Json(text) => put_message(out, 10, text.as_bytes()),
        Body::Text(text) => put_message(out, 11, text.as_bytes()),
        Body::Bytes { data, content_type } => {
            put_message(out, 12, data);
            put_bytes(out, 13, content_type.as_bytes());
        }
    }
}

pub(super) fn write_content(
    out: &mut Vec<u8>,
    body: Option<&Body<'_>>,
    ttl_ms: u64,
    headers: &[Header<'_>],
    silent: bool,
    ephemeral: bool,
) {
    match body {
        Some(Body::Json(text)) => put_message(out, 6, text.as_bytes()),
        Some(Body::Text(text)) => put_message(out, 7, text.as_bytes()),
        Some(Body::Bytes { data, content_type }) => {
            put_message(out, 8, data);
            put_bytes(out, 9, content_type.as_bytes());
        }
        None => {}
    }
    put_number(out, 10, ttl_ms);
    for header in headers {
        put_nested(out, 11, |out| {
            put_bytes(out, 1, header.name.as_bytes());
            put_bytes(out, 2, header.value.as_bytes());
        });
    }
    put_number(out, 12, u64::from(silent));
    put_number(out, 13, u64::from(ephemeral));
}

/// What is done to a group, or asked about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group<'a> {
    Create {
        key: Cow<'a, str>,
        title: Cow<'a, str>,
        members: Vec<Cow<'a, str>>,
        /// Anybody of the tenant may join.
        open: bool,
    },
    Join {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
    },
    Leave {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
    },
    Add {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        users: Vec<Cow<'a, str>>,
    },
    Remove {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        users: Vec<Cow<'a, str>>,
    },
    /// Makes members `admin` or `member` again, or one of them the `owner`.
    Role {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        users: Vec<Cow<'a, str>>,
        role: Cow<'a, str>,
    },
    /// Takes the right to write from members.
    Mute {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        users: Vec<Cow<'a, str>>,
    },
    Unmute {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        users: Vec<Cow<'a, str>>,
    },
    /// Changes what is given.
    Settings {
        conversation: Cow<'a, str>,
        key: Cow<'a, str>,
        title: Option<Cow<'a, str>>,
        open: Option<bool>,
    },
    /// A page of the members behind the user `after` (empty: from the start).
    Members {
        conversation: Cow<'a, str>,
        after: Cow<'a, str>,
        limit: Option<u32>,
    },
}

/// What is said or asked about who is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence<'a> {
    /// Tells of these users now, and of each change.
    Subscribe {
        users: Vec<Cow<'a, str>>,
    },
    Unsubscribe {
        users: Vec<Cow<'a, str>>,
    },
    /// What others are told of this session: `online` or `away`.
    Set {
        status: Cow<'a, str>,
    },
}
