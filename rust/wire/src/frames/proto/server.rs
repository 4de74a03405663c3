//! `imfast.v1.ServerFrame`. Rows are wrapped as they stand.

use std::borrow::Cow;

use super::Fields;
use crate::frames::FrameError;
use crate::frames::server::{
    Limits, List, Member, Row, ServerBody, ServerFrame, Status, Summary, parse_position,
    position_text,
};
use crate::protobuf::{Value, put_bytes, put_message, put_nested, put_number};

/// Appends one frame, without a length before it.
pub fn encode_server(frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
    put_number(out, 1, frame.id);
    match &frame.body {
        ServerBody::Connected {
            user,
            session,
            server,
            heartbeat_ms,
            server_time_ms,
            limits,
        } => put_nested(out, 2, |out| {
            put_bytes(out, 1, user.as_bytes());
            put_bytes(out, 2, session.as_bytes());
            put_bytes(out, 3, server.as_bytes());
            put_number(out, 4, *heartbeat_ms);
            put_number(out, 5, *server_time_ms);
            put_nested(out, 6, |out| put_limits(out, limits));
        }),
        ServerBody::Refreshed { expires_at_ms } => {
            put_nested(out, 3, |out| put_number(out, 1, *expires_at_ms));
        }
        ServerBody::Sent {
            conversation,
            seq,
            message_id,
            partition,
            position,
            timestamp_ms,
            duplicate,
        } => put_nested(out, 4, |out| {
            put_bytes(out, 1, conversation.as_bytes());
            put_number(out, 2, *seq);
            put_number(out, 3, *message_id);
            if *position != 0 {
                put_nested(out, 4, |out| position_text(*partition, *position, out));
            }
            put_number(out, 5, *timestamp_ms);
            put_number(out, 6, u64::from(*duplicate));
        }),
        ServerBody::Acked => put_message(out, 5, &[]),
        ServerBody::History { items, more } => put_nested(out, 6, |out| {
            for row in items.iter() {
                put_nested(out, 1, |out| put_item(out, *row));
            }
            put_number(out, 2, u64::from(*more));
        }),
        ServerBody::Conversations { items, more } => put_nested(out, 7, |out| {
            for summary in items.iter() {
                put_nested(out, 1, |out| put_summary(out, summary));
            }
            put_number(out, 2, u64::from(*more));
        }),
        ServerBody::Group {
            conversation,
            seq,
            members,
            more,
        } => put_nested(out, 8, |out| {
            put_bytes(out, 1, conversation.as_bytes());
            put_number(out, 2, *seq);
            for member in members.iter() {
                put_nested(out, 3, |out| {
                    put_bytes(out, 1, member.user.as_bytes());
                    put_bytes(out, 2, member.role.as_bytes());
                    put_number(out, 3, member.joined_seq);
                });
            }
            put_number(out, 4, u64::from(*more));
        }),
        ServerBody::Pong { server_time_ms } => {
            put_nested(out, 9, |out| put_number(out, 1, *server_time_ms));
        }
        ServerBody::Error {
            code,
            name,
            retryable,
            retry_after_ms,
            message,
        } => put_nested(out, 10, |out| {
            put_number(out, 1, u64::from(*code));
            put_bytes(out, 2, name.as_bytes());
            put_number(out, 3, u64::from(*retryable));
            put_number(out, 4, *retry_after_ms);
            put_bytes(out, 5, message.as_bytes());
        }),
        ServerBody::Row(Row::Message(bytes)) => put_message(out, 16, bytes),
        ServerBody::Row(Row::Event(bytes)) => put_message(out, 17, bytes),
        ServerBody::Checkpoint { token } => {
            put_nested(out, 20, |out| put_bytes(out, 1, token.as_bytes()));
        }
        ServerBody::CaughtUp { token } => {
            put_nested(out, 21, |out| put_bytes(out, 1, token.as_bytes()));
        }
        ServerBody::TokenExpiring { expires_at_ms } => {
            put_nested(out, 22, |out| put_number(out, 1, *expires_at_ms));
        }
        ServerBody::Kicked { reason } => {
            put_nested(out, 23, |out| put_bytes(out, 1, reason.as_bytes()));
        }
        ServerBody::GoAway { reconnect_after_ms } => {
            put_nested(out, 24, |out| put_number(out, 1, *reconnect_after_ms));
        }
        ServerBody::Expired {
            conversation,
            from_seq,
            to_seq,
        } => put_nested(out, 25, |out| {
            put_bytes(out, 1, conversation.as_bytes());
            put_number(out, 2, *from_seq);
            put_number(out, 3, *to_seq);
        }),
        ServerBody::Receipts {
            conversation,
            seq,
            delivered,
            read,
            members,
        } => put_nested(out, 11, |out| {
            put_bytes(out, 1, conversation.as_bytes());
            for (field, number) in (2..).zip([*seq, *delivered, *read, *members]) {
                put_number(out, field, number);
            }
        }),
        ServerBody::Receipt {
            conversation,
            user,
            delivered_seq,
            read_seq,
        } => put_nested(out, 18, |out| {
            put_bytes(out, 1, conversation.as_bytes());
            put_bytes(out, 2, user.as_bytes());
            put_number(out, 3, *delivered_seq);
            put_number(out, 4, *read_seq);
        }),
        ServerBody::Presence { items } => put_nested(out, 19, |out| {
            for item in items.iter() {
                put_nested(out, 1, |out| {
                    put_bytes(out, 1, item.user.as_bytes());
                    put_bytes(out, 2, item.status.as_bytes());
                    put_number(out, 3, item.last_seen_ms);
                });
            }
        }),
        ServerBody::Unknown => {}
    }
}

fn put_limits(out: &mut Vec<u8>, limits: &Limits) {
    put_number(out, 1, limits.body_bytes);
    put_number(out, 2, limits.frame_bytes);
    put_number(out, 3, limits.members_per_call);
    put_number(out, 4, limits.page_items);
}

fn put_item(out: &mut Vec<u8>, row: Row<'_>) {
    match row {
        Row::Message(bytes) => put_message(out, 1, bytes),
        Row::Event(bytes) => put_message(out, 2, bytes),
    }
}

fn put_summary(out: &mut Vec<u8>, summary: &Summary<'_>) {
    put_bytes(out, 1, summary.conversation.as_bytes());
    put_bytes(out, 2, summary.kind.as_bytes());
    put_bytes(out, 3, summary.title.as_bytes());
    put_bytes(out, 4, summary.peer.as_bytes());
    put_number(out, 5, summary.seq);
    put_number(out, 6, summary.joined_seq);
    put_number(out, 7, summary.read_seq);
    put_number(out, 8, summary.acked_seq);
    put_number(out, 9, summary.unread);
    if let Some(row) = summary.last {
        put_nested(out, 10, |out| put_item(out, row));
    }
}

/// Reads one frame, all of `input`. Rows are not looked into.
pub fn decode_server(input: &[u8]) -> Result<ServerFrame<'_>, FrameError> {
    let mut fields = Fields::new(input, 0);
    let mut frame = ServerFrame::push(ServerBody::Unknown);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(n)) => frame.id = n,
            (16, Value::Bytes(bytes)) => frame.body = ServerBody::Row(Row::Message(bytes)),
            (17, Value::Bytes(bytes)) => frame.body = ServerBody::Row(Row::Event(bytes)),
            (_, Value::Bytes(bytes)) => {
                if let Some(body) = decode_body(number, fields.nested(bytes))? {
                    frame.body = body;
                }
            }
            _ => {}
        }
    }
    Ok(frame)
}

fn decode_body(number: u32, fields: Fields<'_>) -> Result<Option<ServerBody<'_>>, FrameError> {
    Ok(Some(match number {
        2 => decode_connected(fields)?,
        3 => ServerBody::Refreshed {
            expires_at_ms: decode_flat(fields)?.number(1),
        },
        4 => decode_sent(fields)?,
        5 => ServerBody::Acked,
        6 => decode_history(fields)?,
        7 => decode_conversations(fields)?,
        8 => decode_group(fields)?,
        9 => ServerBody::Pong {
            server_time_ms: decode_flat(fields)?.number(1),
        },
        10 => {
            let flat = decode_flat(fields)?;
            ServerBody::Error {
                code: u32::try_from(flat.number(1)).unwrap_or(u32::MAX),
                name: flat.text(2),
                retryable: flat.number(3) != 0,
                retry_after_ms: flat.number(4),
                message: flat.text(5),
            }
        }
        11 => {
            let flat = decode_flat(fields)?;
            ServerBody::Receipts {
                conversation: flat.text(1),
                seq: flat.number(2),
                delivered: flat.number(3),
                read: flat.number(4),
                members: flat.number(5),
            }
        }
        18 => {
            let flat = decode_flat(fields)?;
            ServerBody::Receipt {
                conversation: flat.text(1),
                user: flat.text(2),
                delivered_seq: flat.number(3),
                read_seq: flat.number(4),
            }
        }
        19 => decode_presence(fields)?,
        20 => ServerBody::Checkpoint {
            token: decode_flat(fields)?.text(1),
        },
        21 => ServerBody::CaughtUp {
            token: decode_flat(fields)?.text(1),
        },
        22 => ServerBody::TokenExpiring {
            expires_at_ms: decode_flat(fields)?.number(1),
        },
        23 => ServerBody::Kicked {
            reason: decode_flat(fields)?.text(1),
        },
        24 => ServerBody::GoAway {
            reconnect_after_ms: decode_flat(fields)?.number(1),
        },
        25 => {
            let flat = decode_flat(fields)?;
            ServerBody::Expired {
                conversation: flat.text(1),
                from_seq: flat.number(2),
                to_seq: flat.number(3),
            }
        }
        _ => return Ok(None),
    }))
}

/// The greatest field number of a flat message, plus one.
const FLAT_FIELDS: usize = 11;

/// A message of numbers and strings only, none of them repeated.
struct Flat<'a> {
    numbers: [u64; FLAT_FIELDS],
    texts: [&'a str; FLAT_FIELDS],
}

impl<'a> Flat<'a> {
    const EMPTY: Self = Self {
        numbers: [0; FLAT_FIELDS],
        texts: [""; FLAT_FIELDS],
    };

    fn number(&self, field: usize) -> u64 {
        self.numbers[field]
    }

    fn text(&self, field: usize) -> Cow<'a, str> {
        Cow::Borrowed(self.texts[field])
    }

    fn take(
        &mut self,
        fields: &Fields<'a>,
        number: u32,
        value: Value<'a>,
    ) -> Result<(), FrameError> {
        let field = number as usize;
        match value {
            Value::Varint(n) if field < FLAT_FIELDS => self.numbers[field] = n,
            Value::Bytes(bytes) if field < FLAT_FIELDS => self.texts[field] = fields.text(bytes)?,
            _ => {}
        }
        Ok(())
    }
}

fn decode_flat(mut fields: Fields<'_>) -> Result<Flat<'_>, FrameError> {
    let mut flat = Flat::EMPTY;
    while let Some((number, value)) = fields.next()? {
        flat.take(&fields, number, value)?;
    }
    Ok(flat)
}

fn decode_connected(mut fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let mut flat = Flat::EMPTY;
    let mut limits = Limits::default();
    while let Some((number, value)) = fields.next()? {
        if let (6, Value::Bytes(bytes)) = (number, value) {
            let flat = decode_flat(fields.nested(bytes))?;
            limits = Limits {
                body_bytes: flat.number(1),
                frame_bytes: flat.number(2),
                members_per_call: flat.number(3),
                page_items: flat.number(4),
            };
        } else {
            flat.take(&fields, number, value)?;
        }
    }
    Ok(ServerBody::Connected {
        user: flat.text(1),
        session: flat.text(2),
        server: flat.text(3),
        heartbeat_ms: flat.number(4),
        server_time_ms: flat.number(5),
        limits,
    })
}

fn decode_sent(fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let end = fields.offset() + fields.reader.rest().len();
    let flat = decode_flat(fields)?;
    let (partition, position) = parse_position(flat.texts[4])
        .ok_or_else(|| FrameError::invalid(end, "sent.position: not a position"))?;
    Ok(ServerBody::Sent {
        conversation: flat.text(1),
        seq: flat.number(2),
        message_id: flat.number(3),
        partition,
        position,
        timestamp_ms: flat.number(5),
        duplicate: flat.number(6) != 0,
    })
}

fn decode_item(mut fields: Fields<'_>) -> Result<Option<Row<'_>>, FrameError> {
    let mut row = None;
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => row = Some(Row::Message(bytes)),
            (2, Value::Bytes(bytes)) => row = Some(Row::Event(bytes)),
            _ => {}
        }
    }
    Ok(row)
}

fn decode_history(mut fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let (mut items, mut more) = (Vec::new(), false);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => items.extend(decode_item(fields.nested(bytes))?),
            (2, Value::Varint(n)) => more = n != 0,
            _ => {}
        }
    }
    Ok(ServerBody::History {
        items: List::Owned(items),
        more,
    })
}

fn decode_conversations(mut fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let (mut items, mut more) = (Vec::new(), false);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => items.push(decode_summary(fields.nested(bytes))?),
            (2, Value::Varint(n)) => more = n != 0,
            _ => {}
        }
    }
    Ok(ServerBody::Conversations {
        items: List::Owned(items),
        more,
    })
}

fn decode_summary(mut fields: Fields<'_>) -> Result<Summary<'_>, FrameError> {
    let mut flat = Flat::EMPTY;
    let mut last = None;
    while let Some((number, value)) = fields.next()? {
        if let (10, Value::Bytes(bytes)) = (number, value) {
            last = decode_item(fields.nested(bytes))?;
        } else {
            flat.take(&fields, number, value)?;
        }
    }
    Ok(Summary {
        conversation: flat.text(1),
        kind: flat.text(2),
        title: flat.text(3),
        peer: flat.text(4),
        seq: flat.number(5),
        joined_seq: flat.number(6),
        read_seq: flat.number(7),
        acked_seq: flat.number(8),
        unread: flat.number(9),
        last,
    })
}

fn decode_group(mut fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let mut flat = Flat::EMPTY;
    let mut members = Vec::new();
    while let Some((number, value)) = fields.next()? {
        if let (3, Value::Bytes(bytes)) = (number, value) {
            let member = decode_flat(fields.nested(bytes))?;
            members.push(Member {
                user: member.text(1),
                role: member.text(2),
                joined_seq: member.number(3),
            });
        } else {
            flat.take(&fields, number, value)?;
        }
    }
    Ok(ServerBody::Group {
        conversation: flat.text(1),
        seq: flat.number(2),
        members: List::Owned(members),
        more: flat.number(4) != 0,
    })
}

fn decode_presence(mut fields: Fields<'_>) -> Result<ServerBody<'_>, FrameError> {
    let mut items = Vec::new();
    while let Some((number, value)) = fields.next()? {
        if let (1, Value::Bytes(bytes)) = (number, value) {
            let flat = decode_flat(fields.nested(bytes))?;
            items.push(Status {
                user: flat.text(1),
                status: flat.text(2),
                last_seen_ms: flat.number(3),
            });
        }
    }
    Ok(ServerBody::Presence {
        items: List::Owned(items),
    })
}
