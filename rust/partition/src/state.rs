//! The committed state of a partition.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::command_keys::CommandKeys;
use crate::config::Limits;
use crate::conversation::Conversation;
use crate::hash::Hashes;
use crate::interner::Interner;

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

/// Row of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) conversation: u32,
    /// 0 for a command without a row.
    pub(crate) seq: u64,
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
    /// Place of position p at p - 1.
    pub(crate) places: Vec<Place>,
    /// Highest message id in the log.
    pub(crate) last_message_id: u64,
    /// Bytes of all rows.
    pub(crate) row_bytes: usize,
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
            places: Vec::new(),
            last_message_id: 0,
            row_bytes: 0,
        }
    }

    /// The last committed position, 0 before the first.
    pub(crate) fn position(&self) -> u64 {
        self.places.len() as u64
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
            return entry.devices.len() as u32 - 1;
        }
        let stalest = entry
            .devices
            .iter()
            .zip(0u32..)
            .min_by_key(|(device, _)| device.latest);
        let device = stalest.map_or(0, |(_, place)| place);
        entry.devices[device as usize] = known;
        for &conversation in &entry.conversations {
            self.acks.remove(&AckKey {
                user,
                device,
                conversation,
            });
        }
        device
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
