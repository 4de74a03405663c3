//! The gateway's half of a link, whose owner is played here as a list of what it does: frames in and
//! out of order, of any epoch, cut, lost, and ends. Whatever the owner does, watermarks never fall,
//! every link begins with them, requests are numbered in order, and those without an answer come
//! again.
#![no_main]

#[allow(dead_code, reason = "the engine uses all of it")]
#[path = "../../engine/src/links/frame.rs"]
mod frame;

use arbitrary::Arbitrary;
use frame::{Kind, NO_PARTITION};
use imfast_engine::fuzzing::Gateway;
use imfast_engine::EngineConfig;
use imfast_wire::frames::server::Limits;
use libfuzzer_sys::fuzz_target;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

const KINDS: [Kind; 10] = [
    Kind::Hello,
    Kind::Command,
    Kind::Ephemeral,
    Kind::Query,
    Kind::Beat,
    Kind::Welcome,
    Kind::Reply,
    Kind::Deliver,
    Kind::DeliverEphemeral,
    Kind::Watermark,
];
/// Partition 0 is the gateway's own, the others are the owner's.
const PARTITIONS: u16 = 3;
const UNKNOWN: u64 = u64::MAX;

#[derive(Arbitrary, Debug)]
enum Operation {
    Ask {
        partition: u8,
        kind: u8,
        length: u8,
    },
    Tick,
    Beat,
    Welcome {
        epoch: u8,
        committed: u16,
    },
    Reply {
        request: u8,
        tag: u8,
        body: Vec<u8>,
    },
    Watermark {
        partition: u8,
        position: u16,
    },
    /// Any frame: `off` is how far its number is from the right one.
    Frame {
        kind: u8,
        partition: u8,
        epoch: u8,
        off: i8,
        payload: Vec<u8>,
    },
    /// The beginning of a frame; the end comes with the next one, or never.
    Raw(Vec<u8>),
    Close,
}

fuzz_target!(|operations: Vec<Operation>| {
    let path = std::env::temp_dir().join(format!("imfast-fuzz-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let Ok(listener) = UnixListener::bind(&path) else {
        return;
    };
    let nonblocking = listener.set_nonblocking(true);
    assert!(nonblocking.is_ok());
    let Ok(gateway) = Gateway::new(config(&path)) else {
        return;
    };
    let mut owner = Owner {
        gateway,
        listener,
        link: None,
        epoch: 1,
        watermarks: vec![0; PARTITIONS.into()],
    };
    for operation in operations.iter().take(128) {
        owner.act(operation);
    }
});

struct Owner {
    gateway: Gateway,
    listener: UnixListener,
    link: Option<Link>,
    /// As it was told last.
    epoch: u64,
    watermarks: Vec<u64>,
}

/// The owner's end of a connection.
struct Link {
    stream: UnixStream,
    incoming: Vec<u8>,
    next_in: u64,
    next_out: u64,
    /// The last request's number; they come in order.
    request: u64,
}

impl Owner {
    fn act(&mut self, operation: &Operation) {
        match operation {
            Operation::Ask {
                partition,
                kind,
                length,
            } => {
                let partition = 1 + u16::from(*partition) % (PARTITIONS - 1);
                self.gateway
                    .ask(partition, *kind, vec![7; usize::from(*length)]);
            }
            Operation::Tick => self.tick(),
            Operation::Beat => self.gateway.beat(),
            Operation::Welcome { epoch, committed } => {
                self.epoch = u64::from(*epoch) + 1;
                let mut payload = Vec::new();
                for partition in 1..PARTITIONS {
                    payload.extend_from_slice(&partition.to_le_bytes());
                    payload.extend_from_slice(&self.epoch.to_le_bytes());
                    payload.extend_from_slice(&u64::from(*committed).to_le_bytes());
                }
                self.send(Kind::Welcome, NO_PARTITION, 0, 0, &payload);
            }
            Operation::Reply { request, tag, body } => {
                let mut payload = u64::from(*request).to_le_bytes().to_vec();
                payload.push(tag % 2);
                payload.extend_from_slice(body);
                self.send(Kind::Reply, 1, self.epoch, 0, &payload);
            }
            Operation::Watermark {
                partition,
                position,
            } => {
                let partition = 1 + u16::from(*partition) % (PARTITIONS - 1);
                let payload = u64::from(*position).to_le_bytes();
                self.send(Kind::Watermark, partition, self.epoch, 0, &payload);
            }
            Operation::Frame {
                kind,
                partition,
                epoch,
                off,
                payload,
            } => {
                let kind = KINDS[usize::from(*kind) % KINDS.len()];
                let partition = match partition % 8 {
                    7 => NO_PARTITION,
                    near => u16::from(near),
                };
                let epoch = if *epoch < 128 {
                    self.epoch
                } else {
                    u64::from(*epoch) - 128
                };
                self.send(
                    kind,
                    partition,
                    epoch,
                    if *off > 16 { *off } else { 0 },
                    payload,
                );
            }
            Operation::Raw(bytes) => {
                if let Some(link) = &mut self.link {
                    let _ = link.stream.write(bytes);
                }
            }
            Operation::Close => self.link = None,
        }
    }

    fn send(&mut self, kind: Kind, partition: u16, epoch: u64, off: i8, payload: &[u8]) {
        let Some(link) = &mut self.link else { return };
        let number = link.next_out.wrapping_add_signed(i64::from(off));
        let mut out = Vec::new();
        frame::write(&mut out, kind, partition, epoch, number, |out| {
            out.extend_from_slice(payload)
        });
        link.next_out += 1;
        // A full socket loses the frame, which the next one shows.
        let _ = link.stream.write(&out);
    }

    fn tick(&mut self) {
        assert!(self.gateway.tick().is_ok());
        let now: Vec<(u64, u64)> = self.gateway.watermarks().collect();
        for ((after, _), before) in now.iter().zip(&mut self.watermarks) {
            assert!(after >= before, "a watermark fell");
            *before = *after;
        }
        while let Ok((stream, _)) = self.listener.accept() {
            assert!(stream.set_nonblocking(true).is_ok());
            self.link = Some(Link {
                stream,
                incoming: Vec::new(),
                next_in: 1,
                next_out: 1,
                request: 0,
            });
        }
        let unanswered = self.gateway.unanswered(1);
        assert!(unanswered.is_sorted());
        if let Some(link) = &mut self.link
            && !link.receive(&now, &unanswered)
        {
            self.link = None;
        }
    }
}

impl Link {
    /// Reads what the gateway wrote. False: it gave the link up.
    fn receive(&mut self, watermarks: &[(u64, u64)], unanswered: &[u64]) -> bool {
        let mut buffer = [0; 4096];
        let open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        let mut consumed = 0;
        while let Ok(Some((frame, length))) = frame::read(&self.incoming[consumed..]) {
            consumed += length;
            assert_eq!(
                frame.number, self.next_in,
                "a gap in what the gateway wrote"
            );
            self.next_in += 1;
            match frame.kind {
                Kind::Hello => {
                    assert_eq!(frame.number, 1);
                    greeted(frame.payload, watermarks);
                }
                Kind::Beat => {}
                Kind::Command | Kind::Query | Kind::Ephemeral => {
                    let Some((number, _)) = frame.payload.split_first_chunk() else {
                        panic!("a request without a number");
                    };
                    let number = u64::from_le_bytes(*number);
                    assert!(number > self.request, "requests out of order");
                    // What is open and was not sent on this link before is sent now.
                    let between = |one: &&u64| (self.request + 1..number).contains(*one);
                    assert_eq!(
                        unanswered.iter().find(between),
                        None,
                        "a request was left out"
                    );
                    self.request = number;
                }
                other => panic!("a gateway says no {other:?}"),
            }
        }
        if open {
            let rest = &self.incoming[consumed..];
            assert_eq!(
                frame::read(rest),
                Ok(None),
                "the gateway wrote what is no frame"
            );
        }
        self.incoming.drain(..consumed);
        open
    }
}

/// A link begins with what the gateway has: all, or nothing known.
fn greeted(payload: &[u8], watermarks: &[(u64, u64)]) {
    let Some((0, marks)) = payload
        .split_first()
        .map(|(worker, marks)| (*worker, marks))
    else {
        panic!("the gateway does not say who it is");
    };
    let (marks, rest) = marks.as_chunks::<10>();
    assert!(rest.is_empty() && marks.len() == usize::from(PARTITIONS) - 1);
    for (mark, partition) in marks.iter().zip(1..) {
        let mut position = [0; 8];
        position.copy_from_slice(&mark[2..]);
        let position = u64::from_le_bytes(position);
        assert_eq!(u16::from_le_bytes([mark[0], mark[1]]), partition);
        let (watermark, epoch) = watermarks[usize::from(partition)];
        assert!(position == UNKNOWN || position <= watermark);
        assert!(epoch > 0 || position == UNKNOWN);
    }
}

fn config(path: &PathBuf) -> EngineConfig {
    let example = EngineConfig::example(2);
    EngineConfig {
        owners: vec![0, 1, 1],
        link_paths: vec![String::new(), path.to_string_lossy().into_owned()],
        limits: Limits {
            frame_bytes: 1 << 12,
            ..example.limits
        },
        link_queue_bytes: 2048,
        ..example
    }
}
