//! The batch becomes state.

use core::ops::RangeInclusive;

use super::plan::{EventPlan, Plan};
use super::{Fold, Phase};
use crate::command_keys::FirstResult;
use crate::conversation::Shape;
use crate::members::Role;
use crate::outcome::{Outcome, RowKind};
use crate::record::{Record, verdict};
use crate::state::Place;

use super::finish::StagedRow;
use imfast_faults::{Fault, on};

impl Fold {
    /// Makes the finished batch state. Returns the outcomes and the positions added.
    pub(crate) fn commit(&mut self) -> (Vec<Outcome>, RangeInclusive<u64>) {
        assert_eq!(self.phase, Phase::Finished, "the batch is finished");
        let first = self.state.position() + 1;
        self.unstage();
        let mut rows = core::mem::take(&mut self.batch.rows);
        let mut staged = rows.drain(..);
        let plans = core::mem::take(&mut self.batch.plans);
        for plan in &plans {
            self.apply(plan, &mut staged);
        }
        assert!(staged.next().is_none(), "every row belongs to a command");
        drop(staged);
        let last = self.state.position();
        if last >= first {
            self.state
                .command_keys
                .expire(self.batch.time_ms, &self.config.limits);
        }
        self.state.last_message_id = self.batch.last_message_id;
        self.batch.rows = rows;
        self.batch.plans = plans;
        let outcomes = core::mem::take(&mut self.batch.outcomes);
        self.close();
        (outcomes, first..=last)
    }

    fn apply(&mut self, plan: &Plan, rows: &mut impl Iterator<Item = StagedRow>) {
        match plan {
            Plan::Settled(_) | Plan::Repeat(_) | Plan::Unchanged { .. } => {}
            Plan::Send { record, sender, .. } => {
                let record = self.batch.records[*record as usize];
                if record.verdict == verdict::NEW {
                    self.push_row(&record, RowKind::Message, rows);
                    self.apply_send(&record, *sender);
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
                let place = Place {
                    conversation: record.conversation,
                    seq: 0,
                };
                self.state.places.push(place);
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
        self.state.row_bytes += row.bytes.len();
        let entry = self.state.conversation_mut(record.conversation);
        entry.push(row.bytes, record.position, kind);
        let unchecked = on(Fault::DedupeAfterNumbering) || on(Fault::RolledBackNumberKept);
        assert!(
            entry.head() == record.seq || unchecked,
            "rows follow the numbers"
        );
        let place = Place {
            conversation: record.conversation,
            seq: entry.head(),
        };
        self.state.places.push(place);
    }

    fn apply_send(&mut self, record: &Record, sender: u32) {
        let entry = self.state.conversation_mut(record.conversation);
        if let (1, &Shape::Direct { a, b }) = (record.seq, &entry.shape) {
            for user in [a, b] {
                self.state
                    .conversation_mut(record.conversation)
                    .members
                    .join(user, Role::Member, record.seq);
                self.state.list_conversation(user, record.conversation);
            }
        }
        let entry = self.state.conversation_mut(record.conversation);
        if let Some(member) = entry.members.find_mut(sender) {
            member.last_send = record.seq;
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
        if let Shape::Group { owner, .. } = &mut entry.shape {
            *owner = if left_empty {
                None
            } else {
                event.new_owner.or(*owner)
            };
        }
        if let Some((key, payload)) = event.key {
            let first = FirstResult {
                seq: record.seq,
                payload,
                time_ms: self.batch.time_ms,
            };
            self.state.command_keys.insert(key, first);
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
        if let Some(member) = members.find_mut(user) {
            member.read = seq.max(member.read);
        }
    }
}
