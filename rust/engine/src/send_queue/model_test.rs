//! The send queue against a naive one: a list of frames of which a newer ephemeral one takes the
//! place of the older, sent one socket's worth at a time.

use super::{Bounds, BufferPool, Newest, Progress, SendQueue};
use proptest::prelude::*;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use std::collections::VecDeque;
use std::rc::Rc;

const BOUNDS: Bounds = Bounds {
    bytes: 40_000,
    frames: 60,
};

#[derive(Debug, Clone)]
enum Step {
    Own(u16),
    Shared(u16),
    Newest { key: u64, length: u16 },
    DropNewest,
    Send,
    Read(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let length = 1u16..3000;
    prop_oneof![
        3 => length.clone().prop_map(Step::Own),
        3 => length.clone().prop_map(Step::Shared),
        6 => (1u64..6, length).prop_map(|(key, length)| Step::Newest { key, length }),
        1 => Just(Step::DropNewest),
        3 => Just(Step::Send),
        2 => (1u16..20_000).prop_map(Step::Read),
    ]
}

/// A frame that waits: key 0 is a durable one.
struct Waiting {
    key: u64,
    bytes: Vec<u8>,
}

/// Frames in order; `sent` bytes of the first are on the wire.
#[derive(Default)]
struct Naive {
    waiting: VecDeque<Waiting>,
    sent: usize,
    wire: Vec<u8>,
}

impl Naive {
    fn bytes(&self) -> usize {
        self.waiting.iter().map(|w| w.bytes.len()).sum::<usize>() - self.sent
    }

    fn newest(&mut self, key: u64, frame: &[u8], begun_chunk: usize) -> Newest {
        let begun = if self.sent > 0 { begun_chunk } else { 0 };
        if let Some(found) = self.waiting.iter_mut().skip(begun).find(|w| w.key == key) {
            found.bytes = frame.to_vec();
            return Newest::Replaced;
        }
        if self.bytes() + frame.len() > BOUNDS.bytes || self.waiting.len() >= BOUNDS.frames {
            return Newest::Refused;
        }
        let bytes = frame.to_vec();
        self.waiting.push_back(Waiting { key, bytes });
        Newest::Added
    }

    fn drop_newest(&mut self) -> usize {
        let before = self.waiting.len();
        let begun = self.sent > 0;
        let mut at = 0;
        self.waiting.retain(|w| {
            at += 1;
            w.key == 0 || (begun && at == 1)
        });
        before - self.waiting.len()
    }

    fn send(&mut self, mut count: usize) {
        while count > 0 {
            let first = &self.waiting[0].bytes;
            let part = count.min(first.len() - self.sent);
            self.wire
                .extend_from_slice(&first[self.sent..self.sent + part]);
            self.sent += part;
            count -= part;
            if self.sent == first.len() {
                self.waiting.pop_front();
                self.sent = 0;
            }
        }
    }
}

fn small_pair() -> (OwnedFd, OwnedFd) {
    let (near, far) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK,
        None,
    )
    .expect("socketpair");
    // The kernel makes it the least that it allows: a few kilobytes.
    sockopt::set_socket_send_buffer_size(&near, 1).expect("a buffer size");
    (near, far)
}

fn read(far: &OwnedFd, limit: usize, out: &mut Vec<u8>) {
    let mut buffer = vec![0; limit];
    if let Ok(count) = rustix::io::read(far, &mut buffer) {
        out.extend_from_slice(&buffer[..count]);
    }
}

proptest! {
    #[test]
    fn a_queue_sends_what_a_naive_one_sends(steps in prop::collection::vec(step(), 1..200)) {
        let (near, far) = small_pair();
        let mut pool = BufferPool::default();
        let mut queue = SendQueue::default();
        let mut naive = Naive::default();
        let mut received = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let frame = |length: u16| vec![number as u8; length.into()];
            match step {
                Step::Own(length) => {
                    let bytes = frame(length);
                    // One frame a chunk: what the naive queue calls begun is then the same.
                    queue.append_shared(&Rc::new(bytes.clone()), 0, bytes.len(), 1);
                    naive.waiting.push_back(Waiting { key: 0, bytes });
                }
                Step::Shared(length) => {
                    let bytes = frame(length);
                    let mut around = vec![255];
                    around.extend_from_slice(&bytes);
                    around.push(255);
                    queue.append_shared(&Rc::new(around), 1, 1 + bytes.len(), 1);
                    naive.waiting.push_back(Waiting { key: 0, bytes });
                }
                Step::Newest { key, length } => {
                    let bytes = frame(length);
                    let became = queue.append_newest(key, &bytes, BOUNDS);
                    prop_assert_eq!(became, naive.newest(key, &bytes, 1));
                }
                Step::DropNewest => prop_assert_eq!(queue.drop_newest(), naive.drop_newest()),
                Step::Send => {
                    let before = queue.bytes();
                    queue.write_to(&mut &near, &mut pool).expect("the peer is there");
                    naive.send(before - queue.bytes());
                }
                Step::Read(limit) => read(&far, limit.into(), &mut received),
            }
            prop_assert_eq!(queue.bytes(), naive.bytes());
            prop_assert_eq!(queue.frames(), naive.waiting.len());
        }
        // To the end, or after an overflow: what was begun is finished, and one more frame.
        let overflow = queue.frames() > BOUNDS.frames / 2;
        if overflow {
            queue.keep_begun(&mut pool);
            naive.waiting.truncate(usize::from(naive.sent > 0));
        }
        queue.append_with(&mut pool, |out| out.extend_from_slice(b"end"));
        naive.waiting.push_back(Waiting { key: 0, bytes: b"end".to_vec() });
        naive.send(naive.bytes());
        while queue.write_to(&mut &near, &mut pool).expect("the peer is there") != Progress::Done {
            read(&far, 1 << 16, &mut received);
        }
        while received.len() < naive.wire.len() {
            let before = received.len();
            read(&far, 1 << 16, &mut received);
            prop_assert!(received.len() > before, "{} bytes are missing", naive.wire.len() - before);
        }
        prop_assert!(received == naive.wire, "other bytes than the naive queue's");
        prop_assert_eq!((queue.bytes(), queue.frames()), (0, 0));
    }
}
