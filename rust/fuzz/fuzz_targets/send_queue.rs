//! A send queue before a slow socket, as a list of what happens to it: the bytes on the wire, the
//! counts and the bounds are those of a naive queue.
#![no_main]

use arbitrary::Arbitrary;
use imfast_engine::fuzzing::Queue;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;

const BYTES: usize = 64 * 1024;
const FRAMES: usize = 16;
/// At this size a chunk of own frames is closed.
const CHUNK: usize = 16 * 1024;

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

/// Chunks in order; `sent` bytes of the first are on the wire.
#[derive(Default)]
struct Naive {
    chunks: VecDeque<Chunk>,
    sent: usize,
    wire: Vec<u8>,
}

impl Naive {
    fn waiting(&self) -> (usize, usize) {
        let bytes: usize = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let frames = self.chunks.iter().map(|chunk| chunk.frames).sum();
        (bytes - self.sent, frames)
    }

    fn begun(&self) -> usize {
        usize::from(self.sent > 0)
    }

    fn own(&mut self, frame: &[u8]) {
        match self.chunks.back_mut() {
            Some(last) if last.kind == Kind::Own && last.bytes.len() < CHUNK => {
                last.bytes.extend_from_slice(frame);
                last.frames += 1;
            }
            _ => self.push(Kind::Own, frame.to_vec(), 1),
        }
    }

    fn push(&mut self, kind: Kind, bytes: Vec<u8>, frames: usize) {
        self.chunks.push_back(Chunk {
            kind,
            bytes,
            frames,
        });
    }

    fn newest(&mut self, key: u64, frame: &[u8]) -> Option<bool> {
        let begun = self.begun();
        let same = |chunk: &&mut Chunk| chunk.kind == Kind::Newest(key);
        if let Some(older) = self.chunks.iter_mut().skip(begun).find(same) {
            older.bytes = frame.to_vec();
            return Some(true);
        }
        let (bytes, frames) = self.waiting();
        if bytes + frame.len() > BYTES || frames >= FRAMES {
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

    fn send(&mut self, mut count: usize) {
        while count > 0 {
            let first = &self.chunks[0].bytes;
            let part = count.min(first.len() - self.sent);
            let bytes = &first[self.sent..self.sent + part];
            self.wire.extend_from_slice(bytes);
            self.sent += part;
            count -= part;
            if self.sent == first.len() {
                self.chunks.pop_front();
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
                naive.own(&frame(*length));
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
                assert_eq!(queue.newest(key, &bytes), naive.newest(key, &bytes));
            }
            Operation::DropNewest => assert_eq!(queue.drop_newest(), naive.drop_newest()),
            Operation::KeepBegun => {
                queue.keep_begun();
                naive.chunks.truncate(naive.begun());
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
        assert_eq!(queue.waiting(), naive.waiting());
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
