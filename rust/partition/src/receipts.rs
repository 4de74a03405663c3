//! Who is to be told that a message arrived or was read, and how many have it.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::members::Member;
use crate::outcome::Refused;
use crate::partition::Partition;
use crate::query::{Who, author};

/// Cursors that moved since senders were told last, and where they stood then: (delivered, read).
#[derive(Debug, Default)]
pub(crate) struct Moved {
    from: HashMap<(u32, u32), (u64, u64)>,
    /// In the order in which they moved first.
    order: Vec<(u32, u32)>,
}

impl Moved {
    pub(crate) fn note(&mut self, conversation: u32, user: u32, from: (u64, u64)) {
        let key = (conversation, user);
        self.from.entry(key).or_insert_with(|| {
            self.order.push(key);
            from
        });
    }
}

/// What the senders of messages are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub tenant: Arc<[u8]>,
    pub conversation: Arc<str>,
    /// Whose cursors moved.
    pub user: Arc<str>,
    pub delivered_seq: u64,
    pub read_seq: u64,
    /// Users whose devices are told.
    pub to: Vec<Arc<str>>,
}

/// How many of the members that a message went to, its sender aside, have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptCounts {
    pub seq: u64,
    pub delivered: u64,
    pub read: u64,
    pub members: u64,
}

impl<O> Partition<O> {
    /// Whether [`Self::take_receipts`] has something to tell.
    pub fn has_receipts(&self) -> bool {
        !self.moved.order.is_empty()
    }

    /// What senders are to be told since the last time. In conversations of more than `members_max`
    /// current members nobody but the reader himself is told anything: senders ask there.
    pub fn take_receipts(&mut self, members_max: usize) -> Vec<Receipt> {
        let order = core::mem::take(&mut self.moved.order);
        let mut receipts = Vec::with_capacity(order.len());
        for (conversation, user) in order {
            let Some(from) = self.moved.from.remove(&(conversation, user)) else {
                continue;
            };
            receipts.extend(self.receipt(conversation, user, from, members_max));
        }
        receipts
    }

    fn receipt(
        &self,
        conversation: u32,
        user: u32,
        (delivered, read): (u64, u64),
        members_max: usize,
    ) -> Option<Receipt> {
        let state = &self.fold.state;
        let entry = state.conversation(conversation);
        let member = entry.members.find(user).filter(|member| member.is_in())?;
        let (read_seq, delivered_seq) = self.cursors_of(conversation, member);
        let was = if read_seq > read {
            read.min(delivered)
        } else {
            delivered
        };
        // The other devices of who read show the same as unread.
        let mut to = Vec::new();
        if read_seq > read {
            to.push(state.user_name(user).clone());
        }
        if entry.members.current() <= members_max {
            let senders = entry.members.all().iter();
            let senders = senders
                .filter(|other| other.user != user && other.is_in() && other.last_send > was)
                .map(|other| state.user_name(other.user).clone());
            to.extend(senders);
        }
        (!to.is_empty()).then(|| Receipt {
            tenant: state.tenants.name(entry.tenant).clone(),
            conversation: state.conversation_id(conversation).clone(),
            user: state.user_name(user).clone(),
            delivered_seq,
            read_seq,
            to,
        })
    }

    /// How many have message `seq`; one above the head counts as that. Its sender counts in no
    /// number, and who sent something later has read it.
    ///
    /// # Errors
    /// Who asks is not in the conversation, or did not see the message.
    pub fn receipt_counts(
        &self,
        who: Who<'_>,
        conversation: &str,
        seq: u64,
    ) -> Result<ReceiptCounts, Refused> {
        let view = self.view(who, conversation)?;
        if !view.member.is_in() {
            return Err(Refused::NotAMember);
        }
        let seq = seq.min(view.conversation.head());
        let saw = |member: &Member| member.stays().any(|(from, to)| (from..to).contains(&seq));
        if !saw(view.member) {
            return Err(Refused::NoSuchMessage);
        }
        let mut counts = ReceiptCounts {
            seq,
            delivered: 0,
            read: 0,
            members: 0,
        };
        let sender = self.sender_of(view.index, seq)?;
        for member in view.conversation.members.all() {
            if !member.is_in() || !saw(member) || Some(member.user) == sender {
                continue;
            }
            counts.members += 1;
            let (read, delivered) = self.cursors_of(view.index, member);
            let (read, delivered) = (read.max(member.last_send), delivered.max(member.last_send));
            counts.read += u64::from(read >= seq);
            counts.delivered += u64::from(delivered >= seq);
        }
        Ok(counts)
    }

    fn sender_of(&self, conversation: u32, seq: u64) -> Result<Option<u32>, Refused> {
        let state = &self.fold.state;
        let row = state.rows(conversation, 0).row(seq);
        let row = row.map_err(|_| Refused::Unreadable)?;
        let from = author(&row.bytes).unwrap_or("");
        Ok(state.find_user(state.conversation(conversation).tenant, from))
    }
}
