//! Connecting and authenticating, a bounded number at once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::ServerBody;

use super::{BUFFER_BYTES, Opened, Pool, User};
use crate::connection::{Connection, Read};
use crate::failure::Failure;
use crate::measure::{Latencies, now_ns};
use crate::options::Options;
use crate::poller::{Poller, Ready};
use crate::transport::Transport;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Greeted,
    Authenticating,
    Ready,
}

/// What became of one `connected`.
enum Landed {
    Here,
    Elsewhere,
}

struct Opening<'a> {
    options: &'a Options,
    users: &'a [User],
    stages: Vec<Stage>,
    began_ns: Vec<u64>,
    opened: Opened,
}

/// Nobody waits longer than this for one more connection.
const PATIENCE_NS: u64 = 30_000_000_000;

impl<T: Transport> Pool<T> {
    /// Opens a connection for each of `users`, in their order.
    pub(crate) fn open(
        transport: T,
        options: &Options,
        users: &[User],
    ) -> Result<(Self, Opened), Failure> {
        let mut pool = Self {
            transport,
            to: SocketAddrV4::new(options.host, options.port),
            connections: Vec::with_capacity(users.len()),
            poller: Poller::new()?,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            out: Vec::new(),
        };
        let mut opening = Opening {
            options,
            users,
            stages: Vec::new(),
            began_ns: Vec::new(),
            opened: Opened {
                latencies: Latencies::new(),
                seconds: 0.0,
                elsewhere: 0,
                servers: BTreeMap::new(),
                heartbeat_ms: 0,
            },
        };
        let began_ns = now_ns();
        let mut events = Vec::new();
        let mut ready = 0;
        let mut progress_ns = began_ns;
        while ready < users.len() {
            while pool.len() < users.len() && pool.len() - ready < options.concurrency {
                pool.begin(&mut opening)?;
            }
            pool.wait(now_ns() + 1_000_000_000, &mut events)?;
            for event in &events {
                if pool.advance(*event, &mut opening)? {
                    ready += 1;
                    progress_ns = now_ns();
                }
            }
            if now_ns() - progress_ns > PATIENCE_NS {
                return Err(Failure::Said(format!("stuck at {ready} connections")));
            }
        }
        opening.opened.seconds = (now_ns() - began_ns) as f64 / 1e9;
        Ok((pool, opening.opened))
    }

    fn begin(&mut self, opening: &mut Opening<'_>) -> Result<(), Failure> {
        let index = self.len();
        let connection = self.dial(index, opening)?;
        self.connections.push(connection);
        opening.stages.push(Stage::Connecting);
        opening.began_ns.push(now_ns());
        Ok(())
    }

    fn dial(&self, index: usize, opening: &Opening<'_>) -> Result<Connection, Failure> {
        let sources = opening.options.sources(opening.users.len());
        let from = (sources > 1).then(|| Ipv4Addr::new(127, 0, 0, 1 + (index % sources) as u8));
        let connection = Connection::open(self.to, from)?;
        self.poller.add(&connection.fd, index, true)?;
        Ok(connection)
    }

    /// Takes a connection a step further; true when it became ready.
    fn advance(&mut self, event: Ready, opening: &mut Opening<'_>) -> Result<bool, Failure> {
        let Some(index) = event.index else {
            return Ok(false);
        };
        match opening.stages[index] {
            Stage::Connecting if event.writable => {
                self.out.clear();
                self.transport.greet(&mut self.out);
                self.flush_out(index)?;
                opening.stages[index] = Stage::Greeted;
                self.want(index, false)?;
                // A transport without a greeting is greeted already.
                self.authenticate(index, &[], opening).map(|_| false)
            }
            Stage::Greeted if event.readable => {
                let Read::Bytes { bytes, .. } = self.connections[index].read(&mut self.buffer)?
                else {
                    return Ok(false);
                };
                let input = self.buffer[..bytes].to_vec();
                let read = self.authenticate(index, &input, opening)?;
                self.connections[index].keep(&input[read..]);
                Ok(false)
            }
            Stage::Authenticating => self.finish(event, index, opening),
            _ => self.handle(event, |_| ()).map(|_| false),
        }
    }

    /// Sends `connect` once the greeting is answered; returns the bytes of the answer.
    fn authenticate(
        &mut self,
        index: usize,
        input: &[u8],
        opening: &mut Opening<'_>,
    ) -> Result<usize, Failure> {
        let Some(read) = self.transport.greeted(input)? else {
            return Ok(0);
        };
        let frame = ClientFrame {
            id: 1,
            verb: Verb::Connect {
                token: (&*opening.users[index].token).into(),
                device: "bench".into(),
                sync: "".into(),
            },
        };
        self.send(index, &frame)?;
        opening.stages[index] = Stage::Authenticating;
        Ok(read)
    }

    fn finish(
        &mut self,
        event: Ready,
        index: usize,
        opening: &mut Opening<'_>,
    ) -> Result<bool, Failure> {
        let transport = self.transport;
        let mut landed = None;
        self.handle(event, |frame| {
            landed.get_or_insert_with(|| opening.connected(transport, frame));
        })?;
        match landed.transpose()? {
            None => Ok(false),
            Some(Landed::Here) => {
                let took_ns = now_ns() - opening.began_ns[index];
                opening.opened.latencies.record(took_ns);
                opening.stages[index] = Stage::Ready;
                Ok(true)
            }
            Some(Landed::Elsewhere) => {
                // The kernel spreads connections by their ports: the next has another one.
                self.connections[index] = self.dial(index, opening)?;
                opening.stages[index] = Stage::Connecting;
                Ok(false)
            }
        }
    }
}

impl Opening<'_> {
    /// Reads the first frame of a connection.
    fn connected<T: Transport>(&mut self, transport: T, frame: &[u8]) -> Result<Landed, Failure> {
        let mut rows = Vec::new();
        match transport.decode(frame, &mut rows)?.body {
            ServerBody::Connected {
                server,
                heartbeat_ms,
                ..
            } => {
                self.opened.heartbeat_ms = heartbeat_ms;
                if self
                    .options
                    .server
                    .as_ref()
                    .is_some_and(|wanted| *wanted != server)
                {
                    self.opened.elsewhere += 1;
                    return Ok(Landed::Elsewhere);
                }
                *self.opened.servers.entry(server.into_owned()).or_default() += 1;
                Ok(Landed::Here)
            }
            other => Err(Failure::Said(format!(
                "connect was answered with {other:?}"
            ))),
        }
    }
}
