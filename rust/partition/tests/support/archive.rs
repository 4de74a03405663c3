//! An archive in memory that counts its reads and can be broken.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, Reached, Settled, StateKey, StateValue,
};

#[derive(Debug, Default)]
pub struct Held {
    pub reached: Reached,
    pub rows: BTreeMap<(u32, u64), ArchivedRow>,
    pub places: BTreeMap<u64, (u32, u64)>,
    pub state: BTreeMap<StateKey, Vec<u8>>,
    pub keys: Vec<ArchivedKey>,
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
        held.keys
            .retain(|key| key.position >= chunk.reached.keys_from);
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

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        for (key, value) in &self.read()?.state {
            each(*key, value);
        }
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        Ok(self.read()?.keys.clone())
    }
}
