//! How pieces of state are named and written in an archive.
//!
//! Numbers are little-endian; text at the end of a value has no length in front.

use std::sync::Arc;

use crate::archive::StateKey;
use crate::command_keys::FirstResult;
use crate::config::{FOLD_VERSION, PartitionConfig};
use crate::conversation::{Head, Shape};
use crate::hash::{Hashes, KeyHash};
use crate::members::{Member, Role};

/// Version of the tags and values of this file.
const STATE_VERSION: u16 = 2;

/// Kinds of state, so ordered that each refers to those before it only. 0 is the archive's own.
pub(crate) mod tag {
    /// () → whose state this is.
    pub(crate) const LAYOUT: u8 = 1;
    /// (tenant) → name.
    pub(crate) const TENANT: u8 = 2;
    /// (user) → tenant, name.
    pub(crate) const USER: u8 = 3;
    /// (conversation) → tenant, shape, id.
    pub(crate) const CONVERSATION: u8 = 4;
    /// (conversation) → the last row's seq, position and ordinal.
    pub(crate) const HEAD: u8 = 5;
    /// (conversation, place) → user, role, stays.
    pub(crate) const MEMBER: u8 = 6;
    /// (conversation, place) → seq of the member's last send.
    pub(crate) const SENT: u8 = 7;
    /// (conversation, place) → seq up to which the member has read.
    pub(crate) const READ: u8 = 8;
    /// (user, device) → position of its first ack, name.
    pub(crate) const DEVICE: u8 = 9;
    /// (user, device) → position of its latest ack.
    pub(crate) const DEVICE_LATEST: u8 = 10;
    /// (user, device, conversation) → highest seq acknowledged.
    pub(crate) const ACK: u8 = 11;
    /// (position, high and low half) → first result of a membership command.
    pub(crate) const COMMAND: u8 = 12;
    /// (conversation, seq) → how the row is shown. 13 was the latest time of a forgotten key.
    pub(crate) const ALTERED: u8 = 14;
    /// () → when the first message expires, or did.
    pub(crate) const FIRST_EXPIRY: u8 = 15;
}

pub(crate) fn first_expiry() -> StateKey {
    StateKey::new(tag::FIRST_EXPIRY, 0, 0, 0)
}

pub(crate) fn altered(conversation: u32, seq: u64) -> StateKey {
    StateKey::new(tag::ALTERED, conversation, seq as u32, 0)
}

pub(crate) fn tenant(index: u32) -> StateKey {
    StateKey::new(tag::TENANT, index, 0, 0)
}

pub(crate) fn user(index: u32) -> StateKey {
    StateKey::new(tag::USER, index, 0, 0)
}

pub(crate) fn conversation(index: u32) -> StateKey {
    StateKey::new(tag::CONVERSATION, index, 0, 0)
}

pub(crate) fn head(conversation: u32) -> StateKey {
    StateKey::new(tag::HEAD, conversation, 0, 0)
}

pub(crate) fn member(conversation: u32, place: u32) -> StateKey {
    StateKey::new(tag::MEMBER, conversation, place, 0)
}

pub(crate) fn sent(conversation: u32, place: u32) -> StateKey {
    StateKey::new(tag::SENT, conversation, place, 0)
}

pub(crate) fn read(conversation: u32, place: u32) -> StateKey {
    StateKey::new(tag::READ, conversation, place, 0)
}

pub(crate) fn device(user: u32, device: u32) -> StateKey {
    StateKey::new(tag::DEVICE, user, device, 0)
}

pub(crate) fn device_latest(user: u32, device: u32) -> StateKey {
    StateKey::new(tag::DEVICE_LATEST, user, device, 0)
}

pub(crate) fn ack(user: u32, device: u32, conversation: u32) -> StateKey {
    StateKey::new(tag::ACK, user, device, conversation)
}

pub(crate) fn command(position: u64) -> StateKey {
    StateKey::new(tag::COMMAND, (position >> 32) as u32, position as u32, 0)
}

/// Where an archive says whose it is.
pub const LAYOUT_KEY: StateKey = StateKey::bare(tag::LAYOUT);
/// Behind the versions, the partition and the count of partitions.
const GENERATION_AT: usize = 8;

/// The value at [`LAYOUT_KEY`] for another generation of the layout; none if it is no such value.
pub fn with_generation(layout: &[u8], generation: u32) -> Option<Box<[u8]>> {
    let mut changed: Box<[u8]> = layout.into();
    let place = changed.get_mut(GENERATION_AT..)?.first_chunk_mut()?;
    *place = generation.to_le_bytes();
    (changed.len() == LAYOUT_BYTES).then_some(changed)
}

const LAYOUT_BYTES: usize = 20;

/// Whose state it is, and under which secret its keys were hashed.
pub(crate) fn layout_value(config: &PartitionConfig, hashes: &Hashes) -> Box<[u8]> {
    let mut out = Vec::with_capacity(LAYOUT_BYTES);
    out.extend_from_slice(&STATE_VERSION.to_le_bytes());
    out.extend_from_slice(&FOLD_VERSION.to_le_bytes());
    out.extend_from_slice(&config.partition.to_le_bytes());
    out.extend_from_slice(&config.count.to_le_bytes());
    out.extend_from_slice(&config.layout_generation.to_le_bytes());
    out.extend_from_slice(&hashes.name(0, b"").to_le_bytes());
    out.into()
}

pub(crate) fn scoped_name(scope: u32, name: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(4 + name.len());
    out.extend_from_slice(&scope.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.into()
}

pub(crate) fn conversation_value(tenant: u32, shape: &Shape, id: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(32 + id.len());
    out.extend_from_slice(&tenant.to_le_bytes());
    match shape {
        Shape::Direct { a, b } => {
            out.push(0);
            out.extend_from_slice(&a.to_le_bytes());
            out.extend_from_slice(&b.to_le_bytes());
        }
        Shape::Group {
            title,
            open,
            owner,
            create,
        } => {
            out.push(1);
            out.push(u8::from(*open) | u8::from(owner.is_some()) << 1);
            out.extend_from_slice(&owner.unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&create.to_le_bytes());
            out.extend_from_slice(&(title.len() as u32).to_le_bytes());
            out.extend_from_slice(title.as_bytes());
        }
    }
    out.extend_from_slice(id.as_bytes());
    out.into()
}

pub(crate) fn head_value(head: Head) -> Box<[u8]> {
    let mut out = Vec::with_capacity(20);
    out.extend_from_slice(&head.seq.to_le_bytes());
    out.extend_from_slice(&head.position.to_le_bytes());
    out.extend_from_slice(&head.ordinal.to_le_bytes());
    out.into()
}

/// A member without last send and cursor, which change much more often.
pub(crate) fn member_value(member: &Member) -> Box<[u8]> {
    let mut out = Vec::with_capacity(21);
    out.extend_from_slice(&member.user.to_le_bytes());
    out.push(member.role as u8 | u8::from(member.muted) << 7);
    for (joined, left) in member.stays() {
        out.extend_from_slice(&joined.to_le_bytes());
        out.extend_from_slice(&left.to_le_bytes());
    }
    out.into()
}

pub(crate) fn device_value(first: u64, name: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(8 + name.len());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.into()
}

pub(crate) fn command_value(key: KeyHash, first: FirstResult) -> Box<[u8]> {
    let mut out = Vec::with_capacity(40);
    for number in [key.high, key.low, first.seq, first.payload, first.time_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.into()
}

/// A value being read. Everything is none once the value is shorter than it should be.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn short(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, length: usize) -> Option<&'a str> {
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        core::str::from_utf8(text).ok()
    }

    pub(crate) fn rest(&mut self) -> Option<&'a str> {
        self.text(self.0.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one number that is the whole value.
    pub(crate) fn only(mut self) -> Option<u64> {
        self.long().filter(|_| self.is_empty())
    }

    pub(crate) fn shape(&mut self) -> Option<Shape> {
        if self.byte()? == 0 {
            return Some(Shape::Direct {
                a: self.short()?,
                b: self.short()?,
            });
        }
        let flags = self.byte()?;
        let owner = self.short()?;
        let create = self.long()?;
        let length = self.short()?;
        Some(Shape::Group {
            title: Arc::from(self.text(length as usize)?),
            open: flags & 1 != 0,
            owner: (flags & 2 != 0).then_some(owner),
            create,
        })
    }

    pub(crate) fn head(&mut self) -> Option<Head> {
        Some(Head {
            seq: self.long()?,
            position: self.long()?,
            ordinal: self.short()?,
        })
    }

    pub(crate) fn member(&mut self) -> Option<Member> {
        let user = self.short()?;
        let byte = self.byte()?;
        let role = match byte & 0x7f {
            0 => Role::Member,
            1 => Role::Admin,
            2 => Role::Owner,
            _ => return None,
        };
        let mut stays = Vec::with_capacity(1);
        while !self.is_empty() {
            stays.push((self.long()?, self.long()?));
        }
        Member::restored(user, (role, byte & 0x80 != 0), stays)
    }

    pub(crate) fn command(&mut self) -> Option<(KeyHash, FirstResult)> {
        let key = KeyHash {
            high: self.long()?,
            low: self.long()?,
        };
        let first = FirstResult {
            seq: self.long()?,
            payload: self.long()?,
            time_ms: self.long()?,
        };
        Some((key, first))
    }
}
