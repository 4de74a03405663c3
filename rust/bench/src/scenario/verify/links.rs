//! Connections that come back: one for each user, again and again, as a client library does it.
//!
//! A connection that breaks is dialled again after a random part of a growing delay, tells its
//! newest sync token, and is *served* again when `caughtUp` has come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::{ServerBody, ServerFrame};

use super::random::Random;
use crate::connection::{Connection, Read};
use crate::failure::Failure;
use crate::measure::now_ns;
use crate::options::Options;
use crate::poller::{Poller, Ready, ready};
use crate::pool::User;
use crate::transport::{Incoming, Transport};

const MS: u64 = 1_000_000;
/// Bounds of the delay before the first attempt, and before any.
const BACK_OFF_NS: u64 = 50 * MS;
const BACK_OFF_NS_MAX: u64 = 1_000 * MS;
/// An attempt that takes longer is given up.
const ATTEMPT_NS: u64 = 5_000 * MS;
const BUFFER_BYTES: usize = 256 * 1024;
/// Bits of an event's tag that are the index; the others tell connections of one link apart.
const INDEX_BITS: u32 = 32;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No connection until its timer goes off, or another has finished opening.
    Away,
    Connecting,
    Greeted,
    Authenticating,
    CatchingUp,
    Live,
}

/// What a user of [`Links`] is told.
pub(crate) trait Listener {
    /// A session has begun; pushes follow.
    fn connected(&mut self, index: usize);

    /// Any frame behind `connected`.
    fn frame(&mut self, index: usize, frame: &ServerFrame<'_>, now_ns: u64);

    /// Caught up; `away_ns` is the time since the last break, none the first time.
    fn served(&mut self, index: usize, away_ns: Option<u64>);

    /// The connection is gone, which was `served` or not; or an attempt failed.
    fn broken(&mut self, index: usize, served: bool, why: &str);
}

struct Link {
    connection: Option<Connection>,
    /// Counts connections.
    generation: u32,
    stage: Stage,
    /// That failed since the last time it was served.
    attempts: u32,
    /// The newest sync token.
    sync: String,
    /// Since when it is not served; none before the first time.
    broke_ns: Option<u64>,
    /// What the server asked to wait before the next attempt.
    floor_ns: u64,
    heard_ns: u64,
    written_ns: u64,
}

pub(crate) struct Links<T> {
    transport: T,
    to: SocketAddrV4,
    sources: usize,
    users: Rc<[User]>,
    poller: Poller,
    all: Vec<Link>,
    /// When something is to be done to a link of that generation.
    timers: BinaryHeap<Reverse<(u64, usize, u32)>>,
    /// Links that wait until fewer are opening.
    queue: VecDeque<usize>,
    opening: usize,
    opening_max: usize,
    heartbeat_ns: u64,
    random: Random,
    buffer: Box<[u8]>,
    /// Frames on their way into a socket.
    out: Vec<u8>,
}

impl<T: Transport> Links<T> {
    /// One link for each user; none is dialled yet.
    pub(crate) fn new(transport: T, options: &Options, users: Rc<[User]>) -> Result<Self, Failure> {
        let link = |_: &User| Link {
            connection: None,
            generation: 0,
            stage: Stage::Away,
            attempts: 0,
            sync: String::new(),
            broke_ns: None,
            floor_ns: 0,
            heard_ns: 0,
            written_ns: 0,
        };
        Ok(Self {
            transport,
            to: SocketAddrV4::new(options.host, options.port),
            sources: options.sources(users.len()),
            poller: Poller::new()?,
            all: users.iter().map(link).collect(),
            users,
            timers: BinaryHeap::new(),
            queue: VecDeque::new(),
            opening: 0,
            opening_max: options.concurrency,
            heartbeat_ns: 0,
            random: Random::new(now_ns()),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether requests can be written.
    pub(crate) fn is_connected(&self, index: usize) -> bool {
        matches!(self.all[index].stage, Stage::CatchingUp | Stage::Live)
    }

    /// Whether it is caught up, and live.
    pub(crate) fn is_served(&self, index: usize) -> bool {
        self.all[index].stage == Stage::Live
    }

    /// Dials as soon as not too many are opening.
    pub(crate) fn dial(&mut self, index: usize) {
        self.queue.push_back(index);
    }

    /// Drops a connection as a lost network does, and leaves it away.
    pub(crate) fn drop_connection(&mut self, index: usize) {
        let now = now_ns();
        self.leave(index, now);
    }

    /// Writes one request; a connection that cannot take it is found broken by its next event.
    pub(crate) fn write(&mut self, index: usize, frame: &ClientFrame<'_>) {
        self.out.clear();
        self.transport
            .write(frame, &self.users[index], &mut self.out);
        self.all[index].written_ns = now_ns();
        // Its failure comes back as an event.
        let _ = self.flush_out(index);
    }

    /// Waits until `at_ns` at the latest, or until a timer or socket has something.
    pub(crate) fn wait(&mut self, at_ns: u64, events: &mut Vec<Ready>) -> Result<(), Failure> {
        let timer = self.timers.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
        let until = if self.opening < self.opening_max && !self.queue.is_empty() {
            1
        } else {
            timer
        };
        events.clear();
        events.extend(self.poller.wait(at_ns.min(until))?.iter().map(ready));
        Ok(())
    }

    /// Takes what `event` brings; returns the link that it was about.
    pub(crate) fn take(&mut self, event: Ready, listener: &mut impl Listener) -> Option<usize> {
        let tag = event.index? as u64;
        let (index, generation) = ((tag as u32) as usize, (tag >> INDEX_BITS) as u32);
        if self.all[index].generation != generation || self.all[index].connection.is_none() {
            return None;
        }
        if let Err(failure) = self.progress(event, index, listener) {
            self.fail(index, &failure.to_string(), listener);
        }
        Some(index)
    }

    /// Does what is due: dials, and gives up attempts and peers that say nothing.
    pub(crate) fn tend(&mut self, listener: &mut impl Listener) {
        let now = now_ns();
        while let Some(&Reverse((at, index, generation))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            let link = &self.all[index];
            if link.generation != generation {
                continue;
            }
            match link.stage {
                Stage::Away => self.queue.push_back(index),
                Stage::CatchingUp | Stage::Live => self.beat(index, now, listener),
                _ => self.fail(index, "no answer to connect", listener),
            }
        }
        while self.opening < self.opening_max {
            let Some(index) = self.queue.pop_front() else {
                break;
            };
            if self.all[index].stage == Stage::Away {
                self.open(index, now, listener);
            }
        }
    }

    fn open(&mut self, index: usize, now: u64, listener: &mut impl Listener) {
        let from =
            (self.sources > 1).then(|| Ipv4Addr::new(127, 0, 0, 1 + (index % self.sources) as u8));
        let link = &mut self.all[index];
        link.generation += 1;
        let tag = u64::from(link.generation) << INDEX_BITS | index as u64;
        let opened = Connection::open(self.to, from).and_then(|connection| {
            self.poller.add(&connection.fd, tag as usize, true)?;
            Ok(connection)
        });
        self.opening += 1;
        link.stage = Stage::Connecting;
        link.heard_ns = now;
        self.timers
            .push(Reverse((now + ATTEMPT_NS, index, link.generation)));
        match opened {
            Ok(connection) => link.connection = Some(connection),
            Err(failure) => self.fail(index, &failure.to_string(), listener),
        }
    }

    fn progress(
        &mut self,
        event: Ready,
        index: usize,
        listener: &mut impl Listener,
    ) -> Result<(), Failure> {
        if self.all[index].stage == Stage::Connecting {
            self.out.clear();
            self.transport.greet(&self.users[index], &mut self.out);
            self.flush_out(index)?;
            self.all[index].stage = Stage::Greeted;
            self.want(index)?;
            // A transport without a greeting is greeted already.
            return self.authenticate(index, &[]).map(|_| ());
        }
        if event.writable {
            if let Some(connection) = &mut self.all[index].connection {
                connection.flush()?;
            }
            self.want(index)?;
        }
        if !event.readable {
            return Ok(());
        }
        let Some(connection) = &mut self.all[index].connection else {
            return Ok(());
        };
        let Read::Bytes { bytes, .. } = connection.read(&mut self.buffer)? else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.walk(index, &buffer[..bytes], listener);
        if let (Ok(read), Some(connection)) = (&read, &mut self.all[index].connection) {
            connection.keep(&buffer[*read..bytes]);
        }
        std::mem::swap(&mut self.buffer, &mut buffer);
        read.map(|_| ())
    }

    /// Takes the frames at the start of `input`; returns their bytes.
    fn walk(
        &mut self,
        index: usize,
        input: &[u8],
        listener: &mut impl Listener,
    ) -> Result<usize, Failure> {
        let now = now_ns();
        self.all[index].heard_ns = now;
        let mut begin = 0;
        if self.all[index].stage == Stage::Greeted {
            begin = self.authenticate(index, input)?;
            if begin == 0 {
                return Ok(0);
            }
        }
        let transport = self.transport;
        let mut pongs = Vec::new();
        let mut rows = Vec::new();
        let mut outcome = Ok(());
        let walked = transport.walk(&input[begin..], &mut |incoming| match incoming {
            Incoming::Ping(payload) => transport.pong(payload, &mut pongs),
            Incoming::Frame(frame) if outcome.is_ok() => {
                rows.clear();
                outcome = transport
                    .decode(frame, &mut rows)
                    .map_err(Failure::from)
                    .and_then(|frame| self.frame(index, &frame, now, listener));
            }
            Incoming::Frame(_) => {}
        });
        outcome?;
        let read = walked?;
        if !pongs.is_empty() {
            self.out.clear();
            self.out.append(&mut pongs);
            self.flush_out(index)?;
        }
        Ok(begin + read)
    }

    fn frame(
        &mut self,
        index: usize,
        frame: &ServerFrame<'_>,
        now: u64,
        listener: &mut impl Listener,
    ) -> Result<(), Failure> {
        let link = &mut self.all[index];
        match (&frame.body, link.stage) {
            (ServerBody::Connected { heartbeat_ms, .. }, Stage::Authenticating) => {
                link.stage = Stage::CatchingUp;
                self.opening -= 1;
                self.heartbeat_ns = heartbeat_ms.max(&1) * MS;
                let at = now + self.heartbeat_ns / 2;
                self.timers.push(Reverse((at, index, link.generation)));
                listener.connected(index);
            }
            (body, Stage::Authenticating) => {
                return Err(Failure::Said(format!("connect was answered with {body:?}")));
            }
            (ServerBody::Checkpoint { token } | ServerBody::CaughtUp { token }, stage) => {
                link.sync.clear();
                link.sync.push_str(token);
                if stage == Stage::CatchingUp && matches!(frame.body, ServerBody::CaughtUp { .. }) {
                    link.stage = Stage::Live;
                    link.attempts = 0;
                    let away_ns = link.broke_ns.take().map(|at| now - at);
                    listener.served(index, away_ns);
                }
            }
            (ServerBody::GoAway { reconnect_after_ms }, _) => {
                link.floor_ns = reconnect_after_ms * MS;
            }
            _ => listener.frame(index, frame, now),
        }
        Ok(())
    }

    /// Says `connect` once the greeting is answered; returns the bytes of the answer.
    fn authenticate(&mut self, index: usize, input: &[u8]) -> Result<usize, Failure> {
        let Some(read) = self.transport.greeted(input)? else {
            return Ok(0);
        };
        self.out.clear();
        let frame = ClientFrame {
            id: 1,
            verb: Verb::Connect {
                token: (&*self.users[index].token).into(),
                device: "".into(),
                sync: (&*self.all[index].sync).into(),
            },
        };
        self.transport
            .write(&frame, &self.users[index], &mut self.out);
        self.flush_out(index)?;
        self.all[index].stage = Stage::Authenticating;
        Ok(read)
    }

    /// Lets the server hear a client that has nothing to say, and notices one that is not there.
    fn beat(&mut self, index: usize, now: u64, listener: &mut impl Listener) {
        let (half, link) = (self.heartbeat_ns / 2, &self.all[index]);
        if now - link.heard_ns.min(now) > 3 * half {
            self.fail(index, "nothing heard", listener);
            return;
        }
        self.timers
            .push(Reverse((now + half, index, link.generation)));
        if now - link.written_ns.min(now) >= half || now - link.heard_ns.min(now) >= half {
            // Its answer is no request's: the outbox numbers those from 2 on.
            let ping = ClientFrame {
                id: 1,
                verb: Verb::Ping,
            };
            self.write(index, &ping);
        }
    }

    fn fail(&mut self, index: usize, why: &str, listener: &mut impl Listener) {
        let now = now_ns();
        let served = self.leave(index, now);
        let link = &mut self.all[index];
        let bound = (BACK_OFF_NS << link.attempts.min(16)).min(BACK_OFF_NS_MAX);
        link.attempts += 1;
        let at = now + std::mem::take(&mut link.floor_ns) + self.random.below(bound);
        self.timers.push(Reverse((at, index, link.generation)));
        listener.broken(index, served, why);
    }

    /// Closes the connection; returns whether it was served.
    fn leave(&mut self, index: usize, now: u64) -> bool {
        let link = &mut self.all[index];
        let stage = std::mem::replace(&mut link.stage, Stage::Away);
        if matches!(
            stage,
            Stage::Connecting | Stage::Greeted | Stage::Authenticating
        ) {
            self.opening -= 1;
        }
        link.connection = None;
        link.generation += 1;
        if stage == Stage::Live {
            link.broke_ns = Some(now);
        }
        stage == Stage::Live
    }

    fn flush_out(&mut self, index: usize) -> Result<(), Failure> {
        let Some(connection) = &mut self.all[index].connection else {
            return Ok(());
        };
        let waited = connection.has_waiting();
        connection.write(&self.out)?;
        if !waited && connection.has_waiting() {
            self.want(index)?;
        }
        Ok(())
    }

    fn want(&self, index: usize) -> Result<(), Failure> {
        let link = &self.all[index];
        let Some(connection) = &link.connection else {
            return Ok(());
        };
        let tag = u64::from(link.generation) << INDEX_BITS | index as u64;
        self.poller
            .modify(&connection.fd, tag as usize, connection.has_waiting())
    }
}
