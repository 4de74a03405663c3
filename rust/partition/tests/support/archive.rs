//! An archive in memory that counts its reads and can be broken.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey, StateValue,
};

#[derive(Debug, Default)]
pub struct Held {
    pub reached: Reached,
    pub rows: BTreeMap<(u32, u64), ArchivedRow>,
    pub places: BTreeMap<u64, (u32, u64)>,
    pub state: BTreeMap<StateKey, Vec<u8>>,
    pub keys: Vec<ArchivedKey>,
    /// As if a key that says this time had been forgotten.
    pub expired_until_ms: u64,
    /// Reads of rows and places since the test last looked, and the rows they gave.
    pub reads: usize,
    pub rows_read: usize,
    /// Every read fails.
    pub unreadable: bool,
}

#[derive(Debug, Default)]
pub struct TestArchive(Mutex<Held>);

impl TestArchive {
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("no test panics with it")
    }

    fn read(&self) -> io::Result<MutexGuard<'_, Held>> {
        let mut held = self.held();
        held.reads += 1;
        if held.unreadable {
            return Err(io::Error::other("unreadable"));
        }
        Ok(held)
    }

    /// (reads, rows read) since the last call.
    pub fn reads(&self) -> (usize, usize) {
        let mut held = self.held();
        (
            std::mem::take(&mut held.reads),
            std::mem::take(&mut held.rows_read),
        )
    }

    fn give(
        &self,
        rows: impl Iterator<Item = ArchivedRow>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) {
        for row in rows {
            self.held().rows_read += 1;
            if !each(row) {
                return;
            }
        }
    }
}

impl Archive for TestArchive {
    fn reached(&self) -> Reached {
        self.held().reached
    }

    fn apply(&self, chunk: &Settled) -> io::Result<()> {
        let held = &mut *self.held();
        assert_eq!(chunk.after, held.reached.position);
        assert!(chunk.places.is_sorted());
        assert!(chunk.keys.is_sorted_by_key(|key| key.position));
        for row in &chunk.rows {
            let known = held.rows.insert((row.conversation, row.seq), row.clone());
            assert!(known.is_none(), "a row is archived once");
        }
        for &(position, conversation, seq) in &chunk.places {
            assert!(position > chunk.after && position <= chunk.reached.position);
            held.places.insert(position, (conversation, seq));
        }
        for (&key, value) in &chunk.state {
            match value {
                StateValue::Number(number) => {
                    held.state.insert(key, number.to_le_bytes().to_vec());
                }
                StateValue::Bytes(bytes) => {
                    held.state.insert(key, bytes.to_vec());
                }
                StateValue::Removed => {
                    held.state.remove(&key);
                }
            }
        }
        held.keys.extend(&chunk.keys);
        held.reached = chunk.reached;
        Ok(())
    }

    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>> {
        let mut held = self.read()?;
        held.rows_read += 1;
        Ok(held.rows.get(&(conversation, seq)).cloned())
    }

    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        let held = self.read()?;
        let range = held
            .rows
            .range((conversation, seqs.start)..(conversation, seqs.end));
        let rows: Vec<_> = range.map(|(_, row)| row.clone()).collect();
        drop(held);
        self.give(rows.into_iter(), each);
        Ok(())
    }

    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        let held = self.read()?;
        let range = held
            .rows
            .range((conversation, seqs.start)..(conversation, seqs.end));
        let rows: Vec<_> = range.map(|(_, row)| row.clone()).collect();
        drop(held);
        self.give(rows.into_iter().rev(), each);
        Ok(())
    }

    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()> {
        let held = self.read()?;
        let found = held.places.range(positions);
        for (&position, &(conversation, seq)) in found {
            if !each(position, conversation, seq) {
                break;
            }
        }
        Ok(())
    }

    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>> {
        Ok(self.read()?.state.get(&key).map(|value| value[..].into()))
    }

    fn find_key(&self, key: (u64, u64), _made_ms: u64, before: u64) -> io::Result<KeyFound> {
        let held = self.read()?;
        let is_it = |known: &&ArchivedKey| {
            (known.key_high, known.key_low) == key && known.position < before
        };
        let expired_until_ms = held.expired_until_ms;
        let found = held.keys.iter().find(is_it);
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
        0
    }

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        for (key, value) in &self.read()?.state {
            each(*key, value);
        }
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        let held = self.read()?;
        let keys = held.keys.iter().copied();
        Ok(keys
            .filter(|key| key.position >= held.reached.keys_from)
            .collect())
    }
}
