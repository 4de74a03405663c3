//! Recall, edit and react: events about a message that stands.

use super::Fold;
use super::plan::{ChangePlan, Plan};
use crate::command::{self, Command, field};
use crate::conversation::Alteration;
use crate::outcome::{Refused, RowKind};
use crate::query::{Life, author};
use crate::record::{kind, verdict};

impl Fold {
    pub(super) fn plan_message_change(
        &mut self,
        command: &Command<'_>,
        bytes: &[u8],
    ) -> Result<Plan, Refused> {
        let change = command::Change::parse(command.body).map_err(|_| Refused::Malformed)?;
        if !change.content_is_clean(command.kind) {
            return Err(Refused::Malformed);
        }
        if !self.batch.replay && change.content.len() > self.config.limits.content_bytes_max {
            return Err(Refused::TooLarge);
        }
        let tenant = self
            .state
            .find_tenant(command.tenant)
            .ok_or(Refused::NotAMember)?;
        let conversation = self
            .state
            .find_conversation(tenant, command.conversation)
            .ok_or(Refused::NotAMember)?;
        let by = self
            .state
            .find_user(tenant, command.user)
            .ok_or(Refused::NotAMember)?;
        let past = self.look_back(command)?;
        let payload = self.state.hashes.payload(command.kind, command.body);
        if let Some(first) = &past.first {
            return self.repeated(conversation, first, payload);
        }
        let mut expires_ms = command.expires_ms;
        let mut refused = past.expired.then_some(Refused::KeyExpired);
        if !self.batch.replay {
            match self.may_change(conversation, by, command.kind, change.seq) {
                Ok(life_ends_ms) => expires_ms = life_ends_ms,
                Err(why) => refused = Some(why),
            }
            if refused.is_none() {
                refused = self.over_group_rate(conversation).err();
            }
        }
        if let Some(refused) = refused
            && command.key.is_empty()
        {
            return Err(refused);
        }
        // One who may not any more still gets the first result of what was done before.
        let number = self.push_record(conversation, kind::EVENT, command.message_id);
        let record = &mut self.batch.records[number as usize];
        if refused.is_some() {
            record.verdict = verdict::FORBIDDEN;
        }
        if let Some(key) = past.key {
            (record.key_high, record.key_low) = (key.high, key.low);
            record.payload = payload;
            record.seq = past.made_ms;
        }
        let content = match change.content.len() {
            0 => 0..0,
            length => {
                let start = change.content.as_ptr() as usize - bytes.as_ptr() as usize;
                start as u32..(start + length) as u32
            }
        };
        Ok(Plan::Change(Box::new(ChangePlan {
            record: number,
            by,
            kind: command.kind,
            seq: change.seq,
            made_ms: past.made_ms,
            refused,
            content,
            expires_ms,
        })))
    }

    /// Whether a user may do this to a message. Returns when that expires, 0 for never.
    fn may_change(&self, conversation: u32, by: u32, kind: u32, seq: u64) -> Result<u64, Refused> {
        let role = self.role(conversation, by).ok_or(Refused::NotAMember)?;
        let entry = self.state.conversation(conversation);
        let member = entry.members.find(by);
        let seen = member.is_some_and(|m| m.stays().any(|(from, to)| (from..to).contains(&seq)));
        if !seen || seq > entry.head() {
            return Err(Refused::NoSuchMessage);
        }
        let rows = self.state.rows(conversation, self.batch.time_ms);
        let row = rows.row(seq).map_err(|_| Refused::Unreadable)?;
        let life = Life::of(&row.bytes).map_err(|_| Refused::Unreadable)?;
        let gone =
            entry.alteration_of(seq) == Some(Alteration::Erased) || life.is_over(rows.now_ms);
        if gone || row.kind != RowKind::Message {
            return Err(Refused::NoSuchMessage);
        }
        let own = author(&row.bytes) == Some(self.state.user_name(by));
        let may = match kind {
            field::RECALL => own || role.may_manage(),
            field::EDIT => own && !self.is_muted(conversation, by),
            _ => !self.is_muted(conversation, by),
        };
        if may {
            Ok(life.end_ms())
        } else {
            Err(Refused::NotAllowed)
        }
    }

    /// Makes a change that was numbered `event` state.
    pub(super) fn apply_change(&mut self, conversation: u32, event: u64, change: &ChangePlan) {
        let before = self
            .state
            .conversation(conversation)
            .alteration_of(change.seq);
        let after = match (change.kind, before) {
            (field::RECALL, _) => Alteration::Erased,
            // It was recalled earlier in the same batch: nobody is to see the new body either.
            (field::EDIT, Some(Alteration::Erased)) => {
                return self
                    .state
                    .alter_row(conversation, event, Alteration::Erased);
            }
            (field::EDIT, _) => Alteration::Edited(event),
            _ => return,
        };
        if let Some(Alteration::Edited(earlier)) = before {
            self.state
                .alter_row(conversation, earlier, Alteration::Erased);
        }
        self.state.alter_row(conversation, change.seq, after);
    }
}
