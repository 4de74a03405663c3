//! Who is online: told by workers to the owner of a user's name, and by it to workers that watch.
//!
//! A worker speaks for all sessions that a user has there, and tells only what changes: online,
//! away, gone. A user's owner takes the best of what the workers say. Whoever watches does so through
//! his worker, of which the owner remembers one bit for each watched user. Nothing of this is
//! logged: a new owner is told anew, and what it cannot know is when those were there last who are gone.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::links::Kind;
use crate::origin::{Origin, Waiter};
use crate::slab::Handle;
use crate::users::{scoped, unscoped};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use imfast_wire::frames::id;
use imfast_wire::frames::limits;
use imfast_wire::frames::server::{List, ServerBody, ServerFrame, Status};
use imfast_wire::protobuf::{Reader, put_bytes, put_message, put_number};
use std::collections::VecDeque;

/// Users who are gone and whose last moment an owner remembers.
const GONE_MAX: usize = 65_536;
/// So long after a worker's link was lost, who was there and has no route any more is gone.
const MISSED_MS: u64 = 2_000;

/// Where somebody is, the better the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub(crate) enum Standing {
    #[default]
    Offline = 0,
    Away = 1,
    Online = 2,
}

impl Standing {
    fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Away,
            2 => Self::Online,
            _ => Self::Offline,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Away => "away",
            Self::Online => "online",
        }
    }
}

/// What a worker says of a user, or asks about users; or what it is told of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    pub what: What,
    pub tenant: &'a str,
    pub users: Vec<&'a str>,
    pub standing: Standing,
    /// Milliseconds since 1970: when it was so; of who is gone, the last moment.
    pub at_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum What {
    #[default]
    Stands,
    Watch,
    Unwatch,
}

impl<'a> Told<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        put_number(&mut out, 1, self.what as u64);
        put_bytes(&mut out, 2, self.tenant.as_bytes());
        for user in &self.users {
            put_message(&mut out, 3, user.as_bytes());
        }
        put_number(&mut out, 4, self.standing as u64);
        put_number(&mut out, 5, self.at_ms);
        out
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut told = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field().ok()? {
            match number {
                1 => {
                    told.what = match value.number() {
                        1 => What::Watch,
                        2 => What::Unwatch,
                        _ => What::Stands,
                    }
                }
                2 => told.tenant = value.text(reader.offset()).ok()?,
                3 => told.users.push(value.text(reader.offset()).ok()?),
                4 => told.standing = Standing::from_number(value.number()),
                5 => told.at_ms = value.number(),
                _ => {}
            }
        }
        Some(told)
    }
}

/// A user whose name's partition is owned here.
#[derive(Default)]
struct Known {
    /// Workers with sessions, and how they stand.
    at: Vec<(u8, Standing)>,
    /// Workers that watch.
    watching: u64,
    last_seen_ms: u64,
}

impl Known {
    fn standing(&self) -> Standing {
        let all = self.at.iter().map(|(_, standing)| *standing);
        all.max().unwrap_or_default()
    }
}

/// A user whom sessions here watch.
#[derive(Default)]
struct Watched {
    slots: Vec<u32>,
    /// As its owner told; none before it did.
    known: Option<(Standing, u64)>,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Presence {
    /// By tenant and user.
    known: HashMap<Box<str>, Known>,
    /// Those of `known` who are gone, the longest first.
    gone: VecDeque<Box<str>>,
    watched: HashMap<Box<str>, Watched>,
    /// By worker: when its link was lost.
    lost_ms: HashMap<u8, u64>,
}

impl Presence {
    fn forget_unused(&mut self, key: &str) {
        let unused = |known: &Known| known.at.is_empty() && known.watching == 0;
        if self
            .known
            .get(key)
            .is_some_and(|k| unused(k) && k.last_seen_ms == 0)
        {
            self.known.remove(key);
        }
    }

    /// Notes that somebody is gone, and forgets who has been so for longest.
    fn note_gone(&mut self, key: &str) {
        self.gone.push_back(key.into());
        while self.gone.len() > GONE_MAX {
            let Some(oldest) = self.gone.pop_front() else {
                break;
            };
            if let Some(known) = self.known.get_mut(&oldest)
                && known.at.is_empty()
            {
                known.last_seen_ms = 0;
            }
            self.forget_unused(&oldest);
        }
    }
}

impl Engine {
    // What this worker says.

    /// How a user's sessions here stand together.
    fn standing_here(&self, user: u32) -> Standing {
        let sessions = self.users.get(user).map_or(&[][..], |user| &user.sessions);
        let stands = |&slot: &u32| match self.io.connections.get(slot) {
            Some(connection) if connection.away => Standing::Away,
            Some(_) => Standing::Online,
            None => Standing::Offline,
        };
        sessions.iter().map(stands).max().unwrap_or_default()
    }

    /// Sessions of a user began, ended or changed: its owner is told, if that makes a difference.
    pub(crate) fn stand(&mut self, user: u32) {
        let standing = self.standing_here(user);
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        if std::mem::replace(&mut entry.stands, standing) != standing {
            let key = std::rc::Rc::clone(&entry.key);
            self.tell_standing(&key, standing);
        }
    }

    /// The last session of a user here is gone, and so is its entry.
    pub(crate) fn stand_no_more(&mut self, user: u32, key: &str) {
        // Requests that stand alone may keep it.
        if let Some(entry) = self.users.get_mut(user)
            && *entry.key == *key
        {
            entry.stands = Standing::Offline;
        }
        self.tell_standing(key, Standing::Offline);
    }

    fn tell_standing(&mut self, key: &str, standing: Standing) {
        let (tenant, user) = unscoped(key);
        let told = Told {
            tenant,
            users: vec![user],
            standing,
            at_ms: self.wall_ms,
            ..Told::default()
        };
        self.tell_owner(&told);
    }

    /// Tells the owner of the first user's name.
    fn tell_owner(&mut self, told: &Told<'_>) {
        let Some(user) = told.users.first() else {
            return;
        };
        let partition = id::partition_of(told.tenant, user, self.partitions());
        if self.owns(partition) {
            self.take_presence(
                partition,
                self.config.worker,
                told,
                Origin::Here(Waiter::Nobody),
            );
        } else {
            self.request(partition, Kind::Presence, told.encode(), Waiter::Nobody);
        }
    }

    /// Whether a session may watch these users too.
    pub(crate) fn watch_room(&self, handle: Handle, users: &[&str]) -> Result<(), String> {
        let rare = self.io.connections.resolve(handle);
        let watching = rare.and_then(|c| Some(c.rare.as_ref()?.watching.len()));
        let most = limits::PRESENCE_USERS.max as usize;
        if watching.unwrap_or(0) + users.len() > most {
            return Err(format!("presence.subscribe: at most {most} users in all"));
        }
        Ok(())
    }

    /// Shows a session how these users stand, now and whenever that changes.
    pub(crate) fn watch(&mut self, handle: Handle, users: &[&str]) {
        let (tenant, _) = self.identity(handle.slot);
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let watching = &mut connection.rare.get_or_insert_default().watching;
        let mut added: Vec<Box<str>> = Vec::new();
        for user in users {
            let key = scoped(&tenant, user);
            if !watching.iter().chain(&added).any(|known| **known == *key) {
                added.push(key.into());
            }
        }
        watching.extend(added.iter().cloned());
        for key in added {
            let first = match self.presence.watched.entry(key.clone()) {
                Entry::Occupied(entry) => {
                    entry.into_mut().slots.push(handle.slot);
                    false
                }
                Entry::Vacant(entry) => {
                    entry.insert(Watched::default()).slots.push(handle.slot);
                    true
                }
            };
            if first {
                self.tell_watching(&key, What::Watch);
            } else if let Some((standing, at_ms)) = self.presence.watched[&key].known {
                self.show(handle.slot, &key, standing, at_ms);
            }
        }
    }

    /// Takes watched users off a session; none: all.
    pub(crate) fn unwatch(&mut self, slot: u32, users: Option<&[&str]>) {
        let tenant = self.identity(slot).0;
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        let Some(rare) = connection.rare.as_mut() else {
            return;
        };
        let gone: Vec<Box<str>> = match users {
            None => std::mem::take(&mut rare.watching),
            Some(users) => {
                let keys: Vec<String> = users.iter().map(|user| scoped(&tenant, user)).collect();
                let is_gone = |key: &mut Box<str>| keys.iter().any(|gone| **gone == **key);
                rare.watching.extract_if(.., is_gone).collect()
            }
        };
        for key in gone {
            let Some(watched) = self.presence.watched.get_mut(&key) else {
                continue;
            };
            watched.slots.retain(|other| *other != slot);
            if watched.slots.is_empty() {
                self.presence.watched.remove(&key);
                self.tell_watching(&key, What::Unwatch);
            }
        }
    }

    fn tell_watching(&mut self, key: &str, what: What) {
        let (tenant, user) = unscoped(key);
        let told = Told {
            what,
            tenant,
            users: vec![user],
            ..Told::default()
        };
        self.tell_owner(&told);
    }

    /// Partitions have other owners, which know nothing: all that concerns them is said again.
    pub(crate) fn stand_again(&mut self, partitions: &[u16]) {
        let count = self.partitions();
        let concerns = |key: &str| {
            let (tenant, user) = unscoped(key);
            partitions.contains(&id::partition_of(tenant, user, count))
        };
        let here = self.users.iter().filter(|user| concerns(&user.key));
        let standing: Vec<_> = here
            .filter(|user| user.stands != Standing::Offline)
            .map(|user| (std::rc::Rc::clone(&user.key), user.stands))
            .collect();
        for (key, standing) in standing {
            self.tell_standing(&key, standing);
        }
        let watched = self.presence.watched.keys().filter(|key| concerns(key));
        let watched: Vec<Box<str>> = watched.cloned().collect();
        for key in watched {
            self.tell_watching(&key, What::Watch);
        }
    }

    /// An owner tells how a user stands.
    pub(crate) fn presence_arrived(&mut self, told: &Told<'_>) {
        let Some(user) = told.users.first() else {
            return;
        };
        let key = scoped(told.tenant, user);
        let Some(watched) = self.presence.watched.get_mut(&*key) else {
            return;
        };
        if watched.known == Some((told.standing, told.at_ms)) {
            return;
        }
        watched.known = Some((told.standing, told.at_ms));
        let slots = watched.slots.clone();
        for slot in slots {
            self.show(slot, &key, told.standing, told.at_ms);
        }
    }

    fn show(&mut self, slot: u32, key: &str, standing: Standing, at_ms: u64) {
        let open = self.io.connections.get(slot);
        if open.is_none_or(|connection| connection.phase != Phase::Connected) {
            return;
        }
        let (tenant, user) = unscoped(key);
        let items = [status(user, standing, at_ms)];
        let body = ServerBody::Presence {
            items: List::Borrowed(&items),
        };
        let collapse = self.collapse.notice(2, &[tenant, user]);
        self.io.stats.notices += 1;
        self.io
            .push_ephemeral(slot, &ServerFrame::push(body), || collapse);
    }

    // What an owner knows.

    /// Takes what a worker says or asks.
    pub(crate) fn take_presence(
        &mut self,
        partition: u16,
        worker: u8,
        told: &Told<'_>,
        origin: Origin,
    ) {
        for user in &told.users {
            let key = scoped(told.tenant, user);
            let known = self.presence.known.entry_ref(&*key).or_default();
            let before = known.standing();
            let mut watchers = 0;
            match told.what {
                What::Stands => {
                    known.at.retain(|(at, _)| *at != worker);
                    if told.standing != Standing::Offline {
                        known.at.push((worker, told.standing));
                    }
                    let after = known.standing();
                    if before != after {
                        watchers = known.watching;
                        known.last_seen_ms = told.at_ms;
                        if after == Standing::Offline {
                            self.presence.note_gone(&key);
                        }
                    }
                }
                What::Watch => {
                    known.watching |= 1 << worker;
                    watchers = 1 << worker;
                }
                What::Unwatch => known.watching &= !(1 << worker),
            }
            self.tell_watchers(partition, &key, watchers);
            self.presence.forget_unused(&key);
        }
        self.answer(partition, origin, ServerBody::Acked);
    }

    fn tell_watchers(&mut self, partition: u16, key: &str, watchers: u64) {
        let Some(known) = self.presence.known.get(key).filter(|_| watchers != 0) else {
            return;
        };
        let (tenant, user) = unscoped(key);
        let standing = known.standing();
        let told = Told {
            tenant,
            users: vec![user],
            standing,
            at_ms: if standing == Standing::Offline {
                known.last_seen_ms
            } else {
                0
            },
            ..Told::default()
        };
        let here = 1 << self.config.worker;
        self.presence_over_links(watchers & !here, partition, &told.encode());
        if watchers & here != 0 {
            self.presence_arrived(&told);
        }
    }

    /// A worker's link is lost. Whether it stands again soon says nothing: it may be a successor's.
    pub(crate) fn presence_link_lost(&mut self, worker: u8) {
        self.presence.lost_ms.insert(worker, self.now_ms);
    }

    /// Who was on a worker that died is gone: its routes are, which the supervisor clears.
    pub(crate) fn miss_users(&mut self) {
        let now_ms = self.now_ms;
        let missed = |lost_ms: u64| lost_ms + MISSED_MS <= now_ms;
        let lost = &self.presence.lost_ms;
        let workers: Vec<u8> = lost
            .iter()
            .filter(|(_, at)| missed(**at))
            .map(|(w, _)| *w)
            .collect();
        for worker in workers {
            self.presence.lost_ms.remove(&worker);
            let mut gone: Vec<Box<str>> = Vec::new();
            for (key, known) in &self.presence.known {
                let (tenant, user) = unscoped(key);
                let route = self.routes.user_key(tenant.as_bytes(), user.as_bytes());
                let here = known.at.iter().any(|(at, _)| *at == worker);
                if here && self.routes.workers(route).0 & (1 << worker) == 0 {
                    gone.push(key.clone());
                }
            }
            for key in gone {
                let (tenant, user) = unscoped(&key);
                let told = Told {
                    tenant,
                    users: vec![user],
                    at_ms: self.wall_ms,
                    ..Told::default()
                };
                let partition = id::partition_of(tenant, user, self.partitions());
                let origin = Origin::Here(Waiter::Nobody);
                self.take_presence(partition, worker, &told, origin);
            }
        }
    }
}

/// What a client is told of a user.
pub(crate) fn status(user: &str, standing: Standing, at_ms: u64) -> Status<'_> {
    Status {
        user: user.into(),
        status: standing.name().into(),
        last_seen_ms: if standing == Standing::Offline {
            at_ms
        } else {
            0
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_survives_the_link() {
        let told = Told {
            what: What::Watch,
            tenant: "default",
            users: vec!["alice", "bob"],
            standing: Standing::Away,
            at_ms: 7,
        };
        assert_eq!(Told::decode(&told.encode()), Some(told));
    }

    #[test]
    fn best_standing_of_all_workers_counts() {
        let mut known = Known::default();
        assert_eq!(known.standing(), Standing::Offline);
        known.at = vec![(0, Standing::Away), (1, Standing::Online)];
        assert_eq!(known.standing(), Standing::Online);
    }
}
