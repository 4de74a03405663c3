//! Membership as it will be at a point of the batch in flight: the differences from the state.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::hash::KeyHash;
use crate::members::Role;

/// Marks a `since` as the number of a record of the batch, above every committed seq.
const IN_FLIGHT: u64 = 1 << 63;

/// Somebody whose membership the batch changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// None: not in any more.
    pub(crate) role: Option<Role>,
    /// Seq of joining, or [`since_record`]; comparable.
    pub(crate) since: u64,
    pub(crate) muted: bool,
}

/// A `since` for those who join by record `record` of the batch, whose seq is not known yet.
pub(crate) fn since_record(record: usize) -> u64 {
    IN_FLIGHT | record as u64
}

/// One group that the batch changes.
#[derive(Debug, Clone)]
pub(crate) struct GroupChanges {
    pub(crate) owner: Option<u32>,
    /// Current members.
    pub(crate) count: usize,
    /// Title and openness, where they change.
    pub(crate) settings: Option<(Arc<str>, bool)>,
    pub(crate) standings: HashMap<u32, Standing>,
}

/// First command of the batch under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) command: u32,
    pub(crate) payload: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) groups: HashMap<u32, GroupChanges>,
    pub(crate) keys: HashMap<KeyHash, Pending>,
    /// Groups created by the batch: the command that did.
    pub(crate) created: HashMap<u32, u32>,
}

impl Overlay {
    pub(crate) fn clear(&mut self) {
        // Most batches only hold messages; clearing an empty map still touches its memory.
        if !self.groups.is_empty() {
            self.groups.clear();
        }
        if !self.keys.is_empty() {
            self.keys.clear();
        }
        if !self.created.is_empty() {
            self.created.clear();
        }
    }

    pub(crate) fn standing(&self, conversation: u32, user: u32) -> Option<Standing> {
        if self.groups.is_empty() {
            return None;
        }
        self.groups
            .get(&conversation)?
            .standings
            .get(&user)
            .copied()
    }
}
