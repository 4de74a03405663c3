//! The batch becomes state.

use super::plan::{EventPlan, Plan};
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
                ..
            } => {
                let record = self.batch.records[*record as usize];
                if record.verdict == verdict::NEW {
                    self.push_row(&record, RowKind::Message, rows);
                    self.apply_send(&record, *sender, *made_ms);
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
            } else {
                members.leave(user, record.seq);
            }
        }
        let entry = self.state.conversation_mut(record.conversation);
        if let Some(member) = event
            .new_owner
            .and_then(|user| entry.members.find_mut(user))
        {
            member.role = Role::Owner;
        }
        let left_empty = entry.members.current() == 0;
        let mut owner_changed = false;
        if let Shape::Group { owner, .. } = &mut entry.shape {
            let before = *owner;
            *owner = if left_empty {
                None
            } else {
                event.new_owner.or(*owner)
            };
            owner_changed = *owner != before;
        }
        if self.state.gather.is_on() {
            for &user in event.users.iter().chain(&event.new_owner) {
                self.state.gather_member(record.conversation, user);
            }
            if owner_changed {
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
        if let Some(device) = device {
            let (conversation, position) = (record.conversation, record.position);
            self.state.ack(
                user,
                device,
                conversation,
                seq,
                position,
                &self.config.limits,
            );
            return;
        }
        let members = &mut self.state.conversation_mut(record.conversation).members;
        let Some(place) = members.place(user) else {
            return;
        };
        if let Some(member) = members.at_mut(place) {
            let read = seq.max(member.read);
            member.read = read;
            if self.state.gather.is_on() {
                let key = keys::read(record.conversation, place as u32);
                self.state.gather.number(key, read);
            }
        }
    }
}
