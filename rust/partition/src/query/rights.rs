//! Rights of sends that are not stored, and the groups whose routes a session takes.

use std::sync::Arc;

use imfast_wire::frames::id::{self, EVERYBODY};

use super::Who;
use crate::conversation::Shape;
use crate::fold::check_peer;
use crate::members::Member;
use crate::outcome::{Audience, Refused};
use crate::partition::Partition;

/// A conversation that an ephemeral send goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralTarget {
    /// Dense index of the conversation.
    index: u32,
    pub audience: Audience,
}

impl<O> Partition<O> {
    /// Whether the user may send here, and to whom it goes. Nothing is created.
    pub fn may_send(&self, who: Who<'_>, conversation: &str) -> Result<EphemeralTarget, Refused> {
        let view = self.view(who, conversation)?;
        if !view.member.is_in() {
            return Err(Refused::NotAMember);
        }
        if id::is_broadcast(conversation) && !who.by_server {
            return Err(Refused::NotAllowed);
        }
        Ok(EphemeralTarget {
            index: view.index,
            audience: self.audience(&view.conversation.shape),
        })
    }

    /// Whether the user may send to `peer`, with whom no conversation need exist. `conversation`
    /// is the two users', as the gateway derived it; the hash is not made a second time.
    pub fn may_send_to_peer(
        &self,
        who: Who<'_>,
        peer: &str,
        conversation: &str,
    ) -> Result<(), Refused> {
        check_peer(who.user, peer)?;
        debug_assert_eq!(
            id::direct_conversation(who.tenant, who.user, peer),
            conversation
        );
        self.fold.check_partition(who.tenant, conversation)
    }

    /// Counts an ephemeral send against its group's rate. `time_ms` is the wall clock.
    pub fn count_ephemeral(
        &mut self,
        target: &EphemeralTarget,
        time_ms: u64,
    ) -> Result<(), Refused> {
        self.fold.take_from_group(target.index, time_ms)
    }

    pub(super) fn audience(&self, shape: &Shape) -> Audience {
        let state = &self.fold.state;
        match *shape {
            Shape::Group { .. } => Audience::Group,
            Shape::Direct { a, b } => Audience::Direct {
                a: state.user_name(a).clone(),
                b: state.user_name(b).clone(),
            },
        }
    }

    /// Groups that the user is in at the committed position. Everybody's is among them where it
    /// belongs to this partition, also before anything was said in it.
    pub fn groups_of(&self, who: Who<'_>) -> Vec<Arc<str>> {
        let own = self.fold.check_partition(who.tenant, EVERYBODY).is_ok();
        let everybody = own.then(|| Arc::from(EVERYBODY));
        let Some(user) = self.known_user(who) else {
            return everybody.into_iter().collect();
        };
        let state = &self.fold.state;
        let list = state.user(user).conversations.iter();
        list.filter(|&&index| {
            let entry = state.conversation(index);
            matches!(entry.shape, Shape::Group { .. })
                && entry.members.find(user).is_some_and(Member::is_in)
        })
        .map(|&index| state.conversation_id(index).clone())
        .chain(everybody)
        .collect()
    }
}
