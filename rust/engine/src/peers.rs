//! Direct conversations that users here sent to of late: what follows from the names of two users.
//!
//! A conversation's id is a SHA-256 of them, and whoever writes to somebody soon does so again. What
//! is not found here is made anew, so that forgetting costs time and nothing else.

use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;
use std::rc::Rc;

/// Conversations that are remembered: at most a megabyte or so, in a worker that has no more
/// connections than this many times five.
const PLACES: usize = 4096;

/// One user's way to another.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The scoped key of the one who sends.
    pub user: Rc<str>,
    pub name: Box<str>,
    pub conversation: Box<str>,
    pub partition: u16,
    /// Keys of both in the node's route table.
    pub routes: [u64; 2],
}

/// A place for each hash of two names; who comes last has it.
#[derive(Default)]
pub(crate) struct Peers {
    /// Empty until somebody sends.
    places: Vec<Option<Rc<Peer>>>,
    hashing: DefaultHashBuilder,
}

impl Peers {
    /// `user` is the very key that the conversation was remembered with, not just an equal one: a
    /// key that is held here has an address of its own.
    #[inline]
    pub(crate) fn find(&self, user: &Rc<str>, peer: &str) -> Option<Rc<Peer>> {
        let known = self.places.get(self.place(user, peer))?.as_ref()?;
        (Rc::ptr_eq(&known.user, user) && *known.name == *peer).then(|| Rc::clone(known))
    }

    pub(crate) fn remember(&mut self, peer: Peer) -> Rc<Peer> {
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let place = self.place(&peer.user, &peer.name);
        let peer = Rc::new(peer);
        self.places[place] = Some(Rc::clone(&peer));
        peer
    }

    fn place(&self, user: &Rc<str>, peer: &str) -> usize {
        let address = Rc::as_ptr(user).addr();
        self.hashing.hash_one((address, peer)) as usize % PLACES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(user: &Rc<str>, peer: &str) -> Peer {
        Peer {
            user: Rc::clone(user),
            name: peer.into(),
            conversation: format!("d.{peer}").into(),
            partition: 3,
            routes: [1, 2],
        }
    }

    #[test]
    fn a_conversation_is_found_by_the_two_it_was_remembered_for_and_by_nobody_else() {
        let mut peers = Peers::default();
        let [ann, other]: [Rc<str>; 2] = ["t\0ann".into(), "t\0ann".into()];
        assert!(peers.find(&ann, "bob").is_none());
        peers.remember(peer(&ann, "bob"));
        let found = peers.find(&ann, "bob").expect("remembered");
        assert_eq!(&*found.conversation, "d.bob");
        assert!(peers.find(&ann, "bo").is_none());
        assert!(peers.find(&other, "bob").is_none());
    }

    #[test]
    fn who_comes_later_takes_a_place_and_what_is_found_is_always_right() {
        let mut peers = Peers::default();
        let users: Vec<Rc<str>> = (0..100).map(|n| format!("t\0{n}").into()).collect();
        for user in &users {
            for name in 0..100 {
                peers.remember(peer(user, &name.to_string()));
            }
        }
        let mut found = 0;
        for user in &users {
            for name in (0..100).map(|name| name.to_string()) {
                let Some(known) = peers.find(user, &name) else {
                    continue;
                };
                assert_eq!((&*known.name, &*known.user), (&*name, &**user));
                found += 1;
            }
        }
        assert!((1..=PLACES).contains(&found), "{found}");
    }
}
