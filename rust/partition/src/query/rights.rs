//! Rights of sends that are not stored, and the groups whose routes a session takes.

use std::sync::Arc;

use imfast_wire::frames::id;

use super::Who;
use crate::conversation::Shape;
use crate::members::Member;
use crate::outcome::{Audience, Refused};
use crate::partition::Partition;

/// Where an ephemeral send goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    Conversation(&'a str),
    /// The direct conversation with this user, which need not exist.
    Peer(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralTarget {
    /// Dense index of the conversation; none where it does not exist yet.
    index: Option<u32>,
    pub conversation: Arc<str>,
    pub audience: Audience,
}

impl<O> Partition<O> {
    /// Whether the user may send here, and to whom it goes. Nothing is created.
    pub fn may_send(&self, who: Who<'_>, target: Target<'_>) -> Result<EphemeralTarget, Refused> {
        match target {
            Target::Conversation(conversation) => self.may_send_to(who, conversation),
            Target::Peer(peer) => {
                let conversation = id::direct_conversation(who.tenant, who.user, peer);
                self.fold
                    .check_new_direct(who.tenant, who.user, peer, &conversation)?;
                let audience = Audience::Direct {
                    a: who.user.into(),
                    b: peer.into(),
                };
                Ok(EphemeralTarget {
                    index: None,
                    conversation: conversation.into(),
                    audience,
                })
            }
        }
    }

    /// Counts an ephemeral send against its group's rate. `time_ms` is the wall clock.
    pub fn count_ephemeral(
        &mut self,
        target: &EphemeralTarget,
        time_ms: u64,
    ) -> Result<(), Refused> {
        target
            .index
            .map_or(Ok(()), |index| self.fold.take_from_group(index, time_ms))
    }

    fn may_send_to(&self, who: Who<'_>, conversation: &str) -> Result<EphemeralTarget, Refused> {
        let view = self.view(who, conversation)?;
        if !view.member.is_in() {
            return Err(Refused::NotAMember);
        }
        Ok(EphemeralTarget {
            index: Some(view.index),
            conversation: self.fold.state.conversation_id(view.index).clone(),
            audience: self.audience(&view.conversation.shape),
        })
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

    /// Groups that the user is in at the committed position.
    pub fn groups_of(&self, who: Who<'_>) -> Vec<Arc<str>> {
        let Some(user) = self.known_user(who) else {
            return Vec::new();
        };
        let state = &self.fold.state;
        let list = state.user(user).conversations.iter();
        list.filter(|&&index| {
            let entry = state.conversation(index);
            matches!(entry.shape, Shape::Group { .. })
                && entry.members.find(user).is_some_and(Member::is_in)
        })
        .map(|&index| state.conversation_id(index).clone())
        .collect()
    }
}
