//! The committed state of a partition.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hashbrown::HashMap;
use imfast_faults::{Fault, on};

use crate::archive::{ArchivedRow, KeyFound};
use crate::command_keys::CommandKeys;
use crate::config::Limits;
use crate::conversation::{Alteration, Conversation};
use crate::gather::Gather;
use crate::hash::{Hashes, KeyHash};
use crate::interner::Interner;
use crate::outcome::RowKind;
use crate::state_keys as keys;

/// Room for this many places stays, however few there are.
const PLACES_KEPT: usize = 1 << 16;

/// One user as the partition knows it. The empty default is a user whom only the batch in flight
/// knows.
#[derive(Debug, Default)]
pub(crate) struct User {
    /// Every conversation the user is or was in, ascending.
    pub(crate) conversations: Vec<u32>,
    /// Devices that have acknowledged something; the place is the device's number.
    pub(crate) devices: Vec<Device>,
}

#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) name: Arc<str>,
    /// Position of the first ack that we know of.
    pub(crate) first: u64,
    /// Position of the latest ack.
    pub(crate) latest: u64,
}

impl User {
    pub(crate) fn device(&self, name: &str) -> Option<u32> {
        self.devices
            .iter()
            .position(|device| *device.name == *name)
            .map(|place| place as u32)
    }
}

/// Position and number of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) conversation: u32,
    seq: u32,
}

impl Place {
    pub(crate) fn new(position: u64, conversation: u32, seq: u64) -> Self {
        Self {
            position,
            conversation,
            seq: seq as u32,
        }
    }

    pub(crate) fn seq(self) -> u64 {
        u64::from(self.seq)
    }
}

/// Key of a device's cursor in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AckKey {
    pub(crate) user: u32,
    pub(crate) device: u32,
    pub(crate) conversation: u32,
}

/// Lengths of the name tables before a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    tenants: usize,
    users: usize,
    conversations: usize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) hashes: Hashes,
    pub(crate) tenants: Interner<[u8]>,
    user_names: Interner<str>,
    conversation_ids: Interner<str>,
    users: Vec<User>,
    conversations: Vec<Conversation>,
    /// Cursors of devices: the highest number acknowledged.
    pub(crate) acks: HashMap<AckKey, u64>,
    pub(crate) command_keys: CommandKeys,
    /// Position of the oldest idempotency key that the sequencer has; older ones are the archive's.
    keys_from: u64,
    /// The latest time that one of those says it was made, as [`Archive::old_keys_made_ms`].
    ///
    /// [`Archive::old_keys_made_ms`]: crate::archive::Archive::old_keys_made_ms
    old_keys_made_ms: Option<u64>,
    /// The latest time of a batch with a command, milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// When the first message with an end expires, or did; milliseconds since 1970.
    pub(crate) first_expiry_ms: u64,
    /// The last committed position, 0 before the first.
    pub(crate) position: u64,
    /// Rows in memory, by position.
    pub(crate) places: VecDeque<Place>,
    /// Rows up to this position are in the archive only, all behind it are in memory.
    pub(crate) evicted: u64,
    /// Highest message id in the log.
    pub(crate) last_message_id: u64,
    /// Bytes of the rows in memory.
    pub(crate) row_bytes: usize,
    /// What the archive does not have yet.
    pub(crate) gather: Gather,
}

impl State {
    pub(crate) fn new(hashes: Hashes) -> Self {
        Self {
            hashes,
            tenants: Interner::default(),
            user_names: Interner::default(),
            conversation_ids: Interner::default(),
            users: Vec::new(),
            conversations: Vec::new(),
            acks: HashMap::new(),
            command_keys: CommandKeys::default(),
            keys_from: 1,
            old_keys_made_ms: None,
            time_ms: 0,
            first_expiry_ms: u64::MAX,
            position: 0,
            places: VecDeque::new(),
            evicted: 0,
            last_message_id: 0,
            row_bytes: 0,
            gather: Gather::default(),
        }
    }

    pub(crate) fn find_tenant(&self, tenant: &[u8]) -> Option<u32> {
        self.tenants.find(&self.hashes, 0, tenant)
    }

    pub(crate) fn intern_tenant(&mut self, tenant: &[u8]) -> u32 {
        self.tenants.intern(&self.hashes, 0, tenant)
    }

    pub(crate) fn find_user(&self, tenant: u32, name: &str) -> Option<u32> {
        self.user_names.find(&self.hashes, tenant, name)
    }

    pub(crate) fn intern_user(&mut self, tenant: u32, name: &str) -> u32 {
        let user = self.user_names.intern(&self.hashes, tenant, name);
        if user as usize == self.users.len() {
            self.users.push(User::default());
        }
        user
    }

    pub(crate) fn user(&self, user: u32) -> &User {
        &self.users[user as usize]
    }

    pub(crate) fn user_name(&self, user: u32) -> &Arc<str> {
        self.user_names.name(user)
    }

    pub(crate) fn user_tenant(&self, user: u32) -> u32 {
        self.user_names.scope(user)
    }

    pub(crate) fn user_count(&self) -> usize {
        debug_assert_eq!(self.users.len(), self.user_names.len());
        self.users.len()
    }

    pub(crate) fn find_conversation(&self, tenant: u32, id: &str) -> Option<u32> {
        self.conversation_ids.find(&self.hashes, tenant, id)
    }

    /// Adds a conversation that is not there yet. It stays invisible to queries until its first
    /// row is committed.
    pub(crate) fn add_conversation(&mut self, id: &str, conversation: Conversation) -> u32 {
        let index = self
            .conversation_ids
            .intern(&self.hashes, conversation.tenant, id);
        assert_eq!(
            index as usize,
            self.conversations.len(),
            "conversation was there already"
        );
        self.conversations.push(conversation);
        index
    }

    pub(crate) fn conversation(&self, index: u32) -> &Conversation {
        &self.conversations[index as usize]
    }

    pub(crate) fn conversation_mut(&mut self, index: u32) -> &mut Conversation {
        &mut self.conversations[index as usize]
    }

    /// A conversation by an index that may not be one.
    pub(crate) fn known_conversation(&mut self, index: u32) -> Option<&mut Conversation> {
        self.conversations.get_mut(index as usize)
    }

    /// A user by an index that may not be one.
    pub(crate) fn known_user(&mut self, user: u32) -> Option<&mut User> {
        self.users.get_mut(user as usize)
    }

    /// Adds the row of the next position. Returns its number.
    pub(crate) fn push_row(&mut self, conversation: u32, bytes: Arc<[u8]>, kind: RowKind) -> u64 {
        let position = self.position + 1;
        self.position = position;
        self.row_bytes += bytes.len();
        let kept = self.gather.is_on().then(|| bytes.clone());
        let entry = &mut self.conversations[conversation as usize];
        let ordinal = entry.push(bytes, position, kind);
        let seq = entry.head();
        self.places
            .push_back(Place::new(position, conversation, seq));
        if let Some(bytes) = kept {
            self.gather.row(ArchivedRow {
                conversation,
                seq,
                position,
                ordinal,
                kind,
                bytes,
            });
        }
        seq
    }

    /// Lets archived rows leave memory, those of the lowest positions first, while the rows take
    /// more than `keep_bytes`. At most `at_most_rows`; returns how many.
    pub(crate) fn evict(&mut self, keep_bytes: usize, at_most_rows: usize) -> usize {
        if !self.gather.is_on() {
            return 0;
        }
        let archived = if on(Fault::RowsEvictedEarly) {
            self.position
        } else {
            self.gather.archived()
        };
        let mut gone = 0;
        while self.row_bytes > keep_bytes && gone < at_most_rows {
            let Some(&place) = self.places.front().filter(|at| at.position <= archived) else {
                break;
            };
            self.places.pop_front();
            let dropped = self.conversation_mut(place.conversation).drop_oldest();
            self.row_bytes -= dropped.expect("a place in memory has a row in memory");
            self.evicted = place.position;
            gone += 1;
        }
        let (length, room) = (self.places.len(), self.places.capacity());
        if room > PLACES_KEPT && length < room / 4 {
            self.places.shrink_to(2 * length);
        }
        gone
    }

    /// Notes which keys the sequencer has, or that the archive has come further.
    pub(crate) fn keys_from(&mut self, position: u64) {
        self.keys_from = position;
        let archive = self.gather.archive();
        self.old_keys_made_ms = archive.and_then(|archive| archive.old_keys_made_ms(position));
    }

    pub(crate) fn refresh_old_keys(&mut self) {
        self.keys_from(self.keys_from);
    }

    /// What is known of a key that the sequencer does not have. `made_ms` is 0 for one that does not
    /// say when it was made.
    pub(crate) fn old_key(&self, key: KeyHash, made_ms: u64) -> io::Result<KeyFound> {
        let archive = self.gather.archive();
        match (self.old_keys_made_ms, archive) {
            // Almost every key: it was made a moment ago.
            (Some(latest), Some(archive)) if made_ms <= latest => {
                archive.find_key((key.high, key.low), made_ms, self.keys_from)
            }
            _ => Ok(KeyFound::Unknown {
                expired_until_ms: 0,
            }),
        }
    }

    pub(crate) fn conversation_id(&self, index: u32) -> &Arc<str> {
        self.conversation_ids.name(index)
    }

    pub(crate) fn conversation_count(&self) -> usize {
        debug_assert_eq!(self.conversations.len(), self.conversation_ids.len());
        self.conversations.len()
    }

    /// Notes that a user is or was in a conversation.
    pub(crate) fn list_conversation(&mut self, user: u32, conversation: u32) {
        let list = &mut self.users[user as usize].conversations;
        if let Err(place) = list.binary_search(&conversation) {
            list.insert(place, conversation);
        }
    }

    /// Moves a device's cursor forward to `seq`; a device not known before becomes known.
    pub(crate) fn ack(
        &mut self,
        user: u32,
        device: &str,
        conversation: u32,
        seq: u64,
        position: u64,
        limits: &Limits,
    ) {
        let device = self.device_for_ack(user, device, position, limits);
        let acked = self
            .acks
            .entry(AckKey {
                user,
                device,
                conversation,
            })
            .or_default();
        *acked = seq.max(*acked);
        if self.gather.is_on() {
            let acked = *acked;
            self.gather
                .number(keys::ack(user, device, conversation), acked);
            self.gather
                .number(keys::device_latest(user, device), position);
        }
    }

    /// A device's cursor that is logged.
    pub(crate) fn ack_of(&self, user: u32, device: u32, conversation: u32) -> Option<u64> {
        let key = AckKey {
            user,
            device,
            conversation,
        };
        self.acks.get(&key).copied()
    }

    /// Sets how a row is shown from here on.
    pub(crate) fn alter_row(&mut self, conversation: u32, seq: u64, how: Alteration) {
        self.conversation_mut(conversation).set_alteration(seq, how);
        if self.gather.is_on() {
            self.gather
                .number(keys::altered(conversation, seq), how.number());
        }
    }

    fn device_for_ack(&mut self, user: u32, name: &str, position: u64, limits: &Limits) -> u32 {
        let entry = &mut self.users[user as usize];
        if let Some(device) = entry.device(name) {
            entry.devices[device as usize].latest = position;
            return device;
        }
        let known = Device {
            name: Arc::from(name),
            first: position,
            latest: position,
        };
        if entry.devices.len() < limits.devices_per_user_max.max(1) {
            entry.devices.push(known);
            let device = entry.devices.len() as u32 - 1;
            self.gather_device(user, device, name, position);
            return device;
        }
        let stalest = entry
            .devices
            .iter()
            .zip(0u32..)
            .min_by_key(|(device, _)| device.latest);
        let device = stalest.map_or(0, |(_, place)| place);
        entry.devices[device as usize] = known;
        for &conversation in &entry.conversations {
            let forgotten = self.acks.remove(&AckKey {
                user,
                device,
                conversation,
            });
            if forgotten.is_some() && self.gather.is_on() {
                self.gather.removed(keys::ack(user, device, conversation));
            }
        }
        self.gather_device(user, device, name, position);
        device
    }

    fn gather_device(&mut self, user: u32, device: u32, name: &str, first: u64) {
        if self.gather.is_on() {
            let value = keys::device_value(first, name);
            self.gather.bytes(keys::device(user, device), value);
        }
    }

    /// Gathers the names that came after `mark`.
    pub(crate) fn gather_names(&mut self, mark: Mark) {
        for index in mark.tenants as u32..self.tenants.len() as u32 {
            let name = Box::from(&**self.tenants.name(index));
            self.gather.bytes(keys::tenant(index), name);
        }
        for index in mark.users as u32..self.users.len() as u32 {
            let name = keys::scoped_name(self.user_tenant(index), self.user_name(index));
            self.gather.bytes(keys::user(index), name);
        }
        for index in mark.conversations as u32..self.conversations.len() as u32 {
            self.gather_conversation(index);
        }
    }

    pub(crate) fn gather_conversation(&mut self, index: u32) {
        let entry = self.conversation(index);
        let id = self.conversation_id(index);
        let value = keys::conversation_value(entry.tenant, &entry.shape, id);
        self.gather.bytes(keys::conversation(index), value);
    }

    pub(crate) fn gather_member(&mut self, conversation: u32, user: u32) {
        let members = &self.conversation(conversation).members;
        let Some(place) = members.place(user) else {
            return;
        };
        let value = keys::member_value(&members.all()[place]);
        self.gather
            .bytes(keys::member(conversation, place as u32), value);
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            tenants: self.tenants.len(),
            users: self.users.len(),
            conversations: self.conversations.len(),
        }
    }

    /// Takes back the names and conversations that came after `mark`.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.conversation_ids
            .truncate(&self.hashes, mark.conversations);
        self.conversations.truncate(mark.conversations);
        self.user_names.truncate(&self.hashes, mark.users);
        self.users.truncate(mark.users);
        self.tenants.truncate(&self.hashes, mark.tenants);
    }
}
