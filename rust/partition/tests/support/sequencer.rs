//! The numbering as agreed for the packed records, without any cleverness.

use std::collections::HashMap;

use imfast_partition::archive::{ArchivedKey, Reached};

#[derive(Debug, Clone, Copy)]
struct First {
    payload: u64,
    seq: u64,
    message_id: u64,
    position: u64,
    time_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Sequencer {
    heads: HashMap<u32, u64>,
    keys: HashMap<(u64, u64), First>,
    position: u64,
    message_id: u64,
}

impl Sequencer {
    /// As of what an archive reached, with its keys.
    pub fn restored(reached: Reached, heads: &[u64], keys: &[ArchivedKey]) -> Self {
        let keys = keys.iter().map(|key| {
            let first = First {
                payload: key.payload,
                seq: key.seq,
                message_id: key.message_id,
                position: key.position,
                time_ms: key.time_ms,
            };
            ((key.key_high, key.key_low), first)
        });
        Self {
            heads: (0..).zip(heads.iter().copied()).collect(),
            keys: keys.collect(),
            position: reached.position,
            message_id: reached.message_id,
        }
    }

    /// Numbers a buffer of 64-byte records in place.
    pub fn number(&mut self, records: &mut [u8]) {
        assert_eq!(records.len() % 64, 0);
        for record in records.chunks_exact_mut(64) {
            self.number_one(record);
        }
    }

    fn number_one(&mut self, record: &mut [u8]) {
        let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("8 bytes"));
        let key = (word(0), word(8));
        let (payload, given, time_ms) = (word(16), word(40), word(56));
        let conversation = word(24) as u32;
        let (kind, verdict) = (record[28], record[29]);
        if let Some(first) = self.keys.get(&key) {
            let same = first.payload == payload;
            record[29] = if same { 3 } else { 4 };
            for (at, value) in [
                (32, first.seq),
                (40, first.message_id),
                (48, first.position),
                (56, first.time_ms),
            ] {
                record[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            return;
        }
        if verdict == 1 {
            record[29] = 5;
            return;
        }
        self.position += 1;
        record[48..56].copy_from_slice(&self.position.to_le_bytes());
        if kind == 2 {
            record[29] = 6;
            return;
        }
        let head = self.heads.entry(conversation).or_default();
        *head += 1;
        let seq = *head;
        let message_id = if given == 0 {
            (self.message_id + 1).max(time_ms << 22)
        } else {
            given
        };
        self.message_id = message_id;
        record[29] = 2;
        record[32..40].copy_from_slice(&seq.to_le_bytes());
        record[40..48].copy_from_slice(&message_id.to_le_bytes());
        if key != (0, 0) {
            let position = self.position;
            self.keys.insert(
                key,
                First {
                    payload,
                    seq,
                    message_id,
                    position,
                    time_ms,
                },
            );
        }
    }
}
