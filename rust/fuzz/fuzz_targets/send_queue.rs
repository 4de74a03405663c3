//! A send queue before a slow socket, as a list of what happens to it: the bytes on the wire, the
//! counts and the bounds are those of a naive queue. How many own frames share a chunk is the true
//! queue's affair: a chunk counts, and stays when it is begun, as a whole.
#![no_main]

use arbitrary::Arbitrary;
use imfast_engine::fuzzing::Queue;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

const BYTES: usize = 64 * 1024;
const FRAMES: usize = 16;

#[derive(Arbitrary, Debug)]
enum Operation {
    Own(u16),
    Shared {
        before: u8,
        length: u16,
        behind: u8,
        frames: u8,
    },
    Newest {
        key: u8,
        length: u16,
    },
    DropNewest,
    KeepBegun,
    Write,
    Read(u16),
    Renew,
}

#[derive(PartialEq)]
enum Kind {
    Own,
    Shared,
    Newest(u64),
}

struct Chunk {
    kind: Kind,
    bytes: Vec<u8>,
    frames: usize,
}

/// Chunks in order, each own frame for itself; `sent` bytes of the first are on the wire.
#[derive(Default)]
struct Naive {
    chunks: VecDeque<Chunk>,
    sent: usize,
    /// Own frames that left right before the first chunk: they may share the true queue's chunk.
    own_before: usize,
    wire: Vec<u8>,
}

impl Naive {
    /// Bytes, and the least and the greatest count of frames.
    fn waiting(&self) -> (usize, RangeInclusive<usize>) {
        let bytes: usize = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let frames: usize = self.chunks.iter().map(|chunk| chunk.frames).sum();
        let first = self.chunks.front();
        let shares = first.is_some_and(|chunk| chunk.kind == Kind::Own);
        let more = if shares { self.own_before } else { 0 };
        (bytes - self.sent, frames..=frames + more)
    }

    fn check(&self, (bytes, frames): (usize, usize)) {
        let (expected, possible) = self.waiting();
        assert_eq!(bytes, expected);
        assert!(
            possible.contains(&frames),
            "{frames} of {possible:?} frames"
        );
    }

    fn begun(&self) -> usize {
        usize::from(self.sent > 0)
    }

    fn push(&mut self, kind: Kind, bytes: Vec<u8>, frames: usize) {
        self.chunks.push_back(Chunk {
            kind,
            bytes,
            frames,
        });
    }

    /// `outcome` is the true queue's: where its frames may be few enough or not, it decides.
    fn newest(&mut self, key: u64, frame: &[u8], outcome: Option<bool>) -> Option<bool> {
        let begun = self.begun();
        let same = |chunk: &&mut Chunk| chunk.kind == Kind::Newest(key);
        if let Some(older) = self.chunks.iter_mut().skip(begun).find(same) {
            older.bytes = frame.to_vec();
            return Some(true);
        }
        let (bytes, frames) = self.waiting();
        let is_full = *frames.start() >= FRAMES || *frames.end() >= FRAMES && outcome.is_none();
        if bytes + frame.len() > BYTES || is_full {
            return None;
        }
        self.push(Kind::Newest(key), frame.to_vec(), 1);
        Some(false)
    }

    fn drop_newest(&mut self) -> usize {
        let (before, begun) = (self.chunks.len(), self.begun());
        let mut at = 0;
        self.chunks.retain(|chunk| {
            at += 1;
            at <= begun || !matches!(chunk.kind, Kind::Newest(_))
        });
        before - self.chunks.len()
    }

    /// `left` bytes wait in the true queue behind it: whole frames, of one own chunk at most.
    fn keep_begun(&mut self, left: usize) {
        let mut kept = self.begun();
        let first = self.chunks.front();
        let is_own = first.is_some_and(|chunk| chunk.kind == Kind::Own);
        let bytes = |chunks: &VecDeque<Chunk>, count| -> usize {
            chunks
                .iter()
                .take(count)
                .map(|chunk| chunk.bytes.len())
                .sum()
        };
        while kept > 0 && is_own && bytes(&self.chunks, kept) - self.sent < left {
            let more = self.chunks.get(kept);
            assert!(more.is_some_and(|chunk| chunk.kind == Kind::Own));
            kept += 1;
        }
        self.chunks.truncate(kept);
    }

    fn send(&mut self, mut count: usize) {
        while count > 0 {
            let first = &self.chunks[0].bytes;
            let part = count.min(first.len() - self.sent);
            let bytes = &first[self.sent..self.sent + part];
            self.wire.extend_from_slice(bytes);
            self.sent += part;
            count -= part;
            if self.sent == first.len() {
                let gone = self.chunks.pop_front();
                let was_own = gone.is_some_and(|chunk| chunk.kind == Kind::Own);
                let may_share = was_own && !self.chunks.is_empty();
                self.own_before = if may_share { self.own_before + 1 } else { 0 };
                self.sent = 0;
            }
        }
    }
}

fuzz_target!(|operations: Vec<Operation>| {
    let Ok(mut queue) = Queue::new(BYTES, FRAMES) else {
        return;
    };
    let mut naive = Naive::default();
    let mut received = Vec::new();
    for (number, operation) in operations.iter().take(256).enumerate() {
        // No frame is empty.
        let frame = |length: u16| vec![number as u8; usize::from(length % 20_000) + 1];
        match operation {
            Operation::Own(length) => {
                queue.own(&frame(*length));
                naive.push(Kind::Own, frame(*length), 1);
            }
            Operation::Shared {
                before,
                length,
                behind,
                frames,
            } => {
                let (bytes, start) = (frame(*length), usize::from(*before));
                let end = start + bytes.len();
                let mut buffer = vec![255; start];
                buffer.extend_from_slice(&bytes);
                buffer.resize(end + usize::from(*behind), 255);
                let frames = u32::from(*frames).max(1);
                queue.shared(buffer, start, end, frames);
                naive.push(Kind::Shared, bytes, frames as usize);
            }
            Operation::Newest { key, length } => {
                let (key, bytes) = (u64::from(*key % 24), frame(*length));
                let outcome = queue.newest(key, &bytes);
                assert_eq!(outcome, naive.newest(key, &bytes, outcome));
            }
            Operation::DropNewest => assert_eq!(queue.drop_newest(), naive.drop_newest()),
            Operation::KeepBegun => {
                queue.keep_begun();
                naive.keep_begun(queue.waiting().0);
            }
            Operation::Write => {
                let Ok(sent) = queue.write() else {
                    panic!("the peer is there");
                };
                naive.send(sent);
            }
            Operation::Read(limit) => queue.read(usize::from(*limit), &mut received),
            Operation::Renew => {
                drain(&mut queue, &mut received);
                assert!(naive.wire == received, "other bytes than the naive queue's");
                if queue.renew().is_err() {
                    return;
                }
                naive = Naive::default();
                received.clear();
            }
        }
        naive.check(queue.waiting());
    }
    while naive.waiting().0 > 0 {
        drain(&mut queue, &mut received);
        naive.send(queue.write().unwrap_or_default());
    }
    drain(&mut queue, &mut received);
    assert!(naive.wire == received, "other bytes than the naive queue's");
    assert_eq!(queue.waiting(), (0, 0));
});

/// Reads all that the socket holds.
fn drain(queue: &mut Queue, received: &mut Vec<u8>) {
    let mut before = usize::MAX;
    while received.len() != before {
        before = received.len();
        queue.read(1 << 16, received);
    }
}
