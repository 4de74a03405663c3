//! Connecting and authenticating, a bounded number at once, and again during a run.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::ServerBody;

use super::{BUFFER_BYTES, Opened, Pool, User};
use crate::connection::{Connection, Read};
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::measure::now_ns;
use crate::options::Options;
use crate::poller::{Poller, Ready};
use crate::transport::Transport;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Greeted,
    Authenticating,
    Ready,
    /// Left alone: nothing is read, and nothing that happens to it matters.
    Paused,
}

/// Where connections go, and from where.
pub(super) struct Dial {
    to: SocketAddrV4,
    /// Client addresses; 1: the kernel chooses.
    sources: usize,
    /// Of connection 0 among all of all processes.
    first: usize,
    /// The worker that is wanted.
    server: Option<String>,
}

/// What `connected` said.
struct Welcome {
    server: String,
    heartbeat_ms: u64,
}

/// Nobody waits longer than this for one more connection.
const PATIENCE_NS: u64 = 30_000_000_000;

impl<T: Transport> Pool<T> {
    /// Opens a connection for each of `users`, in their order. `first` is the number of the first
    /// among the `all` users of all processes.
    pub(crate) fn open(
        transport: T,
        options: &Options,
        users: Rc<[User]>,
        first: usize,
        all: usize,
    ) -> Result<Self, Failure> {
        let wanted = users.len();
        let mut pool = Self {
            transport,
            dial: Dial {
                to: SocketAddrV4::new(options.host, options.port),
                sources: options.sources(all),
                first,
                server: options.server.clone(),
            },
            users,
            connections: Vec::with_capacity(wanted),
            stages: Vec::with_capacity(wanted),
            began_ns: Vec::with_capacity(wanted),
            syncs: HashMap::new(),
            ready: 0,
            opened: Opened {
                latencies: Latencies::new(),
                seconds: 0.0,
                elsewhere: 0,
                servers: BTreeMap::new(),
                heartbeat_ms: 0,
            },
            poller: Poller::new()?,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
        };
        let began_ns = now_ns();
        let mut events = Vec::new();
        let (mut ready, mut progress_ns) = (0, began_ns);
        while pool.ready < wanted {
            while pool.len() < wanted && pool.len() - pool.ready < options.concurrency {
                let connection = pool.dial(pool.len())?;
                pool.connections.push(connection);
                pool.stages.push(Stage::Connecting);
                pool.began_ns.push(now_ns());
            }
            pool.wait(now_ns() + 1_000_000_000, &mut events)?;
            for event in &events {
                pool.handle(*event, |_| ())?;
            }
            if pool.ready > ready {
                (ready, progress_ns) = (pool.ready, now_ns());
            } else if now_ns() - progress_ns > PATIENCE_NS {
                return Err(Failure::Said(format!("stuck at {ready} connections")));
            }
        }
        pool.opened.seconds = (now_ns() - began_ns) as f64 / 1e9;
        Ok(pool)
    }

    /// Drops connection `index` without a word, if there still is one, and begins to open it
    /// again; [`Self::handle`] takes it further, and hands on what follows `connected`. `sync` is
    /// the token that its `connect` carries; empty: from now on.
    pub(crate) fn redial(&mut self, index: usize, sync: &str) -> Result<(), Failure> {
        self.leave(index, Stage::Connecting);
        if sync.is_empty() {
            self.syncs.remove(&index);
        } else {
            self.syncs.insert(index, sync.into());
        }
        self.began_ns[index] = now_ns();
        // The old socket closes, and so leaves the poller, once the new one has taken its place.
        self.connections[index] = self.dial(index)?;
        Ok(())
    }

    /// Leaves a connection alone: it stays open, and nothing is read from it any more.
    pub(crate) fn pause(&mut self, index: usize) -> Result<(), Failure> {
        self.leave(index, Stage::Paused);
        self.poller.remove(&self.connections[index].fd)
    }

    /// Reads a paused connection again.
    pub(crate) fn resume(&mut self, index: usize) -> Result<(), Failure> {
        self.stages[index] = Stage::Ready;
        self.ready += 1;
        let connection = &self.connections[index];
        self.poller
            .add(&connection.fd, index, connection.has_waiting())
    }

    fn leave(&mut self, index: usize, stage: Stage) {
        self.ready -= usize::from(self.stages[index] == Stage::Ready);
        self.stages[index] = stage;
    }

    fn dial(&self, index: usize) -> Result<Connection, Failure> {
        let (sources, number) = (self.dial.sources, self.dial.first + index);
        let from = (sources > 1).then(|| Ipv4Addr::new(127, 0, 0, 1 + (number % sources) as u8));
        let connection = Connection::open(self.dial.to, from)?;
        self.poller.add(&connection.fd, index, true)?;
        Ok(connection)
    }

    /// Takes a connection a step further; returns the bytes of frames read.
    #[cold]
    pub(super) fn advance(
        &mut self,
        index: usize,
        event: Ready,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        match self.stages[index] {
            Stage::Connecting if event.writable => {
                self.out.clear();
                self.transport.greet(&self.users[index], &mut self.out);
                self.flush_out(index)?;
                self.stages[index] = Stage::Greeted;
                self.want(index, false)?;
                // A transport without a greeting is greeted already.
                self.authenticate(index, &[]).map(|_| 0)
            }
            Stage::Greeted if event.readable => {
                let Read::Bytes { bytes, .. } = self.connections[index].read(&mut self.buffer)?
                else {
                    return Ok(0);
                };
                let input = self.buffer[..bytes].to_vec();
                let read = self.authenticate(index, &input)?;
                self.connections[index].keep(&input[read..]);
                // Who is greeted with more than that may hear nothing else for a while.
                if read > 0 && self.stages[index] == Stage::Authenticating {
                    self.finish(index, event, each)
                } else {
                    Ok(0)
                }
            }
            Stage::Authenticating => self.finish(index, event, each),
            _ => Ok(0),
        }
    }

    /// Sends `connect` once the greeting is answered; returns the bytes of the answer.
    fn authenticate(&mut self, index: usize, input: &[u8]) -> Result<usize, Failure> {
        let users = Rc::clone(&self.users);
        if !self.transport.joins(&users[index]) {
            self.is_open(index);
            return Ok(0);
        }
        let Some(read) = self.transport.greeted(input)? else {
            return Ok(0);
        };
        let sync = self.syncs.get(&index).cloned().unwrap_or_default();
        let frame = ClientFrame {
            id: 1,
            verb: Verb::Connect {
                token: (&*users[index].token).into(),
                device: "".into(),
                sync: sync.into(),
            },
        };
        self.send(index, &frame)?;
        self.stages[index] = Stage::Authenticating;
        Ok(read)
    }

    fn finish(
        &mut self,
        index: usize,
        event: Ready,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        let transport = self.transport;
        let mut welcome = None;
        let bytes = self.exchange(index, event, |frame| {
            if welcome.is_none() {
                welcome = Some(Welcome::read(transport, frame));
            } else {
                each(frame);
            }
        })?;
        let Some(welcome) = welcome.transpose()? else {
            return Ok(bytes);
        };
        self.opened.heartbeat_ms = welcome.heartbeat_ms;
        let wanted = self.dial.server.as_ref();
        if wanted.is_some_and(|wanted| *wanted != welcome.server) {
            self.opened.elsewhere += 1;
            // The kernel spreads connections by their ports: the next has another one.
            self.connections[index] = self.dial(index)?;
            self.stages[index] = Stage::Connecting;
            return Ok(bytes);
        }
        *self.opened.servers.entry(welcome.server).or_default() += 1;
        self.is_open(index);
        Ok(bytes)
    }

    fn is_open(&mut self, index: usize) {
        let took_ns = now_ns() - self.began_ns[index];
        self.opened.latencies.record(took_ns);
        self.stages[index] = Stage::Ready;
        self.ready += 1;
    }
}

impl Welcome {
    /// Reads the first frame of a connection.
    fn read<T: Transport>(transport: T, frame: &[u8]) -> Result<Self, Failure> {
        let mut rows = Vec::new();
        match transport.decode(frame, &mut rows)?.body {
            ServerBody::Connected {
                server,
                heartbeat_ms,
                ..
            } => Ok(Self {
                server: server.into_owned(),
                heartbeat_ms,
            }),
            other => Err(Failure::Said(format!(
                "connect was answered with {other:?}"
            ))),
        }
    }
}
