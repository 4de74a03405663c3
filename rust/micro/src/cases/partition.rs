//! A partition's part of a batch of 256 sends: begin, finish, commit. The numbering between them
//! is the Cython sequencer's and counted there.

use crate::callgrind::counted;
use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey,
};
use imfast_partition::{Incoming, Limits, Partition, PartitionConfig};
use imfast_wire::frames::id;
use imfast_wire::protobuf::{put_bytes, put_message};
use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const BATCH: usize = 256;
const BATCHES_BEFORE: usize = 16;
const BATCHES: usize = 16;
const CONVERSATIONS: usize = 1_000;
const TENANT: &[u8] = b"default";
const TIME_MS: u64 = 1_763_899_999_000;

/// A logged send of 128 bytes with a key.
fn send(user: &str, peer: &str, key: u64) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 7, &[b'x'; 128]);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, peer.as_bytes());
    put_bytes(&mut body, 2, &content);
    let conversation = id::direct_conversation(TENANT, user, peer);
    let mut out = Vec::new();
    put_bytes(&mut out, 1, TENANT);
    put_bytes(&mut out, 2, user.as_bytes());
    put_bytes(&mut out, 3, &key.to_le_bytes());
    put_bytes(&mut out, 4, conversation.as_bytes());
    put_message(&mut out, 8, &body);
    out
}

fn batch(number: usize) -> VecDeque<Incoming<usize>> {
    let first = number * BATCH;
    (first..first + BATCH)
        .map(|message| {
            // A step that is prime to the number of conversations visits all of them.
            let pair = message * 389 % CONVERSATIONS;
            let (user, peer) = (format!("user-{pair}"), format!("peer-{pair}"));
            Incoming {
                command: send(&user, &peer, message as u64),
                origin: message,
            }
        })
        .collect()
}

/// Numbers every record as new, as the sequencer would for keys it has not seen.
#[derive(Default)]
struct Numbers {
    heads: Vec<u64>,
    position: u64,
}

impl Numbers {
    fn number(&mut self, records: &mut [u8]) {
        for record in records.chunks_exact_mut(64) {
            let mut conversation = [0; 4];
            conversation.copy_from_slice(&record[24..28]);
            let conversation = u32::from_le_bytes(conversation) as usize;
            if conversation >= self.heads.len() {
                self.heads.resize(conversation + 1, 0);
            }
            self.heads[conversation] += 1;
            self.position += 1;
            record[29] = 2;
            record[32..40].copy_from_slice(&self.heads[conversation].to_le_bytes());
            record[40..48].copy_from_slice(&self.position.to_le_bytes());
            record[48..56].copy_from_slice(&self.position.to_le_bytes());
        }
    }
}

fn config() -> PartitionConfig {
    PartitionConfig {
        partition: 0,
        count: 1,
        layout_generation: 1,
        hash_secret: [7; 16],
        limits: Limits::default(),
    }
}

/// An archive that is empty and is never given anything.
#[derive(Debug)]
struct NoArchive;

impl Archive for NoArchive {
    fn reached(&self) -> Reached {
        Reached::default()
    }

    fn apply(&self, _: &Settled) -> io::Result<()> {
        Ok(())
    }

    fn row(&self, _: u32, _: u64) -> io::Result<Option<ArchivedRow>> {
        Ok(None)
    }

    fn rows(
        &self,
        _: u32,
        _: Range<u64>,
        _: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        Ok(())
    }

    fn rows_back(
        &self,
        _: u32,
        _: Range<u64>,
        _: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        Ok(())
    }

    fn places(&self, _: Range<u64>, _: &mut dyn FnMut(u64, u32, u64) -> bool) -> io::Result<()> {
        Ok(())
    }

    fn piece(&self, _: StateKey) -> io::Result<Option<Box<[u8]>>> {
        Ok(None)
    }

    fn find_key(&self, _: (u64, u64), _: u64, _: u64) -> io::Result<KeyFound> {
        Ok(KeyFound::Unknown {
            expired_until_ms: 0,
        })
    }

    fn old_keys_made_ms(&self, _: u64) -> Option<u64> {
        None
    }

    fn keys_forgotten_ms(&self) -> u64 {
        0
    }

    fn state(&self, _: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        Ok(())
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        Ok(Vec::new())
    }
}

pub(crate) fn run() {
    count("partition_fold_256", Partition::new(config()));
    let gathering = Partition::restore(config(), Arc::new(NoArchive));
    let gathering = gathering.expect("an empty archive can be read");
    count("partition_fold_gathered_256", gathering);
}

fn count(name: &str, mut partition: Partition<usize>) {
    let mut numbers = Numbers::default();
    // Every conversation is there, and the tables have grown, before counting begins.
    for number in 0..BATCHES_BEFORE {
        fold(&mut partition, &mut numbers, &mut batch(number), number);
    }
    // The next chunk starts with the room that this one took.
    black_box(partition.take_chunk(1));
    let mut later: Vec<_> = (BATCHES_BEFORE..BATCHES_BEFORE + BATCHES)
        .map(|number| (number, batch(number)))
        .collect();
    counted(name, BATCHES * BATCH, || {
        for (number, incoming) in &mut later {
            fold(&mut partition, &mut numbers, incoming, *number);
        }
    });
}

fn fold(
    partition: &mut Partition<usize>,
    numbers: &mut Numbers,
    incoming: &mut VecDeque<Incoming<usize>>,
    batch: usize,
) {
    partition.begin(TIME_MS + batch as u64, incoming, BATCH, usize::MAX);
    numbers.number(partition.records_mut().0);
    let logged = partition.finish().expect("numbered as agreed");
    let committed = partition.commit();
    assert_eq!(
        (logged.count as usize, committed.deliveries.len()),
        (BATCH, BATCH)
    );
    black_box((logged, committed));
}
