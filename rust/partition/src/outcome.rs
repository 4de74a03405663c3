//! What a batch leads to: an answer for every command, and deliveries for every row.

use std::sync::Arc;

use core::fmt;

/// One command on its way in, with where its answer goes.
#[derive(Debug, Clone)]
pub struct Incoming<O> {
    /// An encoded `imfast.log.v1.Command` without a message id.
    pub command: Vec<u8>,
    pub origin: O,
}

/// A batch for the log, complete but not yet durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Position of the first command; the others follow without a gap.
    pub first_position: u64,
    /// Commands in `payload`; 0 means that there is nothing to log.
    pub count: u32,
    /// The batch's time, milliseconds since 1970.
    pub time_ms: u64,
    pub fold_version: u16,
    /// Each command as varint length and bytes.
    pub payload: Vec<u8>,
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Sent {
        conversation: Arc<str>,
        seq: u64,
        message_id: u64,
        position: u64,
        time_ms: u64,
        duplicate: bool,
    },
    /// A change of a group. `seq` is the event's, or the head where nothing changed.
    Group {
        conversation: Arc<str>,
        seq: u64,
    },
    /// An ack or read, or many of them.
    Acked,
    Refused(Refused),
}

/// Why a command or a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The user is not in the conversation, or there is no such conversation: the two look alike.
    NotAMember,
    /// A member without the right: not owner or admin, or the owner would be removed.
    NotAllowed,
    /// The command cannot be read, lacks a part, or asks of a direct conversation what only groups do.
    Malformed,
    /// The conversation's id is not the one derived from the users, or from creator and key.
    WrongConversation,
    /// The conversation belongs to another partition.
    WrongPartition,
    /// The key was used before with another payload.
    Conflict,
    /// Whether the key was used cannot be told now: the archive cannot be read.
    KeyUnreadable,
    /// The key is as old as keys that are forgotten: whether it was used is not known any more.
    KeyExpired,
    /// Content, title or list of users above its limit.
    TooLarge,
    /// There is no such message, or nothing is left of it.
    NoSuchMessage,
    /// What is asked about cannot be read now.
    Unreadable,
    /// The group would get more members than it may have.
    GroupFull,
    /// The group's members are above its rate.
    RateLimited { retry_after_ms: u32 },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMember => "not a member of the conversation",
            Self::NotAllowed => "the member lacks the right",
            Self::Malformed => "malformed command",
            Self::WrongConversation => "conversation id does not belong to these users",
            Self::WrongPartition => "conversation belongs to another partition",
            Self::Conflict => "key was used with another payload",
            Self::KeyUnreadable => "the archive of keys cannot be read",
            Self::KeyExpired => "key is as old as forgotten ones",
            Self::TooLarge => "content, title or list above its limit",
            Self::NoSuchMessage => "no such message",
            Self::Unreadable => "the message cannot be read",
            Self::GroupFull => "group is full",
            Self::RateLimited { .. } => "too many messages to the group",
        })
    }
}

impl core::error::Error for Refused {}

/// The sequencer and this crate disagree: a fault of ours, never of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// Position of the command, as far as it has one: the one it should have got.
    pub position: u64,
    pub what: &'static str,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fold disagrees at position {}: {}",
            self.position, self.what
        )
    }
}

impl core::error::Error for Disagreement {}

/// A log that this fold does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayError {
    /// The logged command was refused.
    Refused { position: u64, reason: Refused },
    /// The logged command changed nothing, though only accepted changes are logged.
    Unchanged { position: u64 },
    /// The sequencer gave the logged command another result than new.
    Disagreement(Disagreement),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { position, reason } => {
                write!(
                    f,
                    "logged command at position {position} is refused: {reason}"
                )
            }
            Self::Unchanged { position } => {
                write!(f, "logged command at position {position} changes nothing")
            }
            Self::Disagreement(disagreement) => disagreement.fmt(f),
        }
    }
}

impl core::error::Error for ReplayError {}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// `imfast.v1.Message`
    Message,
    /// `imfast.v1.Event`
    Event,
}

/// Whom a row goes to by the ordinary route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Both users of a direct conversation.
    Direct { a: Arc<str>, b: Arc<str> },
    /// Everybody subscribed to the group.
    Group,
}

/// Membership changes of one event. Those named are told by their user's route, because their
/// worker does not subscribe to the group yet, or must stop exactly here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Members from this row on; for a create all of them, the creator included.
    pub joined: Vec<Arc<str>>,
    /// Members until this row, which they still get.
    pub left: Vec<Arc<str>>,
}

impl Change {
    /// Everybody to be told by user route.
    pub fn told(&self) -> impl Iterator<Item = &Arc<str>> {
        self.joined.iter().chain(&self.left)
    }
}

/// One committed row and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub position: u64,
    pub tenant: Arc<[u8]>,
    pub conversation: Arc<str>,
    /// Dense index of the conversation in this partition.
    pub conversation_index: u32,
    pub seq: u64,
    pub kind: RowKind,
    /// The encoded `Message` or `Event`.
    pub row: Arc<[u8]>,
    pub audience: Audience,
    /// Present for events that change the membership.
    pub change: Option<Box<Change>>,
}

/// Deliveries of a range of positions, for a link that starts or resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// In position order.
    pub deliveries: Vec<Delivery>,
    /// Everything up to this position is in this page or in earlier ones.
    pub through: u64,
    /// Whether `through` is the committed position.
    pub complete: bool,
}

/// A batch that became durable.
#[derive(Debug)]
pub struct Committed<O> {
    /// In the order in which the commands came.
    pub outcomes: Vec<(O, Outcome)>,
    /// In position order.
    pub deliveries: Vec<Delivery>,
}
