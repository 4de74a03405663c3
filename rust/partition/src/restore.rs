//! The committed state, read again from an archive.

use core::fmt;
use std::io;
use std::sync::Arc;

use crate::archive::{Archive, StateKey};
use crate::config::PartitionConfig;
use crate::conversation::{Alteration, Conversation, Shape};
use crate::gather::Gather;
use crate::state::{AckKey, Device, State};
use crate::state_keys::{self as keys, Fields, tag};

/// Why a partition cannot start from an archive. A replay of the whole log into a new one helps.
#[derive(Debug)]
pub enum RestoreError {
    /// The archive cannot be read.
    Archive(io::Error),
    /// It belongs to another partition or layout, or was written by another version.
    Foreign,
    /// A piece of state does not fit what was read before it: its tag and numbers.
    Damaged(u8, u32, u32, u32),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(error) => write!(f, "the archive cannot be read: {error}"),
            Self::Foreign => f.write_str("the archive is of another partition, layout or version"),
            Self::Damaged(tag, a, b, c) => {
                write!(f, "the archive's state {tag}:{a}:{b}:{c} makes no sense")
            }
        }
    }
}

impl core::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Archive(error) => Some(error),
            Self::Foreign | Self::Damaged(..) => None,
        }
    }
}

/// Fills an empty state with that of `archive`, and gathers for it from there on.
pub(crate) fn restore(
    state: &mut State,
    config: &PartitionConfig,
    archive: Arc<dyn Archive>,
) -> Result<(), RestoreError> {
    let reached = archive.reached();
    if reached.position > 0 {
        // An archive of an earlier version does not say: every row is looked at.
        state.first_expiry_ms = 0;
    }
    let layout = keys::layout_value(config, &state.hashes);
    let (mut known, mut fault) = (false, None);
    let take = &mut |key: StateKey, value: &[u8]| {
        if fault.is_some() {
            return;
        }
        let (tag, a, b, c) = key.parts();
        if tag == tag::LAYOUT && *value == *layout {
            known = true;
        } else if !known {
            fault = Some(RestoreError::Foreign);
        } else if state.restore_one(key, value).is_none() {
            fault = Some(RestoreError::Damaged(tag, a, b, c));
        }
    };
    archive.state(take).map_err(RestoreError::Archive)?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if !known && reached.position > 0 {
        return Err(RestoreError::Foreign);
    }
    for index in 0..state.conversation_count() as u32 {
        let entry = state.conversation(index);
        let head = entry.before();
        if head.seq == 0 || head.position > reached.position {
            return Err(RestoreError::Damaged(tag::HEAD, index, 0, 0));
        }
    }
    state.position = reached.position;
    state.time_ms = reached.time_ms;
    state.evicted = reached.position;
    state.last_message_id = reached.message_id;
    state.gather = Gather::new(archive, reached);
    state.keys_from(reached.keys_from);
    Ok(())
}

impl State {
    fn known_tenant(&self, index: u32) -> Option<u32> {
        ((index as usize) < self.tenants.len()).then_some(index)
    }

    /// One piece of state; none where it does not fit.
    fn restore_one(&mut self, key: StateKey, value: &[u8]) -> Option<()> {
        let (tag, a, b, c) = key.parts();
        let mut fields = Fields::new(value);
        match tag {
            tag::TENANT => (self.intern_tenant(value) == a).then_some(()),
            tag::USER => {
                let tenant = self.known_tenant(fields.short()?)?;
                let name = fields.rest()?;
                (self.intern_user(tenant, name) == a).then_some(())
            }
            tag::CONVERSATION => {
                let tenant = self.known_tenant(fields.short()?)?;
                let shape = fields.shape()?;
                let users = match shape {
                    Shape::Direct { a, b } => [Some(a), Some(b)],
                    Shape::Group { owner, .. } => [owner, None],
                };
                for user in users.into_iter().flatten() {
                    self.known_user(user)?;
                }
                let id = fields.rest()?;
                let is_next = a as usize == self.conversation_count();
                if !is_next || self.find_conversation(tenant, id).is_some() {
                    return None;
                }
                self.add_conversation(id, Conversation::new(tenant, shape));
                Some(())
            }
            tag::HEAD => {
                let head = fields.head()?;
                self.known_conversation(a)?.restore_head(head);
                Some(())
            }
            tag::MEMBER => {
                let member = fields.member()?;
                self.known_user(member.user)?;
                let members = &mut self.known_conversation(a)?.members;
                if members.all().len() != b as usize || members.find(member.user).is_some() {
                    return None;
                }
                let user = member.user;
                members.restore(member);
                self.list_conversation(user, a);
                Some(())
            }
            tag::SENT => {
                let entry = self.known_conversation(a)?;
                entry.members.at_mut(b as usize)?.last_send = fields.only()?;
                Some(())
            }
            tag::READ => {
                let entry = self.known_conversation(a)?;
                entry.members.at_mut(b as usize)?.read = fields.only()?;
                Some(())
            }
            tag::DEVICE => {
                let first = fields.long()?;
                let name = fields.rest()?;
                let devices = &mut self.known_user(a)?.devices;
                if devices.len() != b as usize {
                    return None;
                }
                devices.push(Device {
                    name: Arc::from(name),
                    first,
                    latest: first,
                });
                Some(())
            }
            tag::DEVICE_LATEST => {
                let device = self.known_user(a)?.devices.get_mut(b as usize)?;
                device.latest = fields.only()?;
                Some(())
            }
            tag::ACK => {
                let acked = AckKey {
                    user: a,
                    device: b,
                    conversation: c,
                };
                self.known_conversation(c)?;
                self.known_user(a)?.devices.get(b as usize)?;
                self.acks.insert(acked, fields.only()?);
                Some(())
            }
            tag::COMMAND => {
                let (key, first) = fields.command()?;
                let position = u64::from(a) << 32 | u64::from(b);
                self.command_keys.insert(key, first, position);
                Some(())
            }
            tag::ALTERED => {
                let number = fields.only()?;
                self.known_conversation(a)?
                    .set_alteration(u64::from(b), Alteration::from_number(number));
                Some(())
            }
            tag::FIRST_EXPIRY => {
                self.first_expiry_ms = fields.only()?;
                Some(())
            }
            _ => None,
        }
    }
}
