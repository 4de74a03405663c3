//! The batch becomes state.

use super::plan::{ChangeKind, EventPlan, Plan};
use super::{Fold, Phase};
use crate::command_keys::FirstResult;
use crate::conversation::Shape;
use crate::members::Role;
use crate::outcome::{Outcome, RowKind};
use crate::record::{Record, verdict};
use crate::state_keys as keys;

use super::finish::StagedRow;
use imfast_faults::{Fault, on};

impl Fold {
    /// Makes the finished batch state. Returns the outcomes and how many rows were added.
    pub(crate) fn commit(&mut self) -> (Vec<Outcome>, usize) {
        assert_eq!(self.phase, Phase::Finished, "the batch is finished");
        let before = self.state.position;
        self.unstage();
        if self.state.gather.is_on() {
            self.state.gather_names(self.batch.mark);
        }
        let mut rows = core::mem::take(&mut self.batch.rows);
        let added = rows.len();
        let mut staged = rows.drain(..);
        let plans = core::mem::take(&mut self.batch.plans);
        for plan in &plans {
            self.apply(plan, &mut staged);
        }
        assert!(staged.next().is_none(), "every row belongs to a command");
        drop(staged);
        if self.state.position > before {
            let (time_ms, gather) = (self.batch.time_ms, &mut self.state.gather);
            self.state.time_ms = time_ms.max(self.state.time_ms);
            let forgotten = |position| {
                if gather.is_on() {
                    gather.removed(keys::command(position));
                }
            };
            self.state
                .command_keys
                .expire(time_ms, &self.config.limits, forgotten);
            self.state.gather.batch_ended(time_ms);
        }
        self.state.last_message_id = self.batch.last_message_id;
        self.batch.rows = rows;
        self.batch.plans = plans;
        let outcomes = core::mem::take(&mut self.batch.outcomes);
        self.close();
        (outcomes, added)
    }

    fn apply(&mut self, plan: &Plan, rows: &mut impl Iterator<Item = StagedRow>) {
        match plan {
            Plan::Settled(_) | Plan::Repeat(_) | Plan::Unchanged { .. } => {}
            Plan::Send {
                record,
                sender,
                made_ms,
                ttl_ms,
                ..
            } => {
                let record = self.batch.records[*record as usize];
                if record.verdict == verdict::NEW {
                    self.push_row(&record, RowKind::Message, rows);
                    self.apply_send(&record, *sender, *made_ms);
                    if *ttl_ms > 0 {
                        let end_ms = self.batch.time_ms.saturating_add(*ttl_ms);
                        self.state.first_expiry_ms = end_ms.min(self.state.first_expiry_ms);
                    }
                }
            }
            Plan::Change(change) => {
                let record = self.batch.records[change.record as usize];
                if record.verdict == verdict::NEW {
                    self.push_row(&record, RowKind::Event, rows);
                    self.apply_change(record.conversation, record.seq, change);
                    if self.state.gather.is_on() && record.key_high | record.key_low != 0 {
                        self.state.gather.key(&record, change.made_ms);
                    }
                }
            }
            Plan::Cursors { steps, .. } => {
                self.state.position += 1;
                let position = self.state.position;
                for step in steps {
                    let conversation = step.conversation;
                    let head = self.state.conversation(conversation).head();
                    for (device, seq) in &step.acks {
                        let seq = head.min(*seq);
                        self.apply_ack(step.user, device, conversation, seq, position);
                    }
                    if step.read > 0 {
                        self.apply_read(conversation, step.user, head.min(step.read));
                    }
                }
            }
            Plan::Event(event) => {
                let record = self.batch.records[event.record as usize];
                self.push_row(&record, RowKind::Event, rows);
                self.apply_event(&record, event);
            }
            Plan::Cursor {
                record,
                user,
                device,
                seq,
            } => {
                let record = self.batch.records[*record as usize];
                self.state.position += 1;
                self.apply_cursor(&record, *user, device.as_deref(), *seq);
            }
        }
    }

    fn push_row(
        &mut self,
        record: &Record,
        kind: RowKind,
        rows: &mut impl Iterator<Item = StagedRow>,
    ) {
        let row = rows.next().expect("every new record has a row");
        let seq = self.state.push_row(record.conversation, row.bytes, kind);
        let unchecked = on(Fault::DedupeAfterNumbering) || on(Fault::RolledBackNumberKept);
        assert!(seq == record.seq || unchecked, "rows follow the numbers");
    }

    fn apply_send(&mut self, record: &Record, sender: u32, made_ms: u64) {
        let entry = self.state.conversation_mut(record.conversation);
        if let (1, &Shape::Direct { a, b }) = (record.seq, &entry.shape) {
            for user in [a, b] {
                self.state
                    .conversation_mut(record.conversation)
                    .members
                    .join(user, Role::Member, record.seq);
                self.state.list_conversation(user, record.conversation);
                if self.state.gather.is_on() {
                    self.state.gather_member(record.conversation, user);
                }
            }
        }
        let entry = self.state.conversation_mut(record.conversation);
        let place = entry.members.place(sender);
        if let Some(member) = place.and_then(|place| entry.members.at_mut(place)) {
            member.last_send = record.seq;
        }
        let gather = &mut self.state.gather;
        if !gather.is_on() {
            return;
        }
        if let Some(place) = place {
            gather.number(keys::sent(record.conversation, place as u32), record.seq);
        }
        if record.key_high | record.key_low != 0 {
            gather.key(record, made_ms);
        }
    }

    fn apply_event(&mut self, record: &Record, event: &EventPlan) {
        for &user in &event.users {
            let members = &mut self.state.conversation_mut(record.conversation).members;
            if event.change.adds() {
                if members.join(user, Role::Member, record.seq) {
                    self.state.list_conversation(user, record.conversation);
                }
            } else if event.change.removes() {
                members.leave(user, record.seq);
            } else if let Some(member) = members.find_mut(user) {
                member.role = event.role.unwrap_or(member.role);
                member.muted = match event.change {
                    ChangeKind::Muted => true,
                    ChangeKind::Unmuted => false,
                    _ => member.muted,
                };
            }
        }
        let deposed =
            (event.change == ChangeKind::Role && event.new_owner.is_some()).then_some(event.by);
        let entry = self.state.conversation_mut(record.conversation);
        if let Some(member) = event
            .new_owner
            .and_then(|user| entry.members.find_mut(user))
        {
            member.role = Role::Owner;
        }
        if let Some(member) = deposed.and_then(|user| entry.members.find_mut(user)) {
            member.role = Role::Admin;
        }
        let left_empty = entry.members.current() == 0;
        let mut shape_changed = false;
        if let Shape::Group {
            owner, title, open, ..
        } = &mut entry.shape
        {
            if let Some(settings) = &event.settings {
                (*title, *open) = settings.clone();
                shape_changed = true;
            }
            let before = *owner;
            *owner = if left_empty {
                None
            } else {
                event.new_owner.or(*owner)
            };
            shape_changed |= *owner != before;
        }
        if self.state.gather.is_on() {
            for &user in event.users.iter().chain(&event.new_owner).chain(&deposed) {
                self.state.gather_member(record.conversation, user);
            }
            if shape_changed {
                self.state.gather_conversation(record.conversation);
            }
        }
        if let Some((key, payload)) = event.key {
            let first = FirstResult {
                seq: record.seq,
                payload,
                time_ms: self.batch.time_ms,
            };
            self.state.command_keys.insert(key, first, record.position);
            if self.state.gather.is_on() {
                let value = keys::command_value(key, first);
                self.state
                    .gather
                    .bytes(keys::command(record.position), value);
            }
        }
    }

    fn apply_cursor(&mut self, record: &Record, user: u32, device: Option<&str>, seq: u64) {
        match device {
            Some(device) => {
                self.apply_ack(user, device, record.conversation, seq, record.position);
            }
            None => self.apply_read(record.conversation, user, seq),
        }
    }

    fn apply_ack(&mut self, user: u32, device: &str, conversation: u32, seq: u64, position: u64) {
        let limits = &self.config.limits;
        self.state
            .ack(user, device, conversation, seq, position, limits);
    }

    fn apply_read(&mut self, conversation: u32, user: u32, seq: u64) {
        let members = &mut self.state.conversation_mut(conversation).members;
        let Some(place) = members.place(user) else {
            return;
        };
        if let Some(member) = members.at_mut(place) {
            let read = seq.max(member.read);
            member.read = read;
            if self.state.gather.is_on() {
                let key = keys::read(conversation, place as u32);
                self.state.gather.number(key, read);
            }
        }
    }
}
