//! Server frames from JSON: what a client of ours hears.

use std::borrow::Cow;

use serde::de::DeserializeSeed as _;
use serde::de::{Deserialize, Deserializer, MapAccess};

use super::read::{Fields, Object, flag, ignore, number, objects, read, text, wide};
use super::server_rows::{Item, Stored};
use super::{message_of, offset_of, utf8};
use crate::frames::FrameError;
use crate::frames::server::{
    Limits, List, Member, Row, ServerBody, ServerFrame, Status, Summary, parse_position,
};

/// Reads one frame, all of `input` but for whitespace. The rows in it are written to `rows` in
/// protobuf, from where the frame borrows them.
pub fn decode_server<'a>(
    input: &'a [u8],
    rows: &'a mut Vec<u8>,
) -> Result<ServerFrame<'a>, FrameError> {
    let text = utf8(input)?;
    let parsed: Frame<'a> = serde_json::from_str(text).map_err(|error| {
        let (offset, message) = (offset_of(text, &error), message_of(&error));
        if error.is_data() {
            FrameError::invalid(offset, message)
        } else {
            FrameError::malformed(offset, message)
        }
    })?;
    parsed.frame(rows, text.len())
}

/// A frame whose rows are still JSON's.
#[derive(Default)]
struct Frame<'a> {
    id: u64,
    body: Option<Body<'a>>,
}

enum Body<'a> {
    Plain(ServerBody<'a>),
    Connected(Box<Plain<'a>>),
    Sent(Box<Plain<'a>>),
    Row(Item<'a>),
    History(HistoryPage<'a>),
    Conversations(ConversationsPage<'a>),
    Group(GroupResult<'a>),
    Presence(StatusList<'a>),
}

impl<'a> Frame<'a> {
    fn frame(self, rows: &'a mut Vec<u8>, end: usize) -> Result<ServerFrame<'a>, FrameError> {
        let body = match self.body {
            None => ServerBody::Unknown,
            Some(Body::Plain(body)) => body,
            Some(Body::Connected(plain)) => plain.connected(),
            Some(Body::Sent(plain)) => plain
                .sent()
                .ok_or_else(|| FrameError::invalid(end, "sent.position: not a position"))?,
            Some(Body::Row(item)) => match item.store(rows) {
                Some(stored) => ServerBody::Row(stored.row(rows)),
                None => ServerBody::Unknown,
            },
            Some(Body::History(page)) => {
                let stored: Vec<Stored> = page
                    .items
                    .into_iter()
                    .filter_map(|item| item.store(rows))
                    .collect();
                let rows: &'a [u8] = rows;
                ServerBody::History {
                    items: stored
                        .into_iter()
                        .map(|row| row.row(rows))
                        .collect::<Vec<_>>()
                        .into(),
                    more: page.more,
                }
            }
            Some(Body::Conversations(page)) => {
                let stored: Vec<(SummaryFields<'a>, Option<Stored>)> = page
                    .items
                    .into_iter()
                    .map(|mut summary| {
                        let last = std::mem::take(&mut summary.last).store(rows);
                        (summary, last)
                    })
                    .collect();
                let rows: &'a [u8] = rows;
                ServerBody::Conversations {
                    items: stored
                        .into_iter()
                        .map(|(fields, last)| fields.summary(last.map(|row| row.row(rows))))
                        .collect::<Vec<_>>()
                        .into(),
                    more: page.more,
                }
            }
            Some(Body::Group(result)) => ServerBody::Group {
                conversation: result.conversation,
                seq: result.seq,
                members: List::Owned(result.members.into_iter().map(|fields| fields.0).collect()),
                more: result.more,
            },
            Some(Body::Presence(list)) => ServerBody::Presence {
                items: List::Owned(list.0.into_iter().map(|fields| fields.0).collect()),
            },
        };
        Ok(ServerFrame { id: self.id, body })
    }
}

impl<'de> Deserialize<'de> for Frame<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut frame = Self::default();
        Object(&mut frame).deserialize(deserializer)?;
        Ok(frame)
    }
}

impl<'de> Fields<'de> for Frame<'de> {
    const NAME: &'static str = "a frame";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let body = match key {
            "id" => {
                self.id = number(map, "id")?;
                return Ok(());
            }
            "sent" => Body::Sent(Box::new(read(map)?)),
            "connected" => Body::Connected(Box::new(read(map)?)),
            "message" => Body::Row(Item::message(map)?),
            "event" => Body::Row(Item::event(map)?),
            "history" => Body::History(read(map)?),
            "conversations" => Body::Conversations(read(map)?),
            "group" => Body::Group(read(map)?),
            "presence" => Body::Presence(read(map)?),
            "acked" => {
                read::<A, Plain<'de>>(map)?;
                Body::Plain(ServerBody::Acked)
            }
            "refreshed" | "pong" | "error" | "checkpoint" | "caughtUp" | "tokenExpiring"
            | "kicked" | "goaway" | "expired" | "receipts" | "receipt" => {
                Body::Plain(read::<A, Plain<'de>>(map)?.body(key))
            }
            _ => return ignore(map),
        };
        self.body = Some(body);
        Ok(())
    }
}

/// The fields of every body that has neither lists nor rows.
#[derive(Default)]
struct Plain<'a> {
    user: Cow<'a, str>,
    session: Cow<'a, str>,
    server: Cow<'a, str>,
    heartbeat_ms: u64,
    server_time_ms: u64,
    limits: LimitFields,
    conversation: Cow<'a, str>,
    seq: u64,
    message_id: u64,
    position: Cow<'a, str>,
    timestamp_ms: u64,
    duplicate: bool,
    expires_at_ms: u64,
    code: u64,
    name: Cow<'a, str>,
    retryable: bool,
    retry_after_ms: u64,
    message: Cow<'a, str>,
    token: Cow<'a, str>,
    reason: Cow<'a, str>,
    reconnect_after_ms: u64,
    from_seq: u64,
    to_seq: u64,
    delivered: u64,
    read: u64,
    members: u64,
    delivered_seq: u64,
    read_seq: u64,
}

impl<'a> Plain<'a> {
    fn connected(self) -> ServerBody<'a> {
        ServerBody::Connected {
            user: self.user,
            session: self.session,
            server: self.server,
            heartbeat_ms: self.heartbeat_ms,
            server_time_ms: self.server_time_ms,
            limits: self.limits.0,
        }
    }

    fn sent(self) -> Option<ServerBody<'a>> {
        let (partition, position) = parse_position(&self.position)?;
        Some(ServerBody::Sent {
            conversation: self.conversation,
            seq: self.seq,
            message_id: self.message_id,
            partition,
            position,
            timestamp_ms: self.timestamp_ms,
            duplicate: self.duplicate,
        })
    }

    fn body(self, name: &str) -> ServerBody<'a> {
        match name {
            "refreshed" => ServerBody::Refreshed {
                expires_at_ms: self.expires_at_ms,
            },
            "pong" => ServerBody::Pong {
                server_time_ms: self.server_time_ms,
            },
            "error" => ServerBody::Error {
                code: u32::try_from(self.code).unwrap_or(u32::MAX),
                name: self.name,
                retryable: self.retryable,
                retry_after_ms: self.retry_after_ms,
                message: self.message,
            },
            "checkpoint" => ServerBody::Checkpoint { token: self.token },
            "caughtUp" => ServerBody::CaughtUp { token: self.token },
            "tokenExpiring" => ServerBody::TokenExpiring {
                expires_at_ms: self.expires_at_ms,
            },
            "kicked" => ServerBody::Kicked {
                reason: self.reason,
            },
            "goaway" => ServerBody::GoAway {
                reconnect_after_ms: self.reconnect_after_ms,
            },
            "receipts" => ServerBody::Receipts {
                conversation: self.conversation,
                seq: self.seq,
                delivered: self.delivered,
                read: self.read,
                members: self.members,
            },
            "receipt" => ServerBody::Receipt {
                conversation: self.conversation,
                user: self.user,
                delivered_seq: self.delivered_seq,
                read_seq: self.read_seq,
            },
            _ => ServerBody::Expired {
                conversation: self.conversation,
                from_seq: self.from_seq,
                to_seq: self.to_seq,
            },
        }
    }
}

impl<'de> Fields<'de> for Plain<'de> {
    const NAME: &'static str = "the frame's body";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "user" => self.user = text(map, "user")?,
            "session" => self.session = text(map, "session")?,
            "server" => self.server = text(map, "server")?,
            "heartbeatMs" => self.heartbeat_ms = number(map, "heartbeatMs")?,
            "serverTimeMs" => self.server_time_ms = number(map, "serverTimeMs")?,
            "limits" => self.limits = read(map)?,
            "conversation" => self.conversation = text(map, "conversation")?,
            "seq" => self.seq = number(map, "seq")?,
            "messageId" => self.message_id = wide(map, "messageId")?,
            "position" => self.position = text(map, "position")?,
            "timestampMs" => self.timestamp_ms = number(map, "timestampMs")?,
            "duplicate" => self.duplicate = flag(map, "duplicate")?,
            "expiresAtMs" => self.expires_at_ms = number(map, "expiresAtMs")?,
            "code" => self.code = number(map, "code")?,
            "name" => self.name = text(map, "name")?,
            "retryable" => self.retryable = flag(map, "retryable")?,
            "retryAfterMs" => self.retry_after_ms = number(map, "retryAfterMs")?,
            "message" => self.message = text(map, "message")?,
            "token" => self.token = text(map, "token")?,
            "reason" => self.reason = text(map, "reason")?,
            "reconnectAfterMs" => self.reconnect_after_ms = number(map, "reconnectAfterMs")?,
            "fromSeq" => self.from_seq = number(map, "fromSeq")?,
            "toSeq" => self.to_seq = number(map, "toSeq")?,
            "delivered" => self.delivered = number(map, "delivered")?,
            "read" => self.read = number(map, "read")?,
            "members" => self.members = number(map, "members")?,
            "deliveredSeq" => self.delivered_seq = number(map, "deliveredSeq")?,
            "readSeq" => self.read_seq = number(map, "readSeq")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct LimitFields(Limits);

impl<'de> Fields<'de> for LimitFields {
    const NAME: &'static str = "limits";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "bodyBytes" => self.0.body_bytes = number(map, "bodyBytes")?,
            "frameBytes" => self.0.frame_bytes = number(map, "frameBytes")?,
            "membersPerCall" => self.0.members_per_call = number(map, "membersPerCall")?,
            "pageItems" => self.0.page_items = number(map, "pageItems")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct HistoryPage<'a> {
    items: Vec<Item<'a>>,
    more: bool,
}

impl<'de> Fields<'de> for HistoryPage<'de> {
    const NAME: &'static str = "history";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "items" => self.items = objects(map, "history.items")?,
            "more" => self.more = flag(map, "history.more")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct ConversationsPage<'a> {
    items: Vec<SummaryFields<'a>>,
    more: bool,
}

impl<'de> Fields<'de> for ConversationsPage<'de> {
    const NAME: &'static str = "conversations";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "items" => self.items = objects(map, "conversations.items")?,
            "more" => self.more = flag(map, "conversations.more")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct SummaryFields<'a> {
    conversation: Cow<'a, str>,
    kind: Cow<'a, str>,
    title: Cow<'a, str>,
    peer: Cow<'a, str>,
    seq: u64,
    joined_seq: u64,
    read_seq: u64,
    acked_seq: u64,
    unread: u64,
    last: Item<'a>,
}

impl<'a> SummaryFields<'a> {
    fn summary(self, last: Option<Row<'a>>) -> Summary<'a> {
        Summary {
            conversation: self.conversation,
            kind: self.kind,
            title: self.title,
            peer: self.peer,
            seq: self.seq,
            joined_seq: self.joined_seq,
            read_seq: self.read_seq,
            acked_seq: self.acked_seq,
            unread: self.unread,
            last,
        }
    }
}

impl<'de> Fields<'de> for SummaryFields<'de> {
    const NAME: &'static str = "conversations.items";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "conversation")?,
            "kind" => self.kind = text(map, "kind")?,
            "title" => self.title = text(map, "title")?,
            "peer" => self.peer = text(map, "peer")?,
            "seq" => self.seq = number(map, "seq")?,
            "joinedSeq" => self.joined_seq = number(map, "joinedSeq")?,
            "readSeq" => self.read_seq = number(map, "readSeq")?,
            "ackedSeq" => self.acked_seq = number(map, "ackedSeq")?,
            "unread" => self.unread = number(map, "unread")?,
            "last" => self.last = read(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct GroupResult<'a> {
    conversation: Cow<'a, str>,
    seq: u64,
    members: Vec<MemberFields<'a>>,
    more: bool,
}

impl<'de> Fields<'de> for GroupResult<'de> {
    const NAME: &'static str = "group";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "group.conversation")?,
            "seq" => self.seq = number(map, "group.seq")?,
            "members" => self.members = objects(map, "group.members")?,
            "more" => self.more = flag(map, "group.more")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

struct MemberFields<'a>(Member<'a>);

impl Default for MemberFields<'_> {
    fn default() -> Self {
        Self(Member {
            user: Cow::Borrowed(""),
            role: Cow::Borrowed(""),
            joined_seq: 0,
        })
    }
}

impl<'de> Fields<'de> for MemberFields<'de> {
    const NAME: &'static str = "group.members";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "user" => self.0.user = text(map, "user")?,
            "role" => self.0.role = text(map, "role")?,
            "joinedSeq" => self.0.joined_seq = number(map, "joinedSeq")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct StatusList<'a>(Vec<StatusFields<'a>>);

impl<'de> Fields<'de> for StatusList<'de> {
    const NAME: &'static str = "presence";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "items" => self.0 = objects(map, "presence.items")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

struct StatusFields<'a>(Status<'a>);

impl Default for StatusFields<'_> {
    fn default() -> Self {
        Self(Status {
            user: Cow::Borrowed(""),
            status: Cow::Borrowed(""),
            last_seen_ms: 0,
        })
    }
}

impl<'de> Fields<'de> for StatusFields<'de> {
    const NAME: &'static str = "presence.items";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "user" => self.0.user = text(map, "user")?,
            "status" => self.0.status = text(map, "status")?,
            "lastSeenMs" => self.0.last_seen_ms = number(map, "lastSeenMs")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
