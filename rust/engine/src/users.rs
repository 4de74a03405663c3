//! Users with sessions on this worker.

use crate::presence::Standing;
use crate::slab::Slab;
use hashbrown::HashMap;
use imfast_wire::rate::Bucket;
use std::rc::Rc;

/// One user and the slots of its connections here.
pub(crate) struct LocalUser {
    /// Tenant, NUL, user id.
    pub key: Rc<str>,
    /// Key in the node's route table.
    pub route: u64,
    pub sessions: Vec<u32>,
    /// Connections here that act for it without a session.
    pub guests: u32,
    /// What they have asked of late, together.
    pub asked: Bucket,
    /// How its owner was told that it stands.
    pub stands: Standing,
}

impl LocalUser {
    pub(crate) fn tenant(&self) -> &str {
        unscoped(&self.key).0
    }

    pub(crate) fn name(&self) -> &str {
        unscoped(&self.key).1
    }
}

/// By key and by 4-byte index.
#[derive(Default)]
pub(crate) struct Users {
    by_key: HashMap<Rc<str>, u32>,
    users: Slab<LocalUser>,
}

/// Tenant and id as one key. Ids contain no control characters, so NUL separates.
pub(crate) fn scoped(tenant: &str, id: &str) -> String {
    let mut key = String::with_capacity(tenant.len() + id.len() + 1);
    key.push_str(tenant);
    key.push('\0');
    key.push_str(id);
    key
}

/// Tenant and id of a key that [`scoped`] made.
pub(crate) fn unscoped(key: &str) -> (&str, &str) {
    key.split_once('\0').unwrap_or(("", key))
}

impl Users {
    pub(crate) fn find(&self, key: &str) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get(&self, user: u32) -> Option<&LocalUser> {
        self.users.get(user)
    }

    pub(crate) fn get_mut(&mut self, user: u32) -> Option<&mut LocalUser> {
        self.users.get_mut(user)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LocalUser> {
        self.users.iter().map(|(_, user)| user)
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Adds a session of a user. The second value says that it is the user's first here.
    pub(crate) fn add_session(&mut self, key: &str, route: u64, slot: u32) -> (u32, bool) {
        let index = self.find_or_add(key, route);
        let Some(user) = self.users.get_mut(index) else {
            return (index, false);
        };
        user.sessions.push(slot);
        (index, user.sessions.len() == 1)
    }

    /// Adds a connection that acts for a user and is sent nothing.
    pub(crate) fn add_guest(&mut self, key: &str, route: u64) -> u32 {
        let index = self.find_or_add(key, route);
        if let Some(user) = self.users.get_mut(index) {
            user.guests += 1;
        }
        index
    }

    /// As [`Self::add_guest`], of a user that has one.
    pub(crate) fn add_another_guest(&mut self, user: u32) {
        if let Some(user) = self.users.get_mut(user) {
            user.guests += 1;
        }
    }

    fn find_or_add(&mut self, key: &str, route: u64) -> u32 {
        if let Some(index) = self.find(key) {
            return index;
        }
        let key: Rc<str> = key.into();
        let handle = self.users.insert(LocalUser {
            key: Rc::clone(&key),
            route,
            sessions: Vec::new(),
            guests: 0,
            asked: Bucket::default(),
            stands: Standing::default(),
        });
        self.by_key.insert(key, handle.slot);
        handle.slot
    }

    pub(crate) fn remove_guest(&mut self, user: u32) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.guests -= 1;
            self.drop_unused(user);
        }
    }

    fn drop_unused(&mut self, user: u32) {
        if let Some(entry) = self.users.get(user)
            && entry.sessions.is_empty()
            && entry.guests == 0
            && let Some(entry) = self.users.remove(user)
        {
            self.by_key.remove(&entry.key);
        }
    }

    /// Removes a session; returns the route key to clear when it was the user's last here.
    pub(crate) fn remove_session(&mut self, user: u32, slot: u32) -> Option<u64> {
        let entry = self.users.get_mut(user)?;
        entry.sessions.retain(|s| *s != slot);
        if !entry.sessions.is_empty() {
            return None;
        }
        let route = entry.route;
        self.drop_unused(user);
        Some(route)
    }
}
