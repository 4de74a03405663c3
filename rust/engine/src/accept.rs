//! Listening sockets, and connections that have not said who they are.

use crate::connection::Connection;
use crate::crash::{self, Event};
use crate::engine::Engine;
use crate::layer::{First, Layer};
use crate::slab::Handle;
use crate::system::{Accepted, Socket, Source, socket};
use imfast_session::Session;
use rustix::io::Errno;

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP, WebSocket and framed TCP, as the first bytes say; over TLS as well.
    Http,
    /// Framed TCP; over TLS as well.
    Tcp,
    /// What [`Speaks::Http`] is, over TLS only.
    Tls,
}

pub(crate) struct Listener {
    fd: Socket,
    speaks: Speaks,
    paused: bool,
}

impl Engine {
    /// Serves a listening socket; returns the number to release it by.
    pub fn listen(&mut self, fd: Socket, speaks: Speaks) -> Result<u32, Errno> {
        socket::prepare_listener(&fd)?;
        let free = self.listeners.iter().position(Option::is_none);
        let index = free.unwrap_or(self.listeners.len());
        self.io.poller.add(
            &fd,
            Source::Listener {
                index: index as u32,
            },
            false,
        )?;
        let listener = Some(Listener {
            fd,
            speaks,
            paused: false,
        });
        if free.is_some() {
            self.listeners[index] = listener;
        } else {
            self.listeners.push(listener);
        }
        Ok(index as u32)
    }

    /// Stops serving a listening socket.
    pub fn release(&mut self, index: u32) {
        if let Some(entry) = self.listeners.get_mut(index as usize)
            && let Some(listener) = entry.take()
            && !listener.paused
        {
            // The supervisor holds the socket too, so closing our descriptor would not do.
            let _ = self.io.poller.remove(&listener.fd);
        }
    }

    pub(crate) fn accept(&mut self, index: u32) {
        for _ in 0..self.config.accepts_per_tick {
            let Some(Some(listener)) = self.listeners.get_mut(index as usize) else {
                return;
            };
            let (fd, peer) = match socket::accept(&listener.fd) {
                Accepted::Connection(fd, peer) => (fd, peer),
                Accepted::Empty => return,
                Accepted::Exhausted => {
                    self.pause_listeners();
                    return;
                }
            };
            let speaks = listener.speaks;
            self.arrived(fd, peer, speaks);
            let held = self.io.connections.len() + self.arrivals.len();
            if held >= self.io.limits.connections_max {
                self.pause_listeners();
                return;
            }
        }
    }

    /// Rests every listener until descriptors are free again: with the queue full and nothing
    /// to accept with, a level-triggered epoll would spin.
    fn pause_listeners(&mut self) {
        self.io.stats.accept_pauses += 1;
        for listener in self.listeners.iter_mut().flatten() {
            if !listener.paused {
                listener.paused = true;
                let _ = self.io.poller.remove(&listener.fd);
            }
        }
    }

    pub(crate) fn resume_listeners(&mut self) {
        if self.io.connections.len() >= self.io.limits.connections_max {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = listener
                && listener.paused
                && self
                    .io
                    .poller
                    .add(
                        &listener.fd,
                        Source::Listener {
                            index: index as u32,
                        },
                        false,
                    )
                    .is_ok()
            {
                listener.paused = false;
            }
        }
    }

    /// Whether connections wait until descriptors are free again.
    pub(crate) fn listeners_rest(&self) -> bool {
        self.listeners.iter().flatten().any(|l| l.paused)
    }

    /// `proxied`: the peer is a proxy of ours.
    pub(crate) fn admit(&mut self, fd: Socket, speaks: Speaks, proxied: bool) {
        socket::set_no_delay(&fd);
        let session = match speaks {
            Speaks::Http | Speaks::Tls => Session::http(),
            Speaks::Tcp => Session::tcp(),
        };
        let mut connection = Connection::new(Some(fd), session);
        let tls_only = speaks == Speaks::Tls;
        if proxied || tls_only || self.tls.is_some() {
            connection.behind_proxy = proxied;
            let first = First { proxied, tls_only };
            connection.layer = Some(Box::new(Layer::First(first)));
        }
        let handle = self.io.connections.insert(connection);
        self.io.stats.accepted += 1;
        crash::note(
            Event::ConnectionOpened,
            self.now_ms,
            u64::from(handle.slot),
            u64::from(handle.generation),
        );
        let source = Source::Connection {
            slot: handle.slot,
            generation: handle.generation,
        };
        let added = self
            .io
            .connections
            .get(handle.slot)
            .and_then(|c| c.fd.as_ref())
            .is_some_and(|fd| self.io.poller.add(fd, source, false).is_ok());
        if !added {
            self.io.kill(handle.slot);
            return;
        }
        self.await_identity(handle);
    }

    /// A connection is to say who it is, and has so much time for it.
    pub(crate) fn await_identity(&mut self, handle: Handle) {
        // The unit of now has begun already.
        let units = self.config.authenticate_ms.div_ceil(1000) as u32 + 1;
        let now = self.unit();
        self.io.wheel.set(handle.slot, now, units);
        self.now_a_stranger(handle);
    }

    /// A connection has not said who it is. Where there are too many, the oldest of them goes.
    pub(crate) fn now_a_stranger(&mut self, handle: Handle) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.stranger = true;
        self.strangers.push_back(handle);
        self.stranger_count += 1;
        while self.stranger_count > self.config.unauthenticated_max {
            self.drop_oldest_stranger();
        }
    }

    fn drop_oldest_stranger(&mut self) {
        while let Some(handle) = self.strangers.pop_front() {
            let found = self.io.connections.resolve(handle);
            if found.is_some_and(|connection| connection.stranger) {
                self.io.kill(handle.slot);
                return self.not_a_stranger(handle.slot);
            }
        }
        self.stranger_count = 0;
    }

    /// A connection is no stranger any more: it presented a token, or it went.
    pub(crate) fn not_a_stranger(&mut self, slot: u32) {
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        if !std::mem::take(&mut connection.stranger) {
            return;
        }
        self.stranger_count -= 1;
        // Handles of those that left otherwise are skipped when the oldest is looked for; do not
        // let them pile up meanwhile.
        if self.strangers.len() > 64 + 4 * self.stranger_count {
            let connections = &self.io.connections;
            self.strangers.retain(|h| {
                connections
                    .resolve(*h)
                    .is_some_and(|connection| connection.stranger)
            });
        }
    }
}
