//! The archive's contract in memory, for simulations and tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey, StateValue,
};

use crate::error::refused;
use crate::key_file::MADE_AHEAD_MS_MAX;
use crate::keys::KeyBudget;

/// An archive that lives as long as one of its handles: a clone of it survives a simulated crash
/// as a directory would.
#[derive(Debug, Clone, Default)]
pub struct MemoryArchive {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    reached: Reached,
    rows: BTreeMap<(u32, u64), ArchivedRow>,
    places: BTreeMap<u64, (u32, u64)>,
    state: BTreeMap<StateKey, Box<[u8]>>,
    keys: Vec<ArchivedKey>,
    budget: KeyBudget,
    expired_until_ms: u64,
    forgotten_ms: u64,
}

impl MemoryArchive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the keys kept that the sequencer has forgotten, from the next chunk on.
    pub fn set_key_budget(&self, budget: KeyBudget) {
        self.held().budget = budget;
    }

    /// Every change is whole before the lock is free again: a poisoned one still guards whole data.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `range` holds now, so that no lock is held while the caller looks at it.
    fn range(&self, conversation: u32, seqs: &Range<u64>) -> Vec<ArchivedRow> {
        if seqs.is_empty() {
            return Vec::new();
        }
        let range = (conversation, seqs.start)..(conversation, seqs.end);
        let held = self.held();
        held.rows.range(range).map(|(_, row)| row.clone()).collect()
    }
}

impl Held {
    fn forget_keys(&mut self) {
        let Reached {
            time_ms, keys_from, ..
        } = self.reached;
        let kept = self.budget.bytes as usize / ArchivedKey::BYTES;
        let beyond = self.keys.len().saturating_sub(kept);
        let too_old = |key: &ArchivedKey| key.time_ms + self.budget.window_ms < time_ms;
        let mut gone = 0;
        for key in &self.keys {
            if key.position >= keys_from || !(gone < beyond || too_old(key)) {
                break;
            }
            gone += 1;
            self.forgotten_ms = key.time_ms;
            let believed = key.time_ms.min(time_ms) + MADE_AHEAD_MS_MAX;
            self.expired_until_ms = self.expired_until_ms.max(key.made_ms.min(believed));
        }
        self.keys.drain(..gone);
    }
}

/// Whether the chunk is one that may come after what was reached.
pub(crate) fn check_order(reached: &Reached, chunk: &Settled) -> io::Result<()> {
    if chunk.after != reached.position {
        return Err(refused("the chunk does not follow what was reached"));
    }
    if chunk.reached.position < chunk.after {
        return Err(refused("the chunk ends before it begins"));
    }
    let inside = |position: u64| chunk.after < position && position <= chunk.reached.position;
    let places = [chunk.places.first(), chunk.places.last()];
    let keys = [chunk.keys.first(), chunk.keys.last()];
    if !places.into_iter().flatten().all(|place| inside(place.0))
        || !keys.into_iter().flatten().all(|key| inside(key.position))
    {
        return Err(refused("the chunk has rows or keys from outside of it"));
    }
    if chunk
        .state
        .keys()
        .next()
        .is_some_and(|key| key.parts().0 == 0)
    {
        return Err(refused("tag 0 of the state belongs to the archive"));
    }
    Ok(())
}

/// What is stored for a piece of state; none for a removed one.
pub(crate) fn stored(value: &StateValue) -> Option<Box<[u8]>> {
    match value {
        StateValue::Number(number) => Some(Box::from(&number.to_le_bytes()[..])),
        StateValue::Bytes(bytes) => Some(bytes.clone()),
        StateValue::Removed => None,
    }
}

impl Archive for MemoryArchive {
    fn reached(&self) -> Reached {
        self.held().reached
    }

    fn apply(&self, chunk: &Settled) -> io::Result<()> {
        let mut held = self.held();
        check_order(&held.reached, chunk)?;
        for row in &chunk.rows {
            held.rows.insert((row.conversation, row.seq), row.clone());
        }
        for &(position, conversation, seq) in &chunk.places {
            held.places.insert(position, (conversation, seq));
        }
        for (key, value) in &chunk.state {
            match stored(value) {
                Some(bytes) => held.state.insert(*key, bytes),
                None => held.state.remove(key),
            };
        }
        held.keys.extend_from_slice(&chunk.keys);
        held.reached = chunk.reached;
        held.forget_keys();
        Ok(())
    }

    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>> {
        Ok(self.held().rows.get(&(conversation, seq)).cloned())
    }

    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        let _ = self.range(conversation, &seqs).into_iter().all(each);
        Ok(())
    }

    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        let _ = self.range(conversation, &seqs).into_iter().rev().all(each);
        Ok(())
    }

    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let found: Vec<_> = {
            let held = self.held();
            let range = held.places.range(positions);
            range.map(|(position, place)| (*position, *place)).collect()
        };
        let _ = found
            .into_iter()
            .all(|(position, (conversation, seq))| each(position, conversation, seq));
        Ok(())
    }

    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>> {
        Ok(self.held().state.get(&key).cloned())
    }

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        let state = self.held().state.clone();
        for (key, value) in &state {
            each(*key, value);
        }
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        let held = self.held();
        let remembered = |key: &&ArchivedKey| key.position >= held.reached.keys_from;
        Ok(held.keys.iter().filter(remembered).copied().collect())
    }

    fn find_key(&self, key: (u64, u64), _made_ms: u64, before: u64) -> io::Result<KeyFound> {
        let held = self.held();
        let is_it = |known: &&ArchivedKey| {
            (known.key_high, known.key_low) == key && known.position < before
        };
        let found = held.keys.iter().rev().find(is_it);
        let expired_until_ms = held.expired_until_ms;
        Ok(found.map_or(KeyFound::Unknown { expired_until_ms }, |key| {
            KeyFound::First(*key)
        }))
    }

    fn old_keys_made_ms(&self, before: u64) -> Option<u64> {
        let held = self.held();
        let old = held.keys.iter().filter(|key| key.position < before);
        let expired = (held.expired_until_ms > 0).then_some(held.expired_until_ms);
        old.map(|key| key.made_ms).max().max(expired)
    }

    fn keys_forgotten_ms(&self) -> u64 {
        self.held().forgotten_ms
    }
}
