//! Server frames as JSON. Rows are read where they stand and written at once.

use super::write::{
    array, base64, braces, comma, flag, number, object, optional_flag, optional_number,
    optional_text, optional_wide, position, raw, string, text,
};
use crate::frames::codes::Code;
use crate::frames::row::{BodyView, EventView, MessageView};
use crate::frames::server::{Limits, Member, Row, ServerBody, ServerFrame, Status, Summary};
use crate::protobuf::Malformed;

/// Appends one frame. Fails only where a row is not the protobuf that it claims to be; then
/// `out` is as it was.
pub fn encode_server(frame: &ServerFrame<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let mut result = Ok(());
    braces(out, |out| {
        optional_number(out, "id", frame.id);
        result = encode_body(&frame.body, out);
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends what a frame says, without the frame: the answer of a request that stands alone. Fails as
/// [`encode_server`] does.
pub fn encode_answer(body: &ServerBody<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let result = encode_body(body, out);
    // `"sent":{…}`: its name goes. A body without one is nothing.
    let member = out.get(start..).unwrap_or(&[]);
    match member.iter().position(|byte| *byte == b':') {
        Some(colon) if result.is_ok() => drop(out.drain(start..=start + colon)),
        _ => out.truncate(start),
    }
    result
}

/// Appends a problem's details (RFC 9457). Its type is `about:blank`, so its title is the status';
/// which error of the catalogue it is stand in `code` and `reason`.
pub fn encode_problem(
    status: u16,
    title: &str,
    code: &Code,
    retry_after_ms: u64,
    detail: &str,
    out: &mut Vec<u8>,
) {
    braces(out, |out| {
        text(out, "title", title);
        number(out, "status", u64::from(status));
        text(out, "detail", detail);
        number(out, "code", u64::from(code.number));
        text(out, "reason", code.name);
        flag(out, "retryable", code.retryable);
        optional_number(out, "retryAfterMs", retry_after_ms);
    });
}

/// Appends a row as `"message":{…}` or `"event":{…}`.
pub fn encode_row(row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match row {
        Row::Message(bytes) => {
            let view = MessageView::parse(bytes)?;
            object(out, "message", |out| encode_message(&view, out));
        }
        Row::Event(bytes) => {
            let view = EventView::parse(bytes)?;
            object(out, "event", |out| encode_event(&view, out));
        }
    }
    Ok(())
}

fn encode_message(view: &MessageView<'_>, out: &mut Vec<u8>) {
    text(out, "conversation", view.conversation);
    optional_number(out, "seq", view.seq);
    optional_wide(out, "messageId", view.message_id);
    text(out, "from", view.from);
    number(out, "timestampMs", view.timestamp_ms);
    encode_message_body(view.body, view.content_type, out);
    optional_number(out, "ttlMs", view.ttl_ms);
    if view.has_headers() {
        object(out, "headers", |out| {
            for (name, value) in view.headers() {
                comma(out);
                string(out, name);
                out.push(b':');
                string(out, value);
            }
        });
    }
    optional_flag(out, "silent", view.silent);
    optional_flag(out, "ephemeral", view.ephemeral);
    optional_number(out, "editedSeq", view.edited_seq);
}

fn encode_message_body(body: Option<BodyView<'_>>, content_type: &str, out: &mut Vec<u8>) {
    match body {
        Some(BodyView::Json(json)) => raw(out, "json", json),
        Some(BodyView::Text(body)) => text(out, "text", body),
        Some(BodyView::Bytes(data)) => base64(out, "base64", data),
        None => {}
    }
    optional_text(out, "contentType", content_type);
}

fn encode_event(view: &EventView<'_>, out: &mut Vec<u8>) {
    text(out, "conversation", view.conversation);
    optional_number(out, "seq", view.seq);
    optional_wide(out, "messageId", view.message_id);
    text(out, "type", view.kind);
    if view.user_count() == 1 {
        for user in view.users() {
            text(out, "user", user);
        }
    } else if view.user_count() > 1 {
        array(out, "users", |out| {
            for user in view.users() {
                comma(out);
                string(out, user);
            }
        });
    }
    optional_text(out, "by", view.by);
    number(out, "timestampMs", view.timestamp_ms);
    optional_text(out, "title", view.title);
    optional_flag(out, "open", view.open);
    optional_text(out, "role", view.role);
    optional_number(out, "refSeq", view.ref_seq);
    encode_message_body(view.body, view.content_type, out);
    optional_text(out, "reaction", view.reaction);
    optional_flag(out, "withdrawn", view.withdrawn);
    optional_number(out, "expiresMs", view.expires_ms);
}

fn encode_body(body: &ServerBody<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match body {
        ServerBody::Connected {
            user,
            session,
            server,
            heartbeat_ms,
            server_time_ms,
            limits,
        } => object(out, "connected", |out| {
            text(out, "user", user);
            text(out, "session", session);
            text(out, "server", server);
            number(out, "heartbeatMs", *heartbeat_ms);
            number(out, "serverTimeMs", *server_time_ms);
            encode_limits(limits, out);
        }),
        ServerBody::Refreshed { expires_at_ms } => object(out, "refreshed", |out| {
            number(out, "expiresAtMs", *expires_at_ms);
        }),
        ServerBody::Sent {
            conversation,
            seq,
            message_id,
            partition,
            position: log_position,
            timestamp_ms,
            duplicate,
        } => object(out, "sent", |out| {
            text(out, "conversation", conversation);
            optional_number(out, "seq", *seq);
            optional_wide(out, "messageId", *message_id);
            position(out, "position", *partition, *log_position);
            number(out, "timestampMs", *timestamp_ms);
            flag(out, "duplicate", *duplicate);
        }),
        ServerBody::Acked => object(out, "acked", |_| {}),
        ServerBody::History { items, more } => {
            let mut result = Ok(());
            object(out, "history", |out| {
                array(out, "items", |out| {
                    result = items.iter().try_for_each(|row| encode_item(*row, out));
                });
                flag(out, "more", *more);
            });
            result?;
        }
        ServerBody::Conversations { items, more } => {
            let mut result = Ok(());
            object(out, "conversations", |out| {
                array(out, "items", |out| {
                    result = items
                        .iter()
                        .try_for_each(|summary| encode_summary(summary, out));
                });
                flag(out, "more", *more);
            });
            result?;
        }
        ServerBody::Group {
            conversation,
            seq,
            members,
            more,
        } => object(out, "group", |out| {
            text(out, "conversation", conversation);
            optional_number(out, "seq", *seq);
            if *seq == 0 || !members.is_empty() {
                encode_members(members, out);
                flag(out, "more", *more);
            }
        }),
        ServerBody::Pong { server_time_ms } => object(out, "pong", |out| {
            number(out, "serverTimeMs", *server_time_ms);
        }),
        ServerBody::Error {
            code,
            name,
            retryable,
            retry_after_ms,
            message,
        } => object(out, "error", |out| {
            number(out, "code", u64::from(*code));
            text(out, "name", name);
            flag(out, "retryable", *retryable);
            optional_number(out, "retryAfterMs", *retry_after_ms);
            text(out, "message", message);
        }),
        ServerBody::Row(row) => encode_row(*row, out)?,
        ServerBody::Checkpoint { token } => {
            object(out, "checkpoint", |out| text(out, "token", token));
        }
        ServerBody::CaughtUp { token } => object(out, "caughtUp", |out| text(out, "token", token)),
        ServerBody::TokenExpiring { expires_at_ms } => object(out, "tokenExpiring", |out| {
            number(out, "expiresAtMs", *expires_at_ms);
        }),
        ServerBody::Kicked { reason } => object(out, "kicked", |out| text(out, "reason", reason)),
        ServerBody::GoAway { reconnect_after_ms } => object(out, "goaway", |out| {
            number(out, "reconnectAfterMs", *reconnect_after_ms);
        }),
        ServerBody::Expired {
            conversation,
            from_seq,
            to_seq,
        } => object(out, "expired", |out| {
            text(out, "conversation", conversation);
            number(out, "fromSeq", *from_seq);
            number(out, "toSeq", *to_seq);
        }),
        ServerBody::Receipts {
            conversation,
            seq,
            delivered,
            read,
            members,
        } => object(out, "receipts", |out| {
            text(out, "conversation", conversation);
            number(out, "seq", *seq);
            number(out, "delivered", *delivered);
            number(out, "read", *read);
            number(out, "members", *members);
        }),
        ServerBody::Receipt {
            conversation,
            user,
            delivered_seq,
            read_seq,
        } => object(out, "receipt", |out| {
            text(out, "conversation", conversation);
            text(out, "user", user);
            optional_number(out, "deliveredSeq", *delivered_seq);
            optional_number(out, "readSeq", *read_seq);
        }),
        ServerBody::Presence { items } => object(out, "presence", |out| {
            array(out, "items", |out| {
                for item in items.iter() {
                    comma(out);
                    braces(out, |out| encode_status(item, out));
                }
            });
        }),
        ServerBody::Unknown => {}
    }
    Ok(())
}

fn encode_status(item: &Status<'_>, out: &mut Vec<u8>) {
    text(out, "user", &item.user);
    text(out, "status", &item.status);
    optional_number(out, "lastSeenMs", item.last_seen_ms);
}

fn encode_limits(limits: &Limits, out: &mut Vec<u8>) {
    object(out, "limits", |out| {
        number(out, "bodyBytes", limits.body_bytes);
        number(out, "frameBytes", limits.frame_bytes);
        number(out, "membersPerCall", limits.members_per_call);
        number(out, "pageItems", limits.page_items);
    });
}

fn encode_item(row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    comma(out);
    let mut result = Ok(());
    braces(out, |out| result = encode_row(row, out));
    result
}

fn encode_summary(summary: &Summary<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    comma(out);
    let mut result = Ok(());
    braces(out, |out| {
        text(out, "conversation", &summary.conversation);
        text(out, "kind", &summary.kind);
        optional_text(out, "title", &summary.title);
        optional_text(out, "peer", &summary.peer);
        number(out, "seq", summary.seq);
        number(out, "joinedSeq", summary.joined_seq);
        number(out, "readSeq", summary.read_seq);
        number(out, "ackedSeq", summary.acked_seq);
        number(out, "unread", summary.unread);
        if let Some(row) = summary.last {
            object(out, "last", |out| result = encode_row(row, out));
        }
    });
    result
}

fn encode_members(members: &[Member<'_>], out: &mut Vec<u8>) {
    array(out, "members", |out| {
        for member in members {
            comma(out);
            braces(out, |out| {
                text(out, "user", &member.user);
                text(out, "role", &member.role);
                number(out, "joinedSeq", member.joined_seq);
            });
        }
    });
}
