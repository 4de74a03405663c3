//! Which frames share a write, over sockets that keep the bounds of writes.

use super::{Groups, Slice};
use crate::config::Coalesce;
use crate::connection::{Connection, Phase};
use crate::io::{Io, IoLimits};
use crate::run::Class;
use crate::system::Poller;
use imfast_session::Session;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::time::{Duration, Instant};

/// Sizes of what was written to a socket since the last call.
fn writes_to(peer: &OwnedFd) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(count) = rustix::io::read(peer, &mut buffer) {
        sizes.push(count);
    }
    sizes
}

struct Fixture {
    io: Io,
    groups: Groups,
    group: u32,
    peers: Vec<OwnedFd>,
    /// As after a commit.
    answers_first: bool,
}

impl Fixture {
    fn new(coalesce: Coalesce, subscribers: usize) -> Self {
        let limits = IoLimits {
            send_queue_bytes: 1 << 20,
            send_queue_frames: 1 << 10,
            connections_max: subscribers,
        };
        let mut io = Io::new(
            Poller::new(Duration::from_hours(1), 8).expect("epoll"),
            limits,
        );
        let mut groups = Groups::new(coalesce);
        let group = groups.insert("t\0g.x", 0, 1, 1);
        let mut peers = Vec::new();
        for _ in 0..subscribers {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::NONBLOCK,
                None,
            )
            .expect("socketpair");
            let mut connection = Connection::new(Some(ours), Session::tcp());
            connection.phase = Phase::Connected;
            let slot = io.connections.insert(connection).slot;
            groups.subscribe(&mut io, group, slot);
            peers.push(theirs);
        }
        Self {
            io,
            groups,
            group,
            peers,
            answers_first: true,
        }
    }

    fn append(&mut self, position: u64) {
        let frame = ServerFrame::push(ServerBody::Pong {
            server_time_ms: 1_000_000,
        });
        self.groups
            .append(self.group, &frame, Class::Durable(position));
    }

    /// Works everything off that is due, and returns the sizes of the writes to each subscriber.
    fn run(&mut self, now_ms: u64) -> Vec<Vec<usize>> {
        while self.slice(now_ms, || false) {}
        self.written()
    }

    fn slice(&mut self, now_ms: u64, durable: impl Fn() -> bool) -> bool {
        let bounds = Slice {
            sockets: usize::MAX,
            deadline: Instant::now() + Duration::from_mins(1),
            now_ms,
            wall_ms: 0,
            answers_first: self.answers_first,
        };
        let mut due = Vec::new();
        self.groups.run(&mut self.io, bounds, &mut due, durable)
    }

    /// The sizes of the writes to each subscriber since the last call.
    fn written(&self) -> Vec<Vec<usize>> {
        self.peers.iter().map(writes_to).collect()
    }

    /// Bytes that wait, encoded, in all encodings together.
    fn encoded(&self) -> usize {
        let entry = self.groups.get(self.group).expect("the group");
        entry.open.buffers.iter().map(Vec::len).sum()
    }
}

fn frame_bytes() -> usize {
    let mut fixture = Fixture::new(Coalesce::Adaptive, 1);
    fixture.append(1);
    fixture.run(0)[0][0]
}

#[test]
fn frames_of_a_tick_are_one_write_and_encoded_once_for_all_subscribers() {
    let mut fixture = Fixture::new(Coalesce::Adaptive, 20);
    for position in 1..=32 {
        fixture.append(position);
    }
    assert_eq!(fixture.encoded(), 32 * frame_bytes());
    assert_eq!(fixture.run(0), vec![vec![32 * frame_bytes()]; 20]);
}

#[test]
fn frames_that_lost_all_their_subscribers_hold_up_nobody() {
    let mut fixture = Fixture::new(Coalesce::Within(5), 3);
    fixture.append(1);
    let slots: Vec<u32> = (fixture.io.connections.iter())
        .map(|(slot, _)| slot)
        .collect();
    let Fixture { io, groups, .. } = &mut fixture;
    for slot in &slots {
        groups.unsubscribe(io, 0, *slot, false);
    }
    for slot in &slots {
        groups.subscribe(io, 0, *slot);
    }
    // With a vacated place nothing joins what is under way.
    groups.unsubscribe(io, 0, slots[0], false);
    fixture.append(2);
    let mut slices = 0;
    while fixture.slice(100, || false) {
        slices += 1;
        assert!(slices < 10, "a job has no end");
    }
    let mut written = fixture.written();
    fixture.slice(105, || false);
    for (sizes, more) in written.iter_mut().zip(fixture.written()) {
        sizes.extend(more);
    }
    let one = vec![frame_bytes()];
    assert_eq!(written, [vec![], one.clone(), one]);
}

#[test]
fn without_coalescing_each_frame_is_a_write() {
    let mut fixture = Fixture::new(Coalesce::Never, 3);
    for position in 1..=4 {
        fixture.append(position);
    }
    assert_eq!(fixture.run(0), vec![vec![frame_bytes(); 4]; 3]);
}

#[test]
fn frames_wait_for_others_as_long_as_told_and_no_longer() {
    let mut fixture = Fixture::new(Coalesce::Within(5), 2);
    let nothing: Vec<Vec<usize>> = vec![Vec::new(); 2];
    fixture.append(1);
    assert_eq!(fixture.run(100), nothing);
    assert_eq!(fixture.groups.held_until_ms(), Some(105));
    fixture.append(2);
    assert_eq!(fixture.run(104), nothing);
    assert_eq!(fixture.groups.lowest_unfinished(0), Some(1));
    assert_eq!(fixture.run(105), vec![vec![2 * frame_bytes()]; 2]);
    assert_eq!(fixture.groups.held_until_ms(), None);
    // The next one starts anew.
    fixture.append(3);
    assert_eq!(fixture.run(106), nothing);
    assert_eq!(fixture.groups.held_until_ms(), Some(111));
}

#[test]
fn a_slice_ends_early_where_a_batch_became_durable_and_what_comes_meanwhile_goes_with_the_rest() {
    let subscribers = super::LOOK_SOCKETS + 40;
    let mut fixture = Fixture::new(Coalesce::Adaptive, subscribers);
    fixture.append(1);
    assert!(fixture.slice(0, || true), "some have nothing yet");
    let written = fixture.written();
    let (first, rest) = written.split_at(super::LOOK_SOCKETS);
    assert!(first.iter().all(|sizes| *sizes == [frame_bytes()]));
    assert!(rest.iter().all(Vec::is_empty));
    assert_eq!(fixture.groups.lowest_unfinished(0), Some(1));
    fixture.append(2);
    fixture.append(3);
    let written = fixture.run(0);
    let (first, rest) = written.split_at(super::LOOK_SOCKETS);
    assert!(first.iter().all(|sizes| *sizes == [2 * frame_bytes()]));
    assert!(rest.iter().all(|sizes| *sizes == [3 * frame_bytes()]));
}

#[test]
fn a_run_joins_the_one_under_way_and_serves_those_behind_it_later() {
    let mut fixture = Fixture::new(Coalesce::Adaptive, 3 * super::LOOK_SOCKETS);
    // Sizes of the writes to the first, second and third part of the group, in frames.
    let mut look = |position| {
        if position > 0 {
            fixture.append(position);
        }
        let more = fixture.slice(0, || true);
        let written = fixture.written();
        let parts = written.chunks(super::LOOK_SOCKETS).map(|part| {
            assert!(part.iter().all(|sizes| *sizes == part[0]), "one part alike");
            let frames = part[0].iter().map(|size| size / frame_bytes());
            frames.collect::<Vec<_>>()
        });
        (parts.collect::<Vec<_>>(), more)
    };
    assert_eq!(look(1), (vec![vec![1], vec![], vec![]], true));
    assert_eq!(look(2), (vec![vec![], vec![2], vec![]], true));
    // Two are under way: the third one waits for the first to end.
    assert_eq!(look(3), (vec![vec![], vec![], vec![2]], true));
    assert_eq!(look(0), (vec![vec![2], vec![], vec![]], true));
    assert_eq!(look(0), (vec![vec![], vec![1], vec![]], true));
    assert_eq!(look(0), (vec![vec![], vec![], vec![1]], false));
    assert_eq!(fixture.groups.lowest_unfinished(0), None);
}

#[test]
fn an_answer_does_not_wait_for_a_large_fan_out() {
    let subscribers = 2 * super::LOOK_SOCKETS;
    let last = subscribers - 1;
    let mut fixture = Fixture::new(Coalesce::Adaptive, subscribers);
    fixture.append(1);
    fixture.io.push_bytes(last as u32, b"answer");
    assert!(fixture.slice(0, || true), "some have nothing yet");
    assert_eq!(fixture.written()[last], [6]);
    assert_eq!(fixture.run(0)[last], [frame_bytes()]);
}

#[test]
fn an_answer_to_an_ephemeral_send_waits_for_the_fan_out() {
    let subscribers = 2 * super::LOOK_SOCKETS;
    let last = subscribers - 1;
    let mut fixture = Fixture::new(Coalesce::Adaptive, subscribers);
    fixture.answers_first = false;
    fixture.append(1);
    fixture.io.push_bytes(last as u32, b"answer");
    while fixture.slice(0, || false) {}
    fixture.io.flush_dirty();
    assert_eq!(fixture.written()[last], [6 + frame_bytes()]);
}

#[test]
fn answers_to_many_go_with_the_run_in_one_write() {
    let mut fixture = Fixture::new(Coalesce::Adaptive, 16);
    fixture.append(1);
    for slot in 0..3 {
        fixture.io.push_bytes(slot, b"answer");
    }
    while fixture.slice(0, || false) {}
    fixture.io.flush_dirty();
    let written = fixture.written();
    assert_eq!(written[..3], vec![vec![6 + frame_bytes()]; 3]);
    assert_eq!(written[3..], vec![vec![frame_bytes()]; 13]);
}
