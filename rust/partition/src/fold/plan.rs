//! What is decided about a command before numbering: the common part of all kinds.

use core::ops::Range;
use std::sync::Arc;

use imfast_wire::frames::id;

use super::{Fold, overlay};
use crate::command::{Command, field};
use crate::conversation::Shape;
use crate::hash::KeyHash;
use crate::members::Role;
use crate::outcome::{Outcome, Refused};
use crate::record::{Record, kind, verdict};

/// The decision about one command.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing to number, nothing to log.
    Settled(Outcome),
    /// A retry of an earlier command of this batch: the same outcome.
    Repeat(u32),
    /// A success without effect; its seq is the head at this point of the batch.
    Unchanged {
        conversation: u32,
    },
    Send {
        record: u32,
        sender: u32,
        /// When the key says that it was made, or 0.
        made_ms: u64,
        /// Why the sequencer was told to refuse it, unless it is a retry.
        refused: Option<Refused>,
        /// The content within the command.
        content: Range<u32>,
        /// How long the message lives, or 0.
        ttl_ms: u64,
    },
    Event(Box<EventPlan>),
    Change(Box<ChangePlan>),
    Cursors {
        record: u32,
        steps: Vec<CursorStep>,
    },
    Cursor {
        record: u32,
        user: u32,
        /// The device for an ack, none for a read.
        device: Option<Box<str>>,
        /// As asked for; clamped to the head when the batch is finished.
        seq: u64,
    },
}

/// One user's cursors in one conversation.
#[derive(Debug)]
pub(crate) struct CursorStep {
    pub(crate) conversation: u32,
    pub(crate) user: u32,
    pub(crate) read: u64,
    pub(crate) acks: Vec<(Box<str>, u64)>,
}

/// A change of a message that stands.
#[derive(Debug)]
pub(crate) struct ChangePlan {
    pub(crate) record: u32,
    pub(crate) by: u32,
    /// Field number of the command's kind.
    pub(crate) kind: u32,
    /// The message.
    pub(crate) seq: u64,
    pub(crate) made_ms: u64,
    pub(crate) refused: Option<Refused>,
    /// What the event takes over, within the command.
    pub(crate) content: Range<u32>,
    /// When the message expires, or 0.
    pub(crate) expires_ms: u64,
}

/// A change of a group.
#[derive(Debug)]
pub(crate) struct EventPlan {
    pub(crate) record: u32,
    pub(crate) by: u32,
    pub(crate) change: ChangeKind,
    /// Whose membership changes, in the order of the command.
    pub(crate) users: Vec<u32>,
    /// Who owns the group from here on, where that changes.
    pub(crate) new_owner: Option<u32>,
    /// What the users become, where roles change.
    pub(crate) role: Option<Role>,
    /// Title and openness from here on, where settings change.
    pub(crate) settings: Option<(Arc<str>, bool)>,
    /// Key and payload under which a retry is recognised.
    pub(crate) key: Option<(KeyHash, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Joined,
    Left,
    Removed,
    Role,
    Muted,
    Unmuted,
    Settings,
}

impl ChangeKind {
    /// The event's type on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Role => "role",
            Self::Muted => "muted",
            Self::Unmuted => "unmuted",
            Self::Settings => "settings",
        }
    }

    /// Whether the users named are members afterwards.
    pub(crate) fn adds(self) -> bool {
        matches!(self, Self::Created | Self::Joined)
    }

    /// Whether the users named are none afterwards.
    pub(crate) fn removes(self) -> bool {
        matches!(self, Self::Left | Self::Removed)
    }
}

impl Fold {
    /// Decides about a command as of this point of the batch.
    pub(super) fn plan(&mut self, bytes: &[u8]) -> Result<Plan, Refused> {
        let command = Command::parse(bytes).map_err(|_| Refused::Malformed)?;
        // Ids are given by the owner of the partition and by its log, by nobody else.
        let has_its_id = (command.message_id != 0) == self.batch.replay;
        if !has_its_id && (!self.batch.replay || is_numbered(command.kind)) {
            return Err(Refused::Malformed);
        }
        if command.kind == field::CURSORS {
            return self.plan_cursors(&command);
        }
        if id::check(command.user).is_err() {
            return Err(Refused::Malformed);
        }
        match command.kind {
            field::SEND => self.plan_send(&command, bytes),
            field::CREATE => self.plan_create(&command),
            field::JOIN..=field::REMOVE | field::ROLE..=field::SETTINGS => {
                self.plan_change(&command)
            }
            field::RECALL..=field::REACT => self.plan_message_change(&command, bytes),
            field::ACK | field::READ => self.plan_cursor(&command),
            _ => Err(Refused::Malformed),
        }
    }

    /// Appends a record and returns its number.
    pub(super) fn push_record(&mut self, conversation: u32, kind: u8, message_id: u64) -> u32 {
        let number = self.batch.records.len() as u32;
        self.batch.records.push(Record {
            conversation,
            kind,
            verdict: verdict::ALLOWED,
            message_id,
            time_ms: self.batch.time_ms,
            ..Record::default()
        });
        number
    }

    pub(super) fn push_event_record(&mut self, conversation: u32, message_id: u64) -> u32 {
        self.push_record(conversation, kind::EVENT, message_id)
    }

    /// A user's role as of this point of the batch, none for those who are not in.
    pub(super) fn role(&self, conversation: u32, user: u32) -> Option<Role> {
        self.stands(conversation, user).map(|(role, _)| role)
    }

    /// A member's role and whether he may not write; none for those who are not in.
    pub(super) fn stands(&self, conversation: u32, user: u32) -> Option<(Role, bool)> {
        let entry = self.state.conversation(conversation);
        if let Shape::Direct { a, b } = entry.shape {
            return (user == a || user == b).then_some((Role::Member, false));
        }
        if let Some(standing) = self.batch.overlay.standing(conversation, user) {
            return standing.role.map(|role| (role, standing.muted));
        }
        entry
            .members
            .find(user)
            .filter(|member| member.is_in())
            .map(|member| (member.role, member.muted))
    }

    /// Whether a member may not write, as of this point of the batch.
    pub(super) fn is_muted(&self, conversation: u32, user: u32) -> bool {
        if let Some(standing) = self.batch.overlay.standing(conversation, user) {
            return standing.muted;
        }
        let members = &self.state.conversation(conversation).members;
        members.find(user).is_some_and(|member| member.muted)
    }

    /// Whether a user is or was in, as of this point of the batch.
    pub(super) fn was_in(&self, conversation: u32, user: u32) -> bool {
        self.role(conversation, user).is_some()
            || self.batch.overlay.standing(conversation, user).is_some()
            || self
                .state
                .conversation(conversation)
                .members
                .find(user)
                .is_some()
    }

    /// The group's changes in this batch, starting from the committed state.
    pub(super) fn group_changes(&mut self, conversation: u32) -> &mut overlay::GroupChanges {
        let state = &self.state;
        self.batch
            .overlay
            .groups
            .entry(conversation)
            .or_insert_with(|| {
                let entry = state.conversation(conversation);
                let owner = match entry.shape {
                    Shape::Group { owner, .. } => owner,
                    Shape::Direct { .. } => None,
                };
                overlay::GroupChanges {
                    owner,
                    count: entry.members.current(),
                    settings: None,
                    standings: hashbrown::HashMap::new(),
                }
            })
    }
}

/// Whether commands of this kind get a seq, and with it a message id.
fn is_numbered(kind: u32) -> bool {
    !matches!(kind, field::ACK | field::READ | field::CURSORS)
}
