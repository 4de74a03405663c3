//! Storage of connections: 4-byte slots that are reused, each with a generation, so that a
//! late answer for a slot's former owner cannot reach its successor.

/// Names one occupant of a slot. 8 bytes, `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    pub slot: u32,
    pub generation: u32,
}

impl Handle {
    /// As one number, for epoll's user data and for Python.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

enum Entry<T> {
    Free { next: u32 },
    Taken(T),
}

const END: u32 = u32::MAX;

/// Slots with generations. Insertion, removal and look-up are O(1); memory is never given back,
/// because the number of connections a process held once it will hold again.
pub(crate) struct Slab<T> {
    entries: Vec<(u32, Entry<T>)>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: END,
            len: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn insert(&mut self, value: T) -> Handle {
        self.len += 1;
        if self.free == END {
            let slot = self.entries.len() as u32;
            assert!(slot < END, "more than 2^32 - 1 slots");
            self.entries.push((0, Entry::Taken(value)));
            return Handle {
                slot,
                generation: 0,
            };
        }
        let slot = self.free;
        let (generation, entry) = &mut self.entries[slot as usize];
        let Entry::Free { next } = entry else {
            unreachable!("free list names a taken slot")
        };
        self.free = *next;
        *entry = Entry::Taken(value);
        Handle {
            slot,
            generation: *generation,
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let (generation, entry) = self.entries.get_mut(slot as usize)?;
        if matches!(entry, Entry::Free { .. }) {
            return None;
        }
        *generation = generation.wrapping_add(1) & 0x00ff_ffff;
        let taken = std::mem::replace(entry, Entry::Free { next: self.free });
        self.free = slot;
        self.len -= 1;
        match taken {
            Entry::Taken(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        match self.entries.get(slot as usize) {
            Some((_, Entry::Taken(value))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.entries.get_mut(slot as usize) {
            Some((_, Entry::Taken(value))) => Some(value),
            _ => None,
        }
    }

    /// The occupant that `handle` was given for, or `None` when it has gone.
    pub(crate) fn resolve(&self, handle: Handle) -> Option<&T> {
        match self.entries.get(handle.slot as usize) {
            Some((generation, Entry::Taken(value))) if *generation == handle.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn resolve_mut(&mut self, handle: Handle) -> Option<&mut T> {
        match self.entries.get_mut(handle.slot as usize) {
            Some((generation, Entry::Taken(value))) if *generation == handle.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn handle(&self, slot: u32) -> Option<Handle> {
        match self.entries.get(slot as usize) {
            Some((generation, Entry::Taken(_))) => Some(Handle {
                slot,
                generation: *generation,
            }),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(slot, (_, entry))| match entry {
                Entry::Taken(value) => Some((slot as u32, value)),
                Entry::Free { .. } => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_does_not_answer_for_its_predecessor() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first.slot), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.slot, second.slot);
        assert_eq!(slab.resolve(first), None);
        assert_eq!(slab.resolve(second), Some(&"second"));
        assert_eq!(Handle::from_bits(second.to_bits()), second);
    }

    #[test]
    fn freed_slots_are_reused_before_new_ones() {
        let mut slab = Slab::default();
        let handles: Vec<_> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(handles[1].slot);
        slab.remove(handles[2].slot);
        assert_eq!(
            slab.remove(handles[2].slot),
            None,
            "a second removal finds nothing"
        );
        assert_eq!(slab.len(), 2);
        slab.insert(10);
        slab.insert(11);
        assert_eq!(
            slab.iter().map(|(_, v)| *v).collect::<Vec<_>>(),
            [0, 11, 10, 3]
        );
    }
}
