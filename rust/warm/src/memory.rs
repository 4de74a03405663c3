//! The archive's contract in memory, for simulations and tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, Reached, Settled, StateKey, StateValue,
};

use crate::error::refused;

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
}

impl MemoryArchive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
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
        let keys_from = chunk.reached.keys_from;
        held.keys.retain(|key| key.position >= keys_from);
        held.reached = chunk.reached;
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

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        let state = self.held().state.clone();
        for (key, value) in &state {
            each(*key, value);
        }
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        Ok(self.held().keys.clone())
    }
}
