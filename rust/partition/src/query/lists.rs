//! Lists: a user's conversations, a conversation's members.

use std::io;
use std::sync::Arc;

use imfast_wire::frames::id::EVERYBODY;

use super::history::HistoryRow;
use super::{View, Who};
use crate::conversation::Shape;
use crate::fold::READER;
use crate::members::{Member, Role};
use crate::outcome::Refused;
use crate::partition::Partition;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationKind {
    Direct,
    Group,
}

impl ConversationKind {
    /// The kind's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }
}

/// One conversation as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub conversation: Arc<str>,
    pub kind: ConversationKind,
    /// Empty for direct conversations.
    pub title: Arc<str>,
    /// The other user of a direct conversation.
    pub peer: Option<Arc<str>>,
    /// The last number.
    pub seq: u64,
    /// First number of the present stay.
    pub joined_seq: u64,
    pub read_seq: u64,
    /// Cursor of the asking device, 0 for none.
    pub acked_seq: u64,
    /// Messages, not events, since the user joined, read or sent.
    pub unread: u64,
    pub last: Option<HistoryRow>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationsPage {
    pub items: Vec<Summary>,
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    pub user: Arc<str>,
    pub role: Role,
    pub joined_seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersPage {
    /// The conversation's last number, of which this page tells.
    pub seq: u64,
    pub members: Vec<MemberInfo>,
    pub more: bool,
}

impl<O> Partition<O> {
    /// Conversations that the user is in, oldest first. `after` is the last id of the page before;
    /// an id that the user has nothing to do with, or an empty one, starts from the beginning.
    pub fn conversations(
        &self,
        who: Who<'_>,
        device: &str,
        after: &str,
        limit: usize,
        now_ms: u64,
    ) -> io::Result<ConversationsPage> {
        let mut page = ConversationsPage {
            items: Vec::new(),
            more: false,
        };
        if after == EVERYBODY {
            return Ok(page); // it is the last one
        }
        let state = &self.fold.state;
        let user = self.known_user(who);
        if let Some(user) = user {
            self.own_conversations((user, device), after, limit, now_ms, &mut page)?;
        }
        let Some(index) = self.everybody(who.tenant).filter(|_| !page.more) else {
            return Ok(page);
        };
        if page.items.len() >= limit.max(1) {
            page.more = true;
            return Ok(page);
        }
        let cursor = |device| user.and_then(|user| self.fold.acked(user, device, index));
        let view = View {
            index,
            conversation: state.conversation(index),
            member: Member::of_all(),
        };
        let [acked_seq, read_seq] = [device, READER].map(|name| cursor(name).unwrap_or(0));
        page.items
            .push(self.summary(&view, acked_seq, read_seq, now_ms)?);
        Ok(page)
    }

    fn own_conversations(
        &self,
        (user, device): (u32, &str),
        after: &str,
        limit: usize,
        now_ms: u64,
        page: &mut ConversationsPage,
    ) -> io::Result<()> {
        let state = &self.fold.state;
        let list = &state.user(user).conversations;
        let after = state.find_conversation(state.user_tenant(user), after);
        let start = match after.map(|index| list.binary_search(&index)) {
            Some(Ok(place)) => place + 1,
            _ => 0,
        };
        for &index in &list[start..] {
            let conversation = state.conversation(index);
            let Some(member) = conversation
                .members
                .find(user)
                .filter(|member| member.is_in())
            else {
                continue;
            };
            if page.items.len() >= limit.max(1) {
                page.more = true;
                break;
            }
            let acked_seq = self.acked(user, device, index).unwrap_or(0);
            let (read_seq, _) = self.cursors_of(index, member);
            let view = View {
                index,
                conversation,
                member,
            };
            page.items
                .push(self.summary(&view, acked_seq, read_seq, now_ms)?);
        }
        Ok(())
    }

    fn summary(
        &self,
        view: &View<'_>,
        acked_seq: u64,
        read_seq: u64,
        now_ms: u64,
    ) -> io::Result<Summary> {
        let state = &self.fold.state;
        let View {
            index,
            conversation,
            member,
        } = *view;
        let (kind, title, peer) = match &conversation.shape {
            Shape::Direct { a, b } => {
                let peer = if member.user == *a { *b } else { *a };
                (
                    ConversationKind::Direct,
                    Arc::from(""),
                    Some(state.user_name(peer).clone()),
                )
            }
            Shape::Group { title, .. } => (ConversationKind::Group, title.clone(), None),
        };
        let head = conversation.head();
        let rows = state.rows(index, now_ms);
        let mut last = None;
        if head > 0 {
            let row = rows.row(head)?;
            let last = last.insert(HistoryRow {
                seq: head,
                kind: row.kind,
                row: row.bytes,
            });
            last.show(&rows)?;
        }
        Ok(Summary {
            conversation: state.conversation_id(index).clone(),
            kind,
            title,
            peer,
            seq: head,
            joined_seq: member.joined,
            read_seq,
            acked_seq,
            unread: rows.ordinal(head)? - rows.ordinal(seen(member, read_seq))?,
            last,
        })
    }

    /// Current members in the order in which they first joined. `after` is the last user of the
    /// page before; a user who was never in, or an empty one, starts from the beginning. Only
    /// current members may ask.
    pub fn members(
        &self,
        who: Who<'_>,
        conversation: &str,
        after: &str,
        limit: usize,
    ) -> Result<MembersPage, Refused> {
        let View {
            conversation,
            member,
            ..
        } = self.view(who, conversation)?;
        if !member.is_in() {
            return Err(Refused::NotAMember);
        }
        let state = &self.fold.state;
        let after = state.find_user(conversation.tenant, after);
        let start = after.and_then(|user| conversation.members.place(user));
        let rest = &conversation.members.all()[start.map_or(0, |place| place + 1)..];
        let mut current = rest.iter().filter(|member| member.is_in());
        let members = current
            .by_ref()
            .take(limit.max(1))
            .map(|member| MemberInfo {
                user: state.user_name(member.user).clone(),
                role: member.role,
                joined_seq: member.joined,
            })
            .collect();
        Ok(MembersPage {
            seq: conversation.head(),
            members,
            more: current.next().is_some(),
        })
    }
}

/// The last number that does not count as unread.
fn seen(member: &Member, read: u64) -> u64 {
    read.max(member.last_send).max(member.joined - 1)
}
