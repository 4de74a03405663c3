//! How long one message takes from command to committed row, without a log: begin, plain
//! numbering, finish, commit. Run with `cargo run --release --example fold_rate`.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use imfast_partition::{Incoming, Limits, Partition, PartitionConfig};
use imfast_wire::frames::id;
use imfast_wire::protobuf::{put_bytes, put_message};

const BATCH: usize = 256;
const CONVERSATIONS: usize = 1_000;
const BATCHES: usize = 2_000;
const ROUNDS: usize = 7;
const TEXT: [u8; 128] = [b'x'; 128];
const TENANT: &[u8] = b"default";

fn send(user: &str, peer: &str, key: u64) -> Vec<u8> {
    let mut content = Vec::new();
    put_bytes(&mut content, 7, &TEXT);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, peer.as_bytes());
    put_bytes(&mut body, 2, &content);
    let mut out = Vec::new();
    put_bytes(&mut out, 1, TENANT);
    put_bytes(&mut out, 2, user.as_bytes());
    put_bytes(&mut out, 3, &key.to_le_bytes());
    put_bytes(
        &mut out,
        4,
        id::direct_conversation(TENANT, user, peer).as_bytes(),
    );
    put_message(&mut out, 8, &body);
    out
}

/// Numbers every record as new; keys are not looked up, for that is the sequencer's cost.
#[derive(Default)]
struct Numbers {
    heads: Vec<u64>,
    position: u64,
    message_id: u64,
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
            self.message_id += 1;
            record[29] = 2;
            record[32..40].copy_from_slice(&self.heads[conversation].to_le_bytes());
            record[40..48].copy_from_slice(&self.message_id.to_le_bytes());
            record[48..56].copy_from_slice(&self.position.to_le_bytes());
        }
    }
}

#[derive(Default)]
struct Spent {
    begin: Duration,
    number: Duration,
    finish: Duration,
    commit: Duration,
}

fn main() {
    println!("{BATCHES} batches of {BATCH}, {CONVERSATIONS} direct conversations, 128 B, keyed");
    println!("ns/message   begin  number  finish  commit   total");
    let mut totals = Vec::new();
    for _ in 0..ROUNDS {
        totals.push(round());
    }
    totals.sort_by(f64::total_cmp);
    println!(
        "median {:.0}, from {:.0} to {:.0}",
        totals[ROUNDS / 2],
        totals[0],
        totals[ROUNDS - 1]
    );
}

fn round() -> f64 {
    let mut partition = Partition::new(PartitionConfig {
        partition: 0,
        count: 1,
        layout_generation: 1,
        hash_secret: [7; 16],
        limits: Limits::default(),
    });
    let mut numbers = Numbers::default();
    let mut spent = Spent::default();
    for batch in 0..=BATCHES {
        let mut incoming: VecDeque<_> = (0..BATCH)
            .map(|n| {
                // A step that is prime to the number of conversations visits all of them.
                let pair = (batch * BATCH + n) * 389 % CONVERSATIONS;
                let (user, peer) = (format!("user-{pair}"), format!("peer-{pair}"));
                Incoming {
                    command: send(&user, &peer, (batch * BATCH + n) as u64),
                    origin: n,
                }
            })
            .collect();
        let start = Instant::now();
        partition.begin(
            1_763_899_999_000 + batch as u64,
            &mut incoming,
            BATCH,
            usize::MAX,
        );
        let begun = Instant::now();
        numbers.number(partition.records_mut().0);
        let numbered = Instant::now();
        let logged = partition.finish().expect("numbered as agreed");
        let finished = Instant::now();
        let committed = partition.commit();
        let done = Instant::now();
        assert_eq!(
            (logged.count as usize, committed.deliveries.len()),
            (BATCH, BATCH)
        );
        black_box((logged, committed));
        if batch > 0 {
            spent.begin += begun - start;
            spent.number += numbered - begun;
            spent.finish += finished - numbered;
            spent.commit += done - finished;
        }
    }
    let messages = (BATCHES * BATCH) as u32;
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(messages);
    let parts = [spent.begin, spent.number, spent.finish, spent.commit].map(each);
    let total = parts.iter().sum();
    let [begin, number, finish, commit] = parts;
    println!("           {begin:>7.0} {number:>7.0} {finish:>7.0} {commit:>7.0} {total:>7.0}");
    total
}
