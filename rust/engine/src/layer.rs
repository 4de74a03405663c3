//! What lies between a socket and its session: a proxy's word about where the client is, and TLS.
//!
//! Bytes from the socket come in here, plaintext goes on to [`Engine::parse`]; plaintext that is to be
//! sent waits in the send queue and is sealed when it is written (see `sealing`). A connection whose
//! bytes are plaintext has no layer.

use crate::engine::Engine;
use crate::slab::Handle;
use crate::system::{Read, socket};
use imfast_tls::{Credentials, CredentialsError, Received, Settings, Tls};
use imfast_wire::http;
use imfast_wire::proxy::{self, Decoded};
use imfast_wire::sniff::{Protocol, sniff};

/// Connections of one tick whose handshakes are worked on: each takes about as long as a thousand
/// deliveries. The others come with the next tick.
const HANDSHAKES_PER_TICK: u32 = 16;

/// Protocols that a client may choose within TLS, the most wanted first.
pub const TLS_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// See the module's text.
#[expect(
    clippy::large_enum_variant,
    reason = "it is boxed as a whole, and small only until the first bytes are there"
)]
pub(crate) enum Layer {
    /// What the first bytes belong to is yet to be seen.
    First(First),
    Tls(Tls),
    /// It is a stream of another connection (HTTP/2), which carries its bytes.
    Stream(Stream),
}

/// A stream, as its connection here knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// The connection that carries it.
    pub over: Handle,
    pub id: u32,
    /// The head of its answer was not sent yet.
    pub headless: bool,
    /// Nothing is to be done before so many bytes are here.
    pub needed: u32,
}

/// What may come first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct First {
    /// A PROXY header: the peer is a proxy of ours, and has sent none yet.
    pub proxied: bool,
    /// Nothing but TLS.
    pub tls_only: bool,
}

impl Layer {
    /// Whether plaintext can be written.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::First(first) => !first.tls_only,
            Self::Tls(tls) => tls.is_open(),
            Self::Stream(_) => true,
        }
    }
}

impl Engine {
    /// New connections are accepted with these from now on; those that are there keep theirs.
    ///
    /// # Errors
    /// They cannot be used; nothing is changed then.
    pub fn set_tls(&mut self, settings: &Settings) -> Result<(), CredentialsError> {
        self.tls = Some(Credentials::new(settings)?);
        Ok(())
    }

    /// Reads a connection that has a layer.
    pub(crate) fn read_layered(&mut self, handle: Handle) {
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        if !connection
            .layer
            .as_ref()
            .is_none_or(|layer| layer.is_open())
        {
            if self.handshakes >= HANDSHAKES_PER_TICK {
                // The socket is reported again.
                return;
            }
            self.handshakes += 1;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        match connection
            .fd
            .as_ref()
            .map_or(Read::Closed, |fd| socket::read(fd, &mut buffer))
        {
            Read::Bytes(count) => self.layered(handle, &mut buffer[..count]),
            Read::Empty => {}
            Read::Closed => self.io.kill(handle.slot),
        }
        self.buffer = buffer;
    }

    /// Goes on with bytes that a connection was held back with.
    pub(crate) fn parse_held(&mut self, handle: Handle, mut bytes: Vec<u8>) {
        let connection = self.io.connections.resolve(handle);
        let first = connection
            .is_some_and(|connection| matches!(connection.layer.as_deref(), Some(Layer::First(_))));
        if first {
            self.layered(handle, &mut bytes);
        } else {
            self.parse(handle, &mut bytes);
        }
    }

    fn layered(&mut self, handle: Handle, bytes: &mut [u8]) {
        let connection = self.io.connections.resolve(handle);
        match connection.and_then(|connection| connection.layer.as_deref()) {
            Some(Layer::First(first)) => self.first_bytes(handle, *first, bytes),
            Some(Layer::Tls(_)) => self.records(handle, bytes),
            Some(Layer::Stream(_)) | None => self.parse(handle, bytes),
        }
    }

    /// Tells what the first bytes of a connection belong to, and goes on with that.
    fn first_bytes(&mut self, handle: Handle, first: First, bytes: &mut [u8]) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.heard = true;
        let mut input = std::mem::take(&mut connection.unparsed);
        input.extend_from_slice(bytes);
        match sniff(&input) {
            None => connection.unparsed = input,
            Some(Protocol::Proxy) if first.proxied => match proxy::decode(&input) {
                Ok(Decoded::Incomplete) => connection.unparsed = input,
                Ok(Decoded::Header { consumed, source }) => {
                    input.drain(..consumed);
                    let rest = First {
                        proxied: false,
                        ..first
                    };
                    connection.layer = Some(Box::new(Layer::First(rest)));
                    // What the client itself says of where it is counts for nothing.
                    connection.behind_proxy = false;
                    let judged = source.is_some_and(|source| self.seat(handle, source));
                    if judged {
                        self.wait_for_verdict(handle, input);
                    } else if !input.is_empty() {
                        self.layered(handle, &mut input);
                    }
                }
                Err(error) => self.refuse_first(handle, &error.to_string()),
            },
            Some(Protocol::Proxy) if self.tls.is_some() || first.tls_only => {
                self.refuse_first(handle, "no PROXY header is taken from this address");
            }
            Some(Protocol::Tls) if self.tls.is_some() => self.begin_tls(handle, &mut input),
            Some(_) if first.tls_only => {
                self.refuse_first(handle, "this port speaks TLS: use https:// or wss://");
            }
            Some(_) => {
                connection.layer = None;
                self.parse(handle, &mut input);
            }
        }
    }

    /// What follows waits until the client's address has been judged.
    fn wait_for_verdict(&mut self, handle: Handle, input: Vec<u8>) {
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.unparsed = input;
            connection.await_verdict(None);
            self.io.set_reading(handle.slot, false);
        }
    }

    /// Says in plain HTTP what is wrong; most who see it were after that.
    fn refuse_first(&mut self, handle: Handle, reason: &str) {
        let mut words = Vec::new();
        http::write_error(&mut words, 400, "Bad Request", &[], reason.as_bytes());
        let unit = self.unit();
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.layer = None;
            self.io.push_bytes(handle.slot, &words);
            self.io.finish(handle.slot, unit);
        }
    }

    fn begin_tls(&mut self, handle: Handle, input: &mut [u8]) {
        let tls = self.tls.as_ref().map(Tls::new);
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        match tls {
            Some(Ok(tls)) => {
                connection.layer = Some(Box::new(Layer::Tls(tls)));
                self.records(handle, input);
            }
            _ => self.io.kill(handle.slot),
        }
    }

    /// Opens records, answers what belongs to TLS, and serves what is within.
    fn records(&mut self, handle: Handle, bytes: &mut [u8]) {
        let mut plain = std::mem::take(&mut self.io.lent.plain);
        plain.clear();
        self.for_connection(handle, |engine| {
            let Some(connection) = engine.io.connections.resolve_mut(handle) else {
                return;
            };
            let Some(Layer::Tls(tls)) = connection.layer.as_deref_mut() else {
                return;
            };
            plain.append(&mut connection.unparsed);
            let wire = &mut engine.io.lent.wire;
            wire.clear();
            engine.decoding = true;
            let received = tls.receive(bytes, &mut plain, wire);
            engine.decoding = false;
            let resumed = tls.resumed();
            engine.io.send_records(handle.slot);
            let stats = &mut engine.io.stats;
            match &received {
                Received::Handshaking | Received::Open | Received::Closed => {}
                Received::Opened if resumed => stats.tls_resumed += 1,
                Received::Opened => stats.tls_handshakes += 1,
                Received::Failed(_) => {
                    stats.tls_failures += 1;
                    return engine.io.kill_politely(handle.slot);
                }
            }
            if !plain.is_empty() {
                engine.parse_contained(handle, &mut plain);
            }
            if received == Received::Closed {
                let unit = engine.unit();
                engine.io.finish(handle.slot, unit);
            }
        });
        // What was read in one go is no measure for what comes.
        plain.shrink_to(LENT_BYTES);
        self.io.lent.plain = plain;
    }
}

/// What a lent buffer keeps.
const LENT_BYTES: usize = 128 * 1024;
