//! Cursors on their way into the log.
//!
//! What devices and users say that they have and have read counts from the moment at which it is
//! noted, and is logged some time later, many cursors in one command: a crash in between costs a
//! repetition, or shows a message as unread again, and nothing else. Every step is a maximum, so that
//! neither order nor repetition of what is noted matters.

use hashbrown::HashMap;
use imfast_wire::frames::id::{self, EVERYBODY};
use imfast_wire::protobuf::{put_bytes, put_nested, put_number};

use crate::command::{Command, Cursor, field};
use crate::members::Member;
use crate::outcome::Refused;
use crate::partition::Partition;
use crate::query::Who;

/// One user in one conversation, ahead of the state.
#[derive(Debug, Default)]
struct Ahead {
    read: u64,
    /// By device.
    acks: Vec<(Box<str>, u64)>,
    /// Something is in no command yet.
    dirty: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct LazyCursors {
    /// By conversation and user.
    ahead: HashMap<(u32, u32), Ahead>,
    /// Those that are dirty, in the order in which they became so.
    dirty: Vec<(u32, u32)>,
    /// Those in a command whose outcome is not known.
    in_flight: Vec<(u32, u32)>,
    /// Devices that the state has never heard of, by user: name, and the position of the first ack.
    devices: HashMap<u32, Vec<(Box<str>, u64)>>,
}

/// What came of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Counts,
    /// It names a row that is not committed, and counts as far as there are rows: a batch in flight
    /// may be what the client means.
    Clamped,
    /// Nobody is a member of everybody's conversation: the cursor is to be logged as a command of
    /// its own.
    Apart,
}

impl LazyCursors {
    fn entry(&mut self, conversation: u32, user: u32) -> &mut Ahead {
        let key = (conversation, user);
        let ahead = self.ahead.entry(key).or_default();
        if !ahead.dirty {
            ahead.dirty = true;
            self.dirty.push(key);
        }
        ahead
    }

    fn read(&self, conversation: u32, user: u32) -> u64 {
        let ahead = self.ahead.get(&(conversation, user));
        ahead.map_or(0, |ahead| ahead.read)
    }

    fn ack(&self, conversation: u32, user: u32, device: &str) -> Option<u64> {
        let acks = &self.ahead.get(&(conversation, user))?.acks;
        let found = acks.iter().find(|(name, _)| **name == *device);
        found.map(|(_, seq)| *seq)
    }

    /// Where a device began that only acked what is not logged yet.
    fn first_of(&self, user: u32, device: &str) -> Option<u64> {
        let devices = self.devices.get(&user)?;
        let found = devices.iter().find(|(name, _)| **name == *device);
        found.map(|(_, position)| *position)
    }

    fn delivered(&self, conversation: u32, user: u32) -> u64 {
        let ahead = self.ahead.get(&(conversation, user));
        let seqs = ahead.into_iter().flat_map(|ahead| &ahead.acks);
        seqs.map(|(_, seq)| *seq).max().unwrap_or(0)
    }
}

impl<O> Partition<O> {
    /// Takes an encoded ack or read. It counts from now on, and is in one of the next commands that
    /// [`Self::take_cursors`] makes.
    ///
    /// # Errors
    /// It cannot be read, or its user never was in the conversation.
    pub fn note_cursor(&mut self, command: &[u8]) -> Result<Noted, Refused> {
        let command = Command::parse(command).map_err(|_| Refused::Malformed)?;
        let cursor = Cursor::parse(command.body).map_err(|_| Refused::Malformed)?;
        let bad_device = !cursor.device.is_empty() && id::check(cursor.device).is_err();
        if bad_device || !matches!(command.kind, field::ACK | field::READ) {
            return Err(Refused::Malformed);
        }
        if command.conversation == EVERYBODY {
            return Ok(Noted::Apart);
        }
        let who = Who {
            tenant: command.tenant,
            user: command.user,
            by_server: false,
        };
        let view = self.view(who, command.conversation)?;
        let (index, user) = (view.index, view.member.user);
        // Nobody has more than was shown to him.
        let head = view.conversation.head();
        let seq = cursor.seq.min(head).min(view.member.left - 1);
        let noted = if cursor.seq > head {
            Noted::Clamped
        } else {
            Noted::Counts
        };
        let (read, delivered) = self.cursors_of(index, view.member);
        if command.kind == field::READ {
            if seq > read {
                self.cursors.entry(index, user).read = seq;
                self.moved.note(index, user, (delivered, read));
            }
        } else if self.acked(user, cursor.device, index) < Some(seq) {
            if self.began(user, cursor.device).is_none() {
                let position = self.fold.state.position;
                let devices = self.cursors.devices.entry(user).or_default();
                devices.push((cursor.device.into(), position));
            }
            let acks = &mut self.cursors.entry(index, user).acks;
            match acks.iter_mut().find(|(name, _)| **name == *cursor.device) {
                Some((_, acked)) => *acked = seq,
                None => acks.push((cursor.device.into(), seq)),
            }
            if seq > delivered {
                self.moved.note(index, user, (delivered, read));
            }
        }
        Ok(noted)
    }

    /// Up to where a user has read, and up to where one of the devices has everything.
    pub(crate) fn cursors_of(&self, conversation: u32, member: &Member) -> (u64, u64) {
        let read = member
            .read
            .max(self.cursors.read(conversation, member.user));
        let state = &self.fold.state;
        let devices = 0..state.user(member.user).devices.len() as u32;
        let acked = devices.filter_map(|device| state.ack_of(member.user, device, conversation));
        let delivered = acked
            .max()
            .unwrap_or(0)
            .max(self.cursors.delivered(conversation, member.user));
        (read, delivered.max(read))
    }

    /// The position at which a device acked for the first time; none: it never did.
    pub(crate) fn began(&self, user: u32, device: &str) -> Option<u64> {
        let logged = self.fold.state.user(user);
        match logged.device(device) {
            Some(number) => Some(logged.devices[number as usize].first),
            None => self.cursors.first_of(user, device),
        }
    }

    /// A device's cursor, none for one that has none.
    pub(crate) fn acked(&self, user: u32, device: &str, conversation: u32) -> Option<u64> {
        let logged = self.fold.acked(user, device, conversation);
        logged.max(self.cursors.ack(conversation, user, device))
    }

    /// How many users' cursors [`Self::take_cursors`] would log.
    pub fn cursors_waiting(&self) -> usize {
        self.cursors.dirty.len()
    }

    /// Whether cursors were taken and neither [`Self::cursors_logged`] nor [`Self::cursors_lost`] was
    /// called since.
    pub fn cursors_in_flight(&self) -> bool {
        !self.cursors.in_flight.is_empty()
    }

    /// Makes a command of at most `at_most` users' cursors that the log does not have; none where
    /// there are none, or others are in flight.
    pub fn take_cursors(&mut self, at_most: usize) -> Option<Vec<u8>> {
        if self.cursors_in_flight() {
            return None;
        }
        let first = self.cursors.dirty.first()?.0;
        let tenant = self.fold.state.conversation(first).tenant;
        let state = &self.fold.state;
        let mut taken = Vec::new();
        // A command is of one tenant; those of others come next.
        self.cursors.dirty.retain(|&(conversation, user)| {
            let takes =
                taken.len() < at_most.max(1) && state.conversation(conversation).tenant == tenant;
            if takes {
                taken.push((conversation, user));
            }
            !takes
        });
        taken.sort_unstable();
        for key in &taken {
            if let Some(ahead) = self.cursors.ahead.get_mut(key) {
                ahead.dirty = false;
            }
        }
        let mut command = Vec::new();
        put_bytes(&mut command, 1, state.tenants.name(tenant));
        put_nested(&mut command, field::CURSORS, |out| {
            for users in taken.chunk_by(|a, b| a.0 == b.0) {
                put_nested(out, 1, |out| {
                    put_bytes(out, 1, state.conversation_id(users[0].0).as_bytes());
                    for key in users {
                        let name = state.user_name(key.1);
                        if let Some(ahead) = self.cursors.ahead.get(key) {
                            put_nested(out, 2, |out| ahead.write(name, out));
                        }
                    }
                });
            }
        });
        self.cursors.in_flight = taken;
        Some(command)
    }

    /// The command that was taken is committed: the state has its cursors.
    pub fn cursors_logged(&mut self) {
        for (conversation, user) in core::mem::take(&mut self.cursors.in_flight) {
            let Some(ahead) = self.cursors.ahead.get(&(conversation, user)) else {
                continue;
            };
            if !ahead.dirty {
                self.cursors.ahead.remove(&(conversation, user));
            }
            let known = self.fold.state.user(user);
            if let Some(devices) = self.cursors.devices.get_mut(&user) {
                devices.retain(|(name, _)| known.device(name).is_none());
                if devices.is_empty() {
                    self.cursors.devices.remove(&user);
                }
            }
        }
    }

    /// The command that was taken is not in the log.
    pub fn cursors_lost(&mut self) {
        for (conversation, user) in core::mem::take(&mut self.cursors.in_flight) {
            self.cursors.entry(conversation, user);
        }
    }
}

impl Ahead {
    fn write(&self, user: &str, out: &mut Vec<u8>) {
        put_bytes(out, 1, user.as_bytes());
        put_number(out, 2, self.read);
        for (device, seq) in &self.acks {
            put_nested(out, 3, |out| {
                put_number(out, 1, *seq);
                put_bytes(out, 2, device.as_bytes());
            });
        }
    }
}
