//! What the fold's outcomes are answered with.

use imfast_partition::{Outcome, Refused};
use imfast_wire::frames::codes;
use imfast_wire::frames::server::{List, ServerBody};
use std::borrow::Cow;

/// The answer to a command.
pub(crate) fn outcome_body(partition: u16, outcome: &Outcome) -> ServerBody<'_> {
    match outcome {
        Outcome::Sent {
            conversation,
            seq,
            message_id,
            position,
            time_ms,
            duplicate,
        } => ServerBody::Sent {
            conversation: Cow::Borrowed(conversation),
            seq: *seq,
            message_id: *message_id,
            partition,
            position: *position,
            timestamp_ms: *time_ms,
            duplicate: *duplicate,
        },
        Outcome::Group { conversation, seq } => ServerBody::Group {
            conversation: Cow::Borrowed(conversation),
            seq: *seq,
            members: List::default(),
            more: false,
        },
        Outcome::Acked => ServerBody::Acked,
        Outcome::Refused(refused) => refusal(*refused),
    }
}

/// The error that a refusal of the fold is answered with.
pub(crate) fn refusal(refused: Refused) -> ServerBody<'static> {
    let (code, message) = match refused {
        Refused::NotAllowed => (&codes::NOT_ALLOWED, ""),
        Refused::Malformed => (
            &codes::INVALID_ARGUMENT,
            "not possible for this conversation",
        ),
        // One answer for all: it must not tell which conversations exist.
        Refused::NotAMember | Refused::WrongConversation | Refused::WrongPartition => {
            (&codes::NOT_A_MEMBER, "")
        }
        Refused::NoSuchMessage => (
            &codes::INVALID_ARGUMENT,
            "seq: no such message, or nothing is left of it",
        ),
        Refused::Unreadable => (&codes::INTERNAL, ""),
        Refused::Conflict => (&codes::KEY_CONFLICT, ""),
        Refused::KeyExpired => (&codes::KEY_EXPIRED, ""),
        Refused::KeyUnreadable => (&codes::PARTITION_UNAVAILABLE, ""),
        Refused::TooLarge => (&codes::BODY_TOO_LARGE, ""),
        Refused::GroupFull => (&codes::GROUP_FULL, ""),
        Refused::RateLimited { retry_after_ms } => {
            return ServerBody::error(&codes::RATE_LIMITED, retry_after_ms.into(), "");
        }
    };
    ServerBody::error(code, 0, message)
}
