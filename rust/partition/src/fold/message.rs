//! Sends and cursors: who may, and into which conversation.

use imfast_faults::{Fault, on};
use imfast_wire::frames::id::{self, EVERYBODY};

use super::Fold;
use super::plan::{CursorStep, Plan};
use crate::archive::{ArchivedKey, KeyFound};
use crate::command::{Command, Cursor, Send, cursors, field};
use crate::conversation::{Conversation, Shape};
use crate::hash::KeyHash;
use crate::outcome::{Outcome, Refused};
use crate::record::{kind, verdict};
use crate::state::AckKey;

/// What is known of a command's key.
#[derive(Default)]
pub(super) struct Past {
    /// None: the command came without one.
    pub(super) key: Option<KeyHash>,
    /// When it says that it was made, milliseconds since 1970; 0: it does not.
    pub(super) made_ms: u64,
    /// What came of it when it was used, before what the sequencer remembers.
    pub(super) first: Option<ArchivedKey>,
    /// It may have been used and forgotten.
    pub(super) expired: bool,
}
/// The device whose cursor in everybody's conversation is what a user has read: none has this name.
pub(crate) const READER: &str = "";

impl Fold {
    pub(super) fn plan_send(
        &mut self,
        command: &Command<'_>,
        bytes: &[u8],
    ) -> Result<Plan, Refused> {
        let send = Send::parse(command.body).map_err(|_| Refused::Malformed)?;
        let ttl_ms = send.ttl_of_clean_content().ok_or(Refused::Malformed)?;
        if !self.batch.replay && send.content.len() > self.config.limits.content_bytes_max {
            return Err(Refused::TooLarge);
        }
        let past = self.look_back(command)?;
        let payload = self.state.hashes.payload(field::SEND, send.content);
        let found = self.state.find_tenant(command.tenant).and_then(|tenant| {
            let conversation = self.state.find_conversation(tenant, command.conversation)?;
            Some((conversation, self.state.find_user(tenant, command.user)))
        });
        let (conversation, sender) = match found {
            Some((conversation, sender)) => {
                if !send.peer.is_empty() {
                    self.check_peer(conversation, sender, send.peer)?;
                }
                let sender = match sender {
                    Some(sender) => sender,
                    None if command.by_server && past.expired => return Err(Refused::KeyExpired),
                    None if command.by_server => self.intern_actor(conversation, command),
                    None if command.conversation == EVERYBODY => return Err(Refused::NotAllowed),
                    None => return Err(Refused::NotAMember),
                };
                (conversation, sender)
            }
            // No key is known of a conversation that there is not.
            None if past.expired => return Err(Refused::KeyExpired),
            None if command.by_server && command.conversation == EVERYBODY => {
                self.add_everybody(command)?
            }
            None => self.add_direct(command, send.peer)?,
        };
        if let Some(first) = &past.first {
            return self.repeated(conversation, first, payload);
        }
        let refused = match self.stands(conversation, sender) {
            _ if command.by_server => past.expired.then_some(Refused::KeyExpired),
            None if command.conversation == EVERYBODY => Some(Refused::NotAllowed),
            None => Some(Refused::NotAMember),
            Some(_) if id::is_broadcast(command.conversation) => Some(Refused::NotAllowed),
            Some(_) if past.expired => Some(Refused::KeyExpired),
            Some((_, true)) => Some(Refused::NotAllowed),
            Some(_) => self.over_group_rate(conversation).err(),
        };
        if let Some(refused) = refused
            && (past.key.is_none() || self.batch.replay)
        {
            return Err(refused);
        }
        // One who may not send any more still gets the first result of what was sent before.
        let number = self.push_record(conversation, kind::MESSAGE, command.message_id);
        let record = &mut self.batch.records[number as usize];
        if refused.is_some() {
            record.verdict = verdict::FORBIDDEN;
        }
        if let Some(key) = past.key {
            (record.key_high, record.key_low) = (key.high, key.low);
            record.payload = payload;
            record.seq = past.made_ms;
        }
        let content = match send.content.len() {
            // Content that is absent does not lie in `bytes`.
            0 => 0..0,
            length => {
                let start = send.content.as_ptr() as usize - bytes.as_ptr() as usize;
                start as u32..(start + length) as u32
            }
        };
        Ok(Plan::Send {
            record: number,
            sender,
            made_ms: past.made_ms,
            refused,
            content,
            ttl_ms,
        })
    }

    /// What is known of a command's key that the sequencer has forgotten.
    pub(super) fn look_back(&self, command: &Command<'_>) -> Result<Past, Refused> {
        let made_ms = id::key_made_ms(command.key).unwrap_or(0);
        let mut past = Past {
            made_ms,
            ..Past::default()
        };
        if command.key.is_empty() {
            return Ok(past);
        }
        let (conversation, user) = (command.conversation, command.user);
        let hashes = &self.state.hashes;
        let key = hashes.key(command.tenant, conversation, user, command.key);
        past.key = Some(key);
        if self.batch.replay {
            return Ok(past);
        }
        let found = self.state.old_key(key, made_ms);
        match found.map_err(|_| Refused::KeyUnreadable)? {
            KeyFound::First(first) => {
                past.first = Some(first).filter(|_| !on(Fault::DedupeBucketForgotten));
            }
            KeyFound::Unknown { expired_until_ms } => {
                past.expired = made_ms != 0
                    && made_ms <= expired_until_ms
                    && !on(Fault::ExpiredKeyTaken)
                    && !on(Fault::ExpiryForgottenOnRestart);
            }
        }
        Ok(past)
    }

    /// The answer to a repetition of a command that only the archive knows.
    pub(super) fn repeated(
        &self,
        conversation: u32,
        first: &ArchivedKey,
        payload: u64,
    ) -> Result<Plan, Refused> {
        if first.payload != payload {
            return Err(Refused::Conflict);
        }
        Ok(Plan::Settled(Outcome::Sent {
            conversation: self.state.conversation_id(conversation).clone(),
            seq: first.seq,
            message_id: first.message_id,
            position: first.position,
            time_ms: first.time_ms,
            duplicate: true,
        }))
    }

    /// The user that the server acts as, who need not be in the conversation.
    pub(super) fn intern_actor(&mut self, conversation: u32, command: &Command<'_>) -> u32 {
        let tenant = self.state.conversation(conversation).tenant;
        self.state.intern_user(tenant, command.user)
    }

    /// Adds everybody's conversation, which the first broadcast makes. Returns it and the sender.
    fn add_everybody(&mut self, command: &Command<'_>) -> Result<(u32, u32), Refused> {
        self.check_partition(command.tenant, command.conversation)?;
        let tenant = self.state.intern_tenant(command.tenant);
        let sender = self.state.intern_user(tenant, command.user);
        let shape = Shape::Group {
            title: "".into(),
            open: false,
            owner: None,
            create: 0,
        };
        let entry = Conversation::new(tenant, shape);
        Ok((
            self.state.add_conversation(command.conversation, entry),
            sender,
        ))
    }

    /// A send that names a peer must go to the two users' own conversation.
    fn check_peer(
        &self,
        conversation: u32,
        sender: Option<u32>,
        peer: &str,
    ) -> Result<(), Refused> {
        let entry = self.state.conversation(conversation);
        let peer = self.state.find_user(entry.tenant, peer);
        match (entry.shape.clone(), sender, peer) {
            (Shape::Direct { a, b }, Some(sender), Some(peer))
                if (a, b) == (sender, peer) || (b, a) == (sender, peer) =>
            {
                Ok(())
            }
            _ => Err(Refused::WrongConversation),
        }
    }

    /// Adds the direct conversation that a first send creates. Returns it and the sender.
    fn add_direct(&mut self, command: &Command<'_>, peer: &str) -> Result<(u32, u32), Refused> {
        if peer.is_empty() {
            return Err(Refused::NotAMember);
        }
        self.check_new_direct(command.tenant, command.user, peer, command.conversation)?;
        let tenant = self.state.intern_tenant(command.tenant);
        let sender = self.state.intern_user(tenant, command.user);
        let peer = self.state.intern_user(tenant, peer);
        let shape = Shape::Direct { a: sender, b: peer };
        let entry = Conversation::new(tenant, shape);
        Ok((
            self.state.add_conversation(command.conversation, entry),
            sender,
        ))
    }

    /// Whether `conversation` is that of two users and belongs here.
    fn check_new_direct(
        &self,
        tenant: &[u8],
        user: &str,
        peer: &str,
        conversation: &str,
    ) -> Result<(), Refused> {
        check_peer(user, peer)?;
        if id::direct_conversation(tenant, user, peer) != conversation {
            return Err(Refused::WrongConversation);
        }
        self.check_partition(tenant, conversation)
    }

    pub(crate) fn check_partition(&self, tenant: &[u8], conversation: &str) -> Result<(), Refused> {
        if id::partition_of(tenant, conversation, self.config.count) == self.config.partition {
            Ok(())
        } else {
            Err(Refused::WrongPartition)
        }
    }

    pub(super) fn plan_cursor(&mut self, command: &Command<'_>) -> Result<Plan, Refused> {
        let cursor = Cursor::parse(command.body).map_err(|_| Refused::Malformed)?;
        let is_ack = command.kind == field::ACK;
        if is_ack && !cursor.device.is_empty() && id::check(cursor.device).is_err() {
            return Err(Refused::Malformed);
        }
        let tenant = self
            .state
            .find_tenant(command.tenant)
            .ok_or(Refused::NotAMember)?;
        let conversation = self
            .state
            .find_conversation(tenant, command.conversation)
            .ok_or(Refused::NotAMember)?;
        let everybody = command.conversation == EVERYBODY;
        let user = match self.state.find_user(tenant, command.user) {
            Some(user) => user,
            None if everybody => self.intern_actor(conversation, command),
            None => return Err(Refused::NotAMember),
        };
        if !everybody && !self.was_in(conversation, user) {
            return Err(Refused::NotAMember);
        }
        // Nobody is a member of everybody's conversation: what a user read is a cursor there.
        let device = match (is_ack, everybody) {
            (true, _) => Some(cursor.device),
            (false, true) => Some(READER),
            (false, false) => None,
        };
        let reached = if let Some(device) = device {
            self.acked(user, device, conversation)
        } else {
            let member = self.state.conversation(conversation).members.find(user);
            Some(member.map_or(0, |member| member.read))
        };
        if !self.batch.replay && reached.is_some_and(|reached| reached >= cursor.seq) {
            return Ok(Plan::Settled(Outcome::Acked));
        }
        let record = self.push_record(conversation, kind::UNNUMBERED, command.message_id);
        let device = device.map(Into::into);
        Ok(Plan::Cursor {
            record,
            user,
            device,
            seq: cursor.seq,
        })
    }

    /// Cursors that an owner put together: who is not known any more is passed over.
    pub(super) fn plan_cursors(&mut self, command: &Command<'_>) -> Result<Plan, Refused> {
        let all = cursors(command.body).map_err(|_| Refused::Malformed)?;
        let tenant = self
            .state
            .find_tenant(command.tenant)
            .ok_or(Refused::NotAMember)?;
        let mut steps = Vec::with_capacity(all.len());
        for reached in all {
            let found = self
                .state
                .find_conversation(tenant, reached.conversation)
                .zip(self.state.find_user(tenant, reached.user))
                .filter(|&(conversation, user)| self.was_in(conversation, user));
            let Some((conversation, user)) = found else {
                continue;
            };
            let acks = reached
                .acks
                .iter()
                .map(|&(device, seq)| (device.into(), seq));
            steps.push(CursorStep {
                conversation,
                user,
                read: reached.read,
                acks: acks.collect(),
            });
        }
        let first = steps.first().ok_or(Refused::NotAMember)?.conversation;
        let record = self.push_record(first, kind::UNNUMBERED, command.message_id);
        Ok(Plan::Cursors { record, steps })
    }

    /// A device's committed cursor, none for one that has none.
    pub(crate) fn acked(&self, user: u32, device: &str, conversation: u32) -> Option<u64> {
        let device = self.state.user(user).device(device)?;
        self.state
            .acks
            .get(&AckKey {
                user,
                device,
                conversation,
            })
            .copied()
    }
}

/// Whether a user may have a direct conversation with `peer` at all.
pub(crate) fn check_peer(user: &str, peer: &str) -> Result<(), Refused> {
    if id::check(peer).is_err() || peer == user {
        return Err(Refused::Malformed);
    }
    Ok(())
}
