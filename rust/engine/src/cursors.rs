//! Cursors at their owner: they count at once, are logged some time later, and are told to senders.

use crate::engine::Engine;
use crate::notices::Notice;
use crate::origin::Origin;
use crate::owner::Storage;
use crate::refusals::refusal;
use imfast_partition::{Incoming, Noted, Receipt, Refused};
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use std::borrow::Cow;

/// Users' cursors in one command.
const LOGGED_AT_ONCE: usize = 4_096;
/// Senders are told at once, and after that what happened meanwhile, not before this time.
const RECEIPTS_MS: u64 = 200;

impl Engine {
    /// Takes an encoded ack or read.
    pub(crate) fn take_cursor(&mut self, partition: u16, command: Vec<u8>, origin: Origin) {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return self.unavailable(partition, origin);
        };
        if matches!(owned.storage, Storage::Poisoned) {
            return self.unavailable(partition, origin);
        }
        let noted = owned.partition.note_cursor(&command);
        let early = matches!(noted, Ok(Noted::Clamped) | Err(Refused::NotAMember));
        if early && !owned.settled() {
            // What comes before it on its way to the log may be what it means.
            return owned.await_outcomes(command, origin);
        }
        let body = match noted {
            Ok(Noted::Apart) => return self.enqueue(partition, Incoming { command, origin }),
            Ok(_) => ServerBody::Acked,
            Err(refused) => refusal(refused),
        };
        self.answer(partition, origin, body);
    }

    /// Puts cursors that are not logged on their way to the log.
    pub(crate) fn log_cursors(&mut self) {
        for partition in 0..self.partitions() {
            self.log_cursors_of(partition);
        }
    }

    fn log_cursors_of(&mut self, partition: u16) {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return;
        };
        if !matches!(owned.storage, Storage::Serving(_)) {
            return;
        }
        if let Some(command) = owned.partition.take_cursors(LOGGED_AT_ONCE) {
            let origin = Origin::Cursors;
            self.enqueue(partition, Incoming { command, origin });
        }
    }

    /// The outcome of a command that [`Self::log_cursors`] made.
    pub(crate) fn cursors_answered(&mut self, partition: u16, failed: bool) {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return;
        };
        owned.cursors_failed = failed;
        if failed {
            // The next time takes them again.
            return owned.partition.cursors_lost();
        }
        owned.partition.cursors_logged();
        if owned.partition.cursors_waiting() >= LOGGED_AT_ONCE || self.draining {
            self.log_cursors_of(partition);
        }
    }

    /// Tells senders how far their messages came.
    pub(crate) fn tell_receipts(&mut self) {
        let (now_ms, members_max) = (self.now_ms, self.config.receipt_members_max);
        for partition in 0..self.partitions() {
            let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
                continue;
            };
            if !owned.partition.has_receipts() || owned.receipts_at_ms > now_ms {
                continue;
            }
            owned.receipts_at_ms = now_ms + RECEIPTS_MS;
            for receipt in owned.partition.take_receipts(members_max) {
                self.tell_receipt(partition, &receipt);
            }
        }
    }

    fn tell_receipt(&mut self, partition: u16, receipt: &Receipt) {
        let body = ServerBody::Receipt {
            conversation: Cow::Borrowed(&receipt.conversation),
            user: Cow::Borrowed(&receipt.user),
            delivered_seq: receipt.delivered_seq,
            read_seq: receipt.read_seq,
        };
        self.notify(
            partition,
            &Notice {
                // Tenants are made from text; other bytes never get into a command.
                tenant: std::str::from_utf8(&receipt.tenant).unwrap_or(""),
                users: receipt.to.iter().map(|user| &**user).collect(),
                frame: ServerFrame::push(body),
            },
        );
    }
}
