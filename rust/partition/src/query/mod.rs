//! Questions about the committed state. A batch in flight is not seen.

mod catch_up;
mod deliver;
mod history;
mod lists;
mod rights;
mod rows;
mod shown;

pub use catch_up::{CatchUpFrom, CatchUpRow, Cursor, Page};
pub use history::{HistoryPage, HistoryRow, Window};
pub use lists::{ConversationKind, ConversationsPage, MemberInfo, MembersPage, Summary};
pub use rights::EphemeralTarget;
pub(crate) use shown::{Life, author};

use core::fmt;
use std::io;

use imfast_wire::frames::id::EVERYBODY;

use crate::conversation::Conversation;
use crate::members::Member;
use crate::outcome::Refused;
use crate::partition::Partition;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    pub tenant: &'a [u8],
    pub user: &'a str,
    /// The server asks itself: rights are not asked for.
    pub by_server: bool,
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum QueryError {
    Refused(Refused),
    /// The archive cannot be read.
    Archive(io::Error),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Archive(error) => write!(f, "the archive cannot be read: {error}"),
        }
    }
}

impl core::error::Error for QueryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Archive(error) => Some(error),
        }
    }
}

impl From<Refused> for QueryError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        Self::Archive(error)
    }
}

/// A committed conversation seen by somebody who is or was in it.
pub(crate) struct View<'a> {
    pub(crate) index: u32,
    pub(crate) conversation: &'a Conversation,
    pub(crate) member: &'a Member,
}

impl<O> Partition<O> {
    fn known_user(&self, who: Who<'_>) -> Option<u32> {
        let tenant = self.fold.state.find_tenant(who.tenant)?;
        self.fold.state.find_user(tenant, who.user)
    }

    /// The conversation of everybody, if anything was said in it.
    fn everybody(&self, tenant: &[u8]) -> Option<u32> {
        let state = &self.fold.state;
        state.find_conversation(state.find_tenant(tenant)?, EVERYBODY)
    }

    pub(crate) fn view(&self, who: Who<'_>, conversation: &str) -> Result<View<'_>, Refused> {
        let state = &self.fold.state;
        let found = state.find_tenant(who.tenant).and_then(|tenant| {
            let index = state.find_conversation(tenant, conversation)?;
            let open_to_all = who.by_server || conversation == EVERYBODY;
            let conversation = state.conversation(index);
            let member = if open_to_all {
                Member::of_all()
            } else {
                conversation
                    .members
                    .find(state.find_user(tenant, who.user)?)?
            };
            Some(View {
                index,
                conversation,
                member,
            })
        });
        found.ok_or(Refused::NotAMember)
    }
}
