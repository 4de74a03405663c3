//! One partition made of the conversations of others, for a layout with another number of them.
//!
//! Positions are given anew, conversation by conversation; numbers, ids, members, cursors and keys stay.
//! Sync tokens of the old layout mean nothing in the new one, so cursors of devices are written out for
//! every conversation: where a device had none, up to what it had seen.

use core::fmt;
use std::io;

use hashbrown::HashMap;
use imfast_wire::frames::id;

use crate::archive::{ArchivedKey, ArchivedRow, Chunk, Reached, StateKey, StateValue};
use crate::config::PartitionConfig;
use crate::conversation::Shape;
use crate::hash::Hashes;
use crate::partition::Partition;
use crate::state::{AckKey, State};
use crate::state_keys as keys;

/// A partition of the old layout with everything archived, and all keys of its archive by position.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub partition: &'a Partition<()>,
    pub keys: &'a [ArchivedKey],
}

/// What a partition holds, the same whatever partition holds it: counts, and a sum of hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    pub conversations: u64,
    pub rows: u64,
    pub members: u64,
    sum: u64,
}

impl Digest {
    /// Of everything in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            conversations: self.conversations + other.conversations,
            rows: self.rows + other.rows,
            members: self.members + other.members,
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

/// Gives the chunks of the partition that `config` names to `take`, each of at most `rows_max` rows.
///
/// # Errors
/// An archive cannot be read, or `take` failed.
pub fn reshard(
    sources: &[Source<'_>],
    config: &PartitionConfig,
    rows_max: usize,
    take: &mut dyn FnMut(Chunk) -> io::Result<()>,
) -> io::Result<()> {
    let mut target = Target {
        names: State::new(Hashes::new(config.hash_secret)),
        config,
        rows_max,
        take,
        chunk: Chunk::default(),
        reached: Reached::default(),
        conversations: Vec::new(),
        devices: HashMap::new(),
        devices_of: HashMap::new(),
        acks: HashMap::new(),
        commands: Vec::new(),
    };
    for source in sources {
        target.add(source)?;
    }
    target.finish()
}

/// What is written for a conversation's members at the end.
struct Moved {
    head: u64,
    /// Users of the target, by place.
    users: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct MovedDevice {
    number: u32,
    latest: u64,
}

struct Target<'a> {
    /// Only the tables of names, and when the first message expires.
    names: State,
    config: &'a PartitionConfig,
    rows_max: usize,
    take: &'a mut dyn FnMut(Chunk) -> io::Result<()>,
    chunk: Chunk,
    reached: Reached,
    conversations: Vec<Moved>,
    /// By user and name.
    devices: HashMap<(u32, Box<str>), MovedDevice>,
    devices_of: HashMap<u32, u32>,
    acks: HashMap<AckKey, u64>,
    /// Key and first result of membership commands.
    commands: Vec<(u64, Box<[u8]>)>,
}

impl Target<'_> {
    fn add(&mut self, source: &Source<'_>) -> io::Result<()> {
        let state = &source.partition.fold.state;
        self.reached.time_ms = self.reached.time_ms.max(state.gather.time_ms());
        self.names.first_expiry_ms = self.names.first_expiry_ms.min(state.first_expiry_ms);
        self.reached.message_id = self.reached.message_id.max(state.last_message_id);
        for (key, first) in state.command_keys.sorted() {
            let value = keys::command_value(key, first);
            self.commands.push((first.time_ms, value));
        }
        for index in 0..state.conversation_count() as u32 {
            let tenant = state.tenants.name(state.conversation(index).tenant);
            let id = state.conversation_id(index);
            if id::partition_of(tenant, id, self.config.count) == self.config.partition {
                self.rows(source, index)?;
                self.members(state, index)?;
            }
        }
        Ok(())
    }

    fn rows(&mut self, source: &Source<'_>, index: u32) -> io::Result<()> {
        let state = &source.partition.fold.state;
        let conversation = self.conversations.len() as u32;
        let rows = state.rows(index, 0);
        let mut outcome = Ok(());
        rows.ascending(1..rows.conversation.head() + 1, &mut |seq, row| {
            self.reached.position += 1;
            let position = self.reached.position;
            self.chunk.row_bytes += row.bytes.len();
            self.chunk.rows.push(ArchivedRow {
                conversation,
                seq,
                position,
                ordinal: row.ordinal,
                kind: row.kind,
                bytes: row.bytes.clone(),
            });
            let key = source
                .keys
                .binary_search_by_key(&row.position, |key| key.position);
            if let Ok(place) = key {
                self.chunk.keys.push(ArchivedKey {
                    position,
                    ..source.keys[place]
                });
            }
            if self.chunk.rows.len() >= self.rows_max {
                outcome = self.give();
            }
            outcome.is_ok()
        })?;
        outcome
    }

    /// Hands over the chunk as it is.
    fn give(&mut self) -> io::Result<()> {
        // The sequencer starts without keys: the archive has them.
        self.reached.keys_from = self.reached.position + 1;
        let next = Chunk {
            after: self.reached.position,
            ..Chunk::default()
        };
        let mut chunk = core::mem::replace(&mut self.chunk, next);
        chunk.reached = self.reached;
        (self.take)(chunk)
    }

    fn user(&mut self, state: &State, user: u32) -> u32 {
        let tenant = state.tenants.name(state.user_tenant(user));
        let tenant = self.names.intern_tenant(tenant);
        self.names.intern_user(tenant, state.user_name(user))
    }

    fn members(&mut self, state: &State, index: u32) -> io::Result<()> {
        let entry = state.conversation(index);
        let conversation = self.conversations.len() as u32;
        let tenant = self.names.intern_tenant(state.tenants.name(entry.tenant));
        let shape = match &entry.shape {
            Shape::Direct { a, b } => Shape::Direct {
                a: self.user(state, *a),
                b: self.user(state, *b),
            },
            Shape::Group {
                title,
                open,
                owner,
                create,
            } => Shape::Group {
                title: title.clone(),
                open: *open,
                owner: owner.map(|owner| self.user(state, owner)),
                create: *create,
            },
        };
        let value = keys::conversation_value(tenant, &shape, state.conversation_id(index));
        self.put(keys::conversation(conversation), value);
        let mut users = Vec::with_capacity(entry.members.all().len());
        for (place, member) in (0u32..).zip(entry.members.all()) {
            let mut moved = member.clone();
            moved.user = self.user(state, member.user);
            self.put(
                keys::member(conversation, place),
                keys::member_value(&moved),
            );
            for (key, number) in [
                (keys::sent(conversation, place), member.last_send),
                (keys::read(conversation, place), member.read),
            ] {
                if number > 0 {
                    self.chunk.state.push((key, StateValue::Number(number)));
                }
            }
            self.cursors(state, index, member.user, moved.user)?;
            users.push(moved.user);
        }
        for (seq, how) in entry.alterations() {
            let how = StateValue::Number(how.number());
            self.chunk
                .state
                .push((keys::altered(conversation, seq), how));
        }
        self.conversations.push(Moved {
            head: entry.head(),
            users,
        });
        Ok(())
    }

    /// The cursors of a member's devices in a conversation.
    fn cursors(&mut self, state: &State, index: u32, old: u32, user: u32) -> io::Result<()> {
        let conversation = self.conversations.len() as u32;
        let rows = state.rows(index, 0);
        for (number, device) in (0u32..).zip(&state.user(old).devices) {
            let acked = state.acks.get(&AckKey {
                user: old,
                device: number,
                conversation: index,
            });
            let acked = match acked {
                Some(&acked) => acked,
                None => rows.first_after(device.first)? - 1,
            };
            let known = self.device(user, &device.name);
            known.latest = known.latest.max(device.latest);
            let key = AckKey {
                user,
                device: known.number,
                conversation,
            };
            self.acks.insert(key, acked);
        }
        Ok(())
    }

    fn device(&mut self, user: u32, name: &str) -> &mut MovedDevice {
        let devices_of = &mut self.devices_of;
        self.devices.entry((user, name.into())).or_insert_with(|| {
            let count = devices_of.entry(user).or_default();
            *count += 1;
            MovedDevice {
                number: *count - 1,
                latest: 0,
            }
        })
    }

    fn put(&mut self, key: StateKey, value: Box<[u8]>) {
        self.chunk.state.push((key, StateValue::Bytes(value)));
    }

    fn finish(mut self) -> io::Result<()> {
        if self.conversations.is_empty() {
            return Ok(());
        }
        let layout = keys::layout_value(self.config, &self.names.hashes);
        self.put(keys::LAYOUT_KEY, layout);
        let expiry = StateValue::Number(self.names.first_expiry_ms);
        self.chunk.state.push((keys::first_expiry(), expiry));
        for index in 0..self.names.tenants.len() as u32 {
            let name = Box::from(&**self.names.tenants.name(index));
            self.put(keys::tenant(index), name);
        }
        for index in 0..self.names.user_count() as u32 {
            let (tenant, name) = (self.names.user_tenant(index), self.names.user_name(index));
            let value = keys::scoped_name(tenant, name);
            self.put(keys::user(index), value);
        }
        let devices = core::mem::take(&mut self.devices);
        for ((user, name), device) in &devices {
            // Position 0: what comes later is after it.
            self.put(
                keys::device(*user, device.number),
                keys::device_value(0, name),
            );
            let latest = StateValue::Number(device.latest);
            let key = keys::device_latest(*user, device.number);
            self.chunk.state.push((key, latest));
        }
        // A device that one of the old partitions had never heard of began there at its end.
        let mut of_user: HashMap<u32, Vec<u32>> = HashMap::new();
        for ((user, _), device) in &devices {
            of_user.entry(*user).or_default().push(device.number);
        }
        for (conversation, moved) in (0u32..).zip(&self.conversations) {
            for &user in &moved.users {
                for &device in of_user.get(&user).into_iter().flatten() {
                    let key = AckKey {
                        user,
                        device,
                        conversation,
                    };
                    let acked = *self.acks.get(&key).unwrap_or(&moved.head);
                    let key = keys::ack(user, device, conversation);
                    self.chunk.state.push((key, StateValue::Number(acked)));
                }
            }
        }
        // The latest ones, at positions that no later command gets.
        self.commands.sort_unstable();
        self.commands.dedup();
        let room = self.commands.len().min(self.reached.position as usize);
        let latest = self.commands.split_off(self.commands.len() - room);
        for (position, (_, value)) in (1..).zip(latest) {
            self.put(keys::command(position), value);
        }
        self.give()
    }
}

impl Partition<()> {
    /// What this partition holds, however its conversations are indexed and its rows positioned.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn digest(&self) -> io::Result<Digest> {
        let state = &self.fold.state;
        let mut digest = Digest::default();
        for index in 0..state.conversation_count() as u32 {
            let entry = state.conversation(index);
            let name = |user: u32| state.user_name(user).clone();
            let mut text = format!(
                "{:?} {} {}",
                state.tenants.name(entry.tenant),
                state.conversation_id(index),
                entry.head()
            );
            let mut put = |more: fmt::Arguments<'_>| text.push_str(&more.to_string());
            match &entry.shape {
                Shape::Direct { a, b } => put(format_args!("direct {} {}", name(*a), name(*b))),
                Shape::Group {
                    title,
                    open,
                    owner,
                    create,
                } => {
                    let owner = owner.map(name);
                    put(format_args!("group {title:?} {open} {owner:?} {create}"));
                }
            }
            for member in entry.members.all() {
                let stays: Vec<_> = member.stays().collect();
                let (sent, read) = (member.last_send, member.read);
                let (user, role) = (name(member.user), member.role);
                put(format_args!("{user} {role:?} {stays:?} {sent} {read}\n"));
                digest.members += 1;
            }
            for (seq, how) in entry.alterations() {
                put(format_args!("{seq} {how:?}\n"));
            }
            let of = state.hashes.payload(0, text.as_bytes());
            digest.sum = digest.sum.wrapping_add(of);
            let rows = state.rows(index, 0);
            rows.ascending(1..entry.head() + 1, &mut |seq, row| {
                digest.rows += 1;
                let place = format!("{of} {seq} {} {:?}", row.ordinal, row.kind);
                let place = state.hashes.payload(1, place.as_bytes());
                let row = state.hashes.payload(2, &row.bytes);
                digest.sum = digest.sum.wrapping_add(place.rotate_left(1) ^ row);
                true
            })?;
            digest.conversations += 1;
        }
        Ok(digest)
    }
}
