//! After numbering: every result is checked, answers and rows are made, the batch for the log is
//! written.

use std::sync::Arc;

use imfast_faults::{Fault, on};
use imfast_wire::protobuf::{put_bytes, put_number, put_varint, varint_len};

use super::plan::{ChangeKind, ChangePlan, EventPlan, Plan};
use super::{Fold, Phase};
use crate::command::field;
use crate::config::FOLD_VERSION;
use crate::conversation::Shape;
use crate::outcome::{Disagreement, LogBatch, Outcome, Refused};
use crate::record::{Record, verdict};
use crate::rows::{self, Prefix};

/// A row of the batch in flight.
#[derive(Debug)]
pub(super) struct StagedRow {
    pub(super) bytes: Arc<[u8]>,
}

/// What the walk over the plans has reached.
struct Walk {
    payload: Vec<u8>,
    logged: u32,
    /// Buffer in which a row is written before it gets its own allocation.
    row: Vec<u8>,
}

impl Fold {
    /// Checks the numbering and makes the batch for the log. After an error the batch can only be
    /// rolled back.
    pub(crate) fn finish(&mut self) -> Result<LogBatch, Disagreement> {
        assert_eq!(self.phase, Phase::Begun, "a batch is being numbered");
        let mut walk = Walk {
            payload: Vec::new(),
            logged: 0,
            row: Vec::new(),
        };
        let mut plans = core::mem::take(&mut self.batch.plans);
        let commands = core::mem::take(&mut self.batch.commands);
        if !self.batch.replay {
            let bytes: usize = commands.iter().map(|command| command.len() + 16).sum();
            walk.payload.reserve(bytes);
        }
        let mut result = Ok(());
        for (plan, command) in plans.iter_mut().zip(&commands) {
            match self.finish_one(plan, command, &mut walk) {
                Ok(outcome) => self.batch.outcomes.push(outcome),
                Err(disagreement) => {
                    result = Err(disagreement);
                    break;
                }
            }
        }
        self.batch.plans = plans;
        self.batch.commands = commands;
        result?;
        self.phase = Phase::Finished;
        Ok(LogBatch {
            first_position: self.state.position + 1,
            count: walk.logged,
            time_ms: self.batch.time_ms,
            fold_version: FOLD_VERSION,
            payload: walk.payload,
        })
    }

    fn finish_one(
        &mut self,
        plan: &mut Plan,
        command: &[u8],
        walk: &mut Walk,
    ) -> Result<Outcome, Disagreement> {
        match plan {
            Plan::Settled(outcome) => Ok(outcome.clone()),
            Plan::Repeat(first) => Ok(self.batch.outcomes[*first as usize].clone()),
            Plan::Unchanged { conversation } => Ok(Outcome::Group {
                conversation: self.state.conversation_id(*conversation).clone(),
                seq: self.state.conversation(*conversation).staged_head(),
            }),
            Plan::Send {
                record: number,
                sender,
                refused,
                content,
                ..
            } => {
                let content = &command[content.start as usize..content.end as usize];
                let record = self.batch.records[*number as usize];
                let stage = |fold: &mut Self, walk: &mut Walk| {
                    fold.stage_message(&record, *sender, content, walk);
                };
                self.finish_send(*number, &record, *refused, walk, stage)
                    .inspect(|_| {
                        walk.log_if_new(self.batch.replay, &record, command, 0);
                    })
            }
            Plan::Change(change) => {
                let content = &command[change.content.start as usize..change.content.end as usize];
                let record = self.batch.records[change.record as usize];
                let stage = |fold: &mut Self, walk: &mut Walk| {
                    fold.stage_change(change, &record, content, walk);
                };
                self.finish_send(change.record, &record, change.refused, walk, stage)
                    .inspect(|_| {
                        let expires_ms = change.expires_ms;
                        walk.log_if_new(self.batch.replay, &record, command, expires_ms);
                    })
            }
            Plan::Cursors { record: number, .. } => {
                let record = self.batch.records[*number as usize];
                let accepted = record.verdict == verdict::ACCEPTED;
                self.expect(accepted, "cursors were not accepted", *number)?;
                self.place(*number, &record, walk)?;
                walk.log_if_new(self.batch.replay, &record, command, 0);
                Ok(Outcome::Acked)
            }
            Plan::Event(event) => {
                let record = self.batch.records[event.record as usize];
                self.expect(
                    record.verdict == verdict::NEW,
                    "event was not new",
                    event.record,
                )?;
                self.number(event.record, &record, walk)?;
                self.stage_event(event, &record, walk);
                walk.log_if_new(self.batch.replay, &record, command, 0);
                let conversation = self.state.conversation_id(record.conversation).clone();
                Ok(Outcome::Group {
                    conversation,
                    seq: record.seq,
                })
            }
            Plan::Cursor {
                record: number,
                seq,
                ..
            } => {
                let record = self.batch.records[*number as usize];
                let accepted = record.verdict == verdict::ACCEPTED;
                self.expect(accepted, "cursor was not accepted", *number)?;
                self.place(*number, &record, walk)?;
                *seq = (*seq).min(self.state.conversation(record.conversation).staged_head());
                walk.log_if_new(self.batch.replay, &record, command, 0);
                Ok(Outcome::Acked)
            }
        }
    }

    fn finish_send(
        &mut self,
        number: u32,
        record: &Record,
        refused: Option<Refused>,
        walk: &mut Walk,
        stage: impl FnOnce(&mut Self, &mut Walk),
    ) -> Result<Outcome, Disagreement> {
        if record.verdict == verdict::NEW {
            self.expect(refused.is_none(), "refused send was accepted", number)?;
            self.number(number, record, walk)?;
            stage(self, walk);
        } else {
            let is_replay = self.batch.replay;
            self.expect(!is_replay, "logged send was not new", number)?;
            // A conversation that this send was to create must not be left without a row.
            let exists = self.state.conversation(record.conversation).staged_head() > 0;
            self.expect(exists, "first send was not new", number)?;
        }
        match record.verdict {
            verdict::NEW | verdict::DUPLICATE => Ok(Outcome::Sent {
                conversation: self.state.conversation_id(record.conversation).clone(),
                seq: record.seq,
                message_id: record.message_id,
                position: record.position,
                time_ms: record.time_ms,
                duplicate: record.verdict == verdict::DUPLICATE,
            }),
            verdict::CONFLICT => Ok(Outcome::Refused(Refused::Conflict)),
            verdict::REFUSED => {
                let why = refused.ok_or_else(|| {
                    self.disagreement("allowed send was refused", number as usize)
                })?;
                Ok(Outcome::Refused(why))
            }
            _ => Err(self.disagreement("unknown verdict", number as usize)),
        }
    }

    /// Checks the position and id of an accepted record.
    fn place(&mut self, number: u32, record: &Record, walk: &Walk) -> Result<(), Disagreement> {
        let expected = self.state.position + u64::from(walk.logged) + 1;
        self.expect(
            record.position == expected,
            "position is not the next",
            number,
        )?;
        self.expect(
            record.time_ms == self.batch.time_ms,
            "time is not the batch's",
            number,
        )?;
        if record.message_id != 0 {
            let rises = record.message_id > self.batch.last_message_id;
            self.expect(rises, "message id does not rise", number)?;
            self.batch.last_message_id = record.message_id;
        }
        Ok(())
    }

    /// Checks a new number and counts it.
    fn number(&mut self, number: u32, record: &Record, walk: &Walk) -> Result<(), Disagreement> {
        self.place(number, record, walk)?;
        self.expect(record.message_id != 0, "message id is missing", number)?;
        let entry = self.state.conversation_mut(record.conversation);
        let is_next = record.seq == entry.staged_head() + 1;
        entry.staged += 1;
        let unchecked = on(Fault::DedupeAfterNumbering) || on(Fault::RolledBackNumberKept);
        self.expect(is_next || unchecked, "seq is not the next", number)
    }

    fn expect(&self, holds: bool, what: &'static str, number: u32) -> Result<(), Disagreement> {
        if holds {
            Ok(())
        } else {
            Err(self.disagreement(what, number as usize))
        }
    }

    fn prefix(&self, record: &Record, user: u32) -> Prefix<'_> {
        Prefix {
            conversation: self.state.conversation_id(record.conversation),
            seq: record.seq,
            message_id: record.message_id,
            user: self.state.user_name(user),
            time_ms: self.batch.time_ms,
        }
    }

    fn stage_message(&mut self, record: &Record, sender: u32, content: &[u8], walk: &mut Walk) {
        walk.row.clear();
        rows::put_message(&mut walk.row, self.prefix(record, sender), content);
        self.batch.rows.push(StagedRow {
            bytes: Arc::from(&walk.row[..]),
        });
    }

    fn stage_change(
        &mut self,
        change: &ChangePlan,
        record: &Record,
        content: &[u8],
        walk: &mut Walk,
    ) {
        walk.row.clear();
        let prefix = self.prefix(record, change.by);
        let name = match change.kind {
            field::RECALL => "recalled",
            field::EDIT => "edited",
            _ => "reacted",
        };
        rows::put_event(&mut walk.row, prefix, name, core::iter::empty(), "");
        put_number(&mut walk.row, 9, change.seq);
        walk.row.extend_from_slice(content);
        if change.kind == field::EDIT {
            put_number(&mut walk.row, 18, change.expires_ms);
        }
        self.batch.rows.push(StagedRow {
            bytes: Arc::from(&walk.row[..]),
        });
    }

    fn stage_event(&mut self, event: &EventPlan, record: &Record, walk: &mut Walk) {
        let users = event
            .users
            .iter()
            .map(|&user| &**self.state.user_name(user));
        let (title, open) = match (&event.settings, event.change) {
            (Some((title, open)), _) => (&**title, *open),
            (None, ChangeKind::Created) => {
                match &self.state.conversation(record.conversation).shape {
                    Shape::Group { title, .. } => (&**title, false),
                    Shape::Direct { .. } => ("", false),
                }
            }
            _ => ("", false),
        };
        walk.row.clear();
        let prefix = self.prefix(record, event.by);
        rows::put_event(&mut walk.row, prefix, event.change.name(), users, title);
        if let Some(role) = event.role {
            put_bytes(&mut walk.row, 16, role.name().as_bytes());
        }
        put_number(&mut walk.row, 17, u64::from(open));
        self.batch.rows.push(StagedRow {
            bytes: Arc::from(&walk.row[..]),
        });
    }
}

impl Walk {
    /// Appends an accepted command to the batch, with what the owner knows of it behind it: the last
    /// one counts (proto3).
    fn log_if_new(&mut self, replay: bool, record: &Record, command: &[u8], expires_ms: u64) {
        if !matches!(record.verdict, verdict::NEW | verdict::ACCEPTED) {
            return;
        }
        self.logged += 1;
        if replay {
            return;
        }
        let length = |number| match number {
            0 => 0,
            number => 1 + varint_len(number),
        };
        let added = length(record.message_id) + length(expires_ms);
        put_varint(&mut self.payload, (command.len() + added) as u64);
        self.payload.extend_from_slice(command);
        put_number(&mut self.payload, field::MESSAGE_ID, record.message_id);
        put_number(&mut self.payload, field::EXPIRES_MS, expires_ms);
    }
}
