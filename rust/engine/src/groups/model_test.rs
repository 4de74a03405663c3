//! The fan-out against a plain model: whoever is subscribed when a frame is appended gets it once,
//! in order, whatever joins, leaves and slices happen around it, over real sockets.

use super::{Groups, Slice};
use crate::connection::{Connection, Phase};
use crate::io::{Io, IoLimits};
use crate::run::Class;
use crate::system::{Poller, Source};
use imfast_session::Session;
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::tcp;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::time::{Duration, Instant};

struct Random(u64);

impl Random {
    /// xorshift64 (Marsaglia 2003): enough to choose steps by.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

struct Client {
    slot: u32,
    peer: OwnedFd,
    subscribed: [bool; GROUPS],
    expected: [Vec<u64>; GROUPS],
    received: Vec<u8>,
}

const GROUPS: usize = 3;
const CLIENTS: usize = 40;
const STEPS: usize = 2_000;

fn connect(io: &mut Io) -> Client {
    let pair = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK,
        None,
    );
    let (near, peer) = pair.expect("socketpair");
    let mut connection = Connection::new(Some(near), Session::tcp());
    connection.phase = Phase::Connected;
    let handle = io.connections.insert(connection);
    let connection = io.connections.get(handle.slot).expect("just inserted");
    let fd = connection.fd.as_ref().expect("a socket");
    let source = Source::Connection {
        slot: handle.slot,
        generation: handle.generation,
    };
    io.poller.add(fd, source, false).expect("epoll");
    Client {
        slot: handle.slot,
        peer,
        subscribed: [false; GROUPS],
        expected: Default::default(),
        received: Vec::new(),
    }
}

fn read(client: &mut Client) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(&client.peer, &mut buffer) {
        client.received.extend_from_slice(&buffer[..count]);
    }
}

/// The numbers that arrived, by group.
fn numbers(received: &[u8]) -> [Vec<u64>; GROUPS] {
    let mut out: [Vec<u64>; GROUPS] = Default::default();
    let mut rest = received;
    while let Ok(tcp::Decoded::Frame { consumed, payload }) = tcp::decode(rest, 1 << 16) {
        let frame = proto::decode_server(payload).expect("our frame");
        let ServerBody::Pong { server_time_ms } = frame.body else {
            panic!("{frame:?}")
        };
        out[server_time_ms as usize % GROUPS].push(server_time_ms);
        rest = &rest[consumed..];
    }
    assert!(rest.is_empty(), "half a frame arrived");
    out
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let limits = IoLimits {
        send_queue_bytes: 1 << 24,
        send_queue_frames: 1 << 20,
        connections_max: CLIENTS,
    };
    let mut io = Io::new(
        Poller::new(Duration::from_hours(1), 64).expect("epoll"),
        limits,
    );
    let mut groups = Groups::default();
    let ids: Vec<u32> = (0..GROUPS)
        .map(|n| groups.insert(&format!("t\0g.{n}"), 0, n as u64, 1))
        .collect();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect(&mut io)).collect();
    let mut due = Vec::new();
    // A slice of one group at a time, so that jobs of several groups stay open between steps.
    let mut slice = |groups: &mut Groups, io: &mut Io| {
        let bounds = Slice {
            sockets: 7,
            deadline: Instant::now(),
            now_ms: 0,
            wall_ms: 0,
            answers_first: false,
        };
        let more = groups.run(io, bounds, &mut due, || false);
        io.flush_dirty();
        more
    };
    for number in 0..STEPS as u64 {
        let which = random.below(GROUPS);
        // Connections that break: without what they were not given yet, at times all of them.
        let breaking = match random.below(200) {
            0 => CLIENTS,
            1..=10 => 1,
            _ => 0,
        };
        for _ in 0..breaking {
            let client = clients.remove(0);
            for group in (0..GROUPS).filter(|group| client.subscribed[*group]) {
                groups.unsubscribe(&mut io, ids[group], client.slot, false);
            }
            clients.push(connect(&mut io));
        }
        let client = &mut clients[random.below(CLIENTS)];
        match random.below(10) {
            0..=2 => {
                groups.subscribe(&mut io, ids[which], client.slot);
                client.subscribed[which] = true;
            }
            3..=4 if client.subscribed[which] => {
                groups.unsubscribe(&mut io, ids[which], client.slot, true);
                client.subscribed[which] = false;
            }
            5..=7 => {
                let number = number * GROUPS as u64 + which as u64;
                let frame = ServerFrame::push(ServerBody::Pong {
                    server_time_ms: number,
                });
                let exclude = (random.below(4) == 0).then_some(client.slot);
                let class = match exclude {
                    None => Class::Durable(number + 1),
                    sender => Class::Ephemeral {
                        key: number,
                        sender,
                    },
                };
                groups.append(ids[which], &frame, class);
                for client in clients.iter_mut().filter(|c| c.subscribed[which]) {
                    if exclude != Some(client.slot) {
                        client.expected[which].push(number);
                    }
                }
            }
            _ => {
                slice(&mut groups, &mut io);
            }
        }
        read(&mut clients[random.below(CLIENTS)]);
    }
    while slice(&mut groups, &mut io) {}
    assert_eq!(
        groups.lowest_unfinished(0),
        None,
        "seed {seed}: all was handed out"
    );
    for client in &mut clients {
        read(client);
        io.flush(client.slot);
        read(client);
        assert_eq!(
            numbers(&client.received),
            client.expected,
            "seed {seed}, slot {}",
            client.slot
        );
    }
}

#[test]
fn each_subscriber_gets_exactly_what_was_appended_while_it_was_subscribed() {
    let fresh = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |d| d.as_nanos() as u64 | 1);
    for seed in (1..40).chain([fresh]) {
        run(seed);
    }
}
