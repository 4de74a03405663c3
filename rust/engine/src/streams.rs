//! Connections that are streams of another one (HTTP/2). Each has a slot, a session, a queue and
//! deadlines as any connection; what carries it reads the frames and hands their bytes on.

use crate::connection::{Connection, NONE, Phase};
use crate::crash::{self, Event as Noted};
use crate::engine::Engine;
use crate::http::{REQUEST_UNITS, same};
use crate::layer::{Layer, Stream};
use crate::slab::Handle;
use imfast_session::{Overdue, Session};
use imfast_wire::frames::codes;
use imfast_wire::http2::{Code, Event, Head};

/// Bytes of unfinished bodies and messages that the streams of one connection may hold together, in
/// messages of the largest size.
const HELD_MESSAGES: usize = 12;

impl Engine {
    /// Reads the frames of a connection that carries streams.
    pub(crate) fn carry(&mut self, handle: Handle, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(connection) = self.io.connections.resolve_mut(handle) {
            if !connection.open() {
                return;
            }
            connection.heard = true;
            let mut output = std::mem::take(&mut self.output);
            output.clear();
            self.decoding = true;
            let rest = bytes.get_mut(at..).unwrap_or(&mut []);
            let (consumed, event) = connection.session.carry(rest, &self.policy, &mut output);
            self.decoding = false;
            at += consumed;
            if !output.is_empty() {
                self.io.push_bytes(handle.slot, &output);
            }
            self.output = output;
            match event {
                Event::Incomplete { .. } => break,
                Event::Handled => {}
                Event::Begun {
                    stream,
                    head,
                    ended,
                } => self.stream_begins(handle, stream, head, ended),
                Event::Data { tag, bytes, ended } => {
                    self.stream_data(Handle::from_bits(tag), bytes, ended);
                }
                Event::Reset { tag } => {
                    let stream = Handle::from_bits(tag);
                    if self.io.connections.resolve(stream).is_some() {
                        self.io.kill(stream.slot);
                    }
                }
                Event::Window { tag: Some(tag) } => self.io.unblock(Handle::from_bits(tag)),
                Event::Window { tag: None } => self.io.unblock_all(handle.slot),
                Event::Failed => {
                    let unit = self.unit();
                    return self.io.finish(handle.slot, unit);
                }
            }
        }
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.unparsed = bytes.get(at..).unwrap_or(&[]).to_vec();
            self.hurry_frames(handle);
        }
    }

    /// A frame, or a block of several, has to be complete in time.
    fn hurry_frames(&mut self, handle: Handle) {
        let now = self.unit();
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let http2 = connection.session.http2();
        let partial =
            http2.is_some_and(|http2| http2.in_block()) || !connection.unparsed.is_empty();
        // Strangers have a deadline from the beginning.
        if partial && !connection.hurried && connection.phase == Phase::Connected {
            // The unit of now has begun already.
            self.io.wheel.set(handle.slot, now, REQUEST_UNITS + 1);
        }
        connection.hurried = partial && connection.phase == Phase::Connected;
    }

    fn stream_begins(&mut self, over: Handle, id: u32, head: Option<Box<Head>>, ended: bool) {
        if self.draining || self.io.connections.len() >= self.io.limits.connections_max {
            return self.io.say(over, |http2, out| {
                http2.reset(id, Code::RefusedStream, out);
            });
        }
        let mut connection = Connection::new(None, Session::exchange(head, ended));
        connection.layer = Some(Box::new(Layer::Stream(Stream {
            over,
            id,
            headless: true,
            needed: 0,
        })));
        let behind_proxy = self.io.connections.resolve(over);
        connection.behind_proxy = behind_proxy.is_some_and(|carrier| carrier.behind_proxy);
        let handle = self.io.connections.insert(connection);
        crash::note(
            Noted::ConnectionOpened,
            self.now_ms,
            u64::from(handle.slot),
            u64::from(handle.generation),
        );
        self.io
            .say(over, |http2, _| http2.bind(id, handle.to_bits()));
        // For its body, and for whose it is. The unit of now has begun already.
        let units = self.config.authenticate_ms.div_ceil(1000) as u32 + 1;
        let now = self.unit();
        self.io.wheel.set(handle.slot, now, units);
        self.parse(handle, &mut []);
    }

    fn stream_data(&mut self, handle: Handle, bytes: &mut [u8], ended: bool) {
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        if !connection.open() {
            return;
        }
        connection.heard = true;
        let body = ended && connection.session.end_input();
        let needed = connection.stream().map_or(0, |stream| stream.needed) as usize;
        let held = connection.unparsed.len();
        let waits = connection.waits(in_flight_max);
        if waits || (held + bytes.len() < needed && !body) {
            connection.unparsed.extend_from_slice(bytes);
        } else if held == 0 {
            self.parse(handle, bytes);
        } else {
            let mut all = std::mem::take(&mut connection.unparsed);
            all.extend_from_slice(bytes);
            self.parse(handle, &mut all);
        }
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        if !connection.unparsed.is_empty() && self.hold_too_much(handle) {
            return self.io.kill(handle.slot);
        }
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        if !connection.waits(in_flight_max) {
            self.io.credit(handle);
        }
        if ended && !body {
            let unit = self.unit();
            self.io.finish(handle.slot, unit);
        }
    }

    /// Whether the streams beside this one hold too much for it to hold anything.
    fn hold_too_much(&mut self, handle: Handle) -> bool {
        let connection = self.io.connections.resolve(handle);
        let Some(over) = connection.and_then(|c| c.stream()).map(|s| s.over) else {
            return false;
        };
        let Some(carrier) = self.io.connections.resolve_mut(over) else {
            return false;
        };
        let tags: Vec<u64> = carrier
            .session
            .http2()
            .map(|http2| http2.tags().collect())
            .unwrap_or_default();
        let bytes = |tag: u64| {
            let stream = self.io.connections.resolve(Handle::from_bits(tag));
            stream.map_or(0, |stream| stream.unparsed.len())
        };
        let held: usize = tags.into_iter().map(bytes).sum();
        held > HELD_MESSAGES * self.policy.message_bytes_max
    }

    /// A stream's session can do nothing before so many bytes are here.
    pub(crate) fn wait_for_bytes(&mut self, handle: Handle, needed: usize) {
        if let Some(connection) = self.io.connections.resolve_mut(handle)
            && let Some(stream) = connection.stream_mut()
        {
            stream.needed = needed as u32;
        }
    }

    /// Requests of one connection mostly have the same token: what was found out about it for one
    /// stream holds for the next.
    pub(crate) fn inherit(&mut self, handle: Handle, token: &str) {
        let wall_ms = self.wall_ms;
        let connection = self.io.connections.resolve(handle);
        let Some(over) = connection.and_then(|c| c.stream()).map(|s| s.over) else {
            return;
        };
        let Some(carrier) = self.io.connections.resolve(over) else {
            return;
        };
        let (user, expires_s) = (carrier.user, carrier.expires_s);
        let Some(rare) = &carrier.rare else {
            return;
        };
        if user == NONE || u64::from(expires_s) * 1000 <= wall_ms || !same(&rare.credential, token)
        {
            return;
        }
        let credential = rare.credential.clone();
        self.users.add_another_guest(user);
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.phase = Phase::Connected;
            connection.user = user;
            connection.expires_s = expires_s;
            connection.rare.get_or_insert_default().credential = credential;
        }
        self.rearm(handle.slot);
    }

    /// A stream's request was admitted: what carries it remembers whose it was.
    pub(crate) fn bequeath(&mut self, handle: Handle, key: &str, route: u64) {
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        let Some(over) = connection.stream().map(|stream| stream.over) else {
            return;
        };
        let expires_s = connection.expires_s;
        let credential = connection.rare.as_ref().map(|rare| rare.credential.clone());
        self.forget_user(over);
        let user = self.users.add_guest(key, route);
        match self.io.connections.resolve_mut(over) {
            Some(carrier) => {
                carrier.user = user;
                carrier.expires_s = expires_s;
                let rare = carrier.rare.get_or_insert_default();
                rare.credential = credential.unwrap_or_default();
            }
            None => self.users.remove_guest(user),
        }
        self.carrier_is_known(handle);
    }

    /// Somebody said on a stream who they are: what carries it has no stranger's deadline.
    pub(crate) fn carrier_is_known(&mut self, handle: Handle) {
        let connection = self.io.connections.resolve(handle);
        let Some(over) = connection.and_then(|c| c.stream()).map(|s| s.over) else {
            return;
        };
        if let Some(carrier) = self.io.connections.resolve_mut(over)
            && carrier.phase == Phase::Stranger
        {
            carrier.phase = Phase::Connected;
            self.not_a_stranger(over.slot);
            self.rearm(over.slot);
            self.hurry_frames(over);
        }
    }

    /// The time of a connection that carries streams is over: for the rest of a frame, for a sign of
    /// life, or for the next stream.
    pub(crate) fn sweep_carrier(&mut self, slot: u32) {
        let now = self.unit();
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        let idle = connection
            .session
            .http2()
            .is_none_or(|http2| http2.is_idle());
        let heard = std::mem::take(&mut connection.heard);
        let lives = !connection.hurried
            && (heard || (!idle && connection.session.overdue(&mut output) == Overdue::Pinged));
        let code = if connection.hurried {
            &codes::AUTHENTICATION_TIMEOUT
        } else {
            &codes::HEARTBEAT_TIMEOUT
        };
        if lives {
            if !output.is_empty() {
                self.io.push_bytes(slot, &output);
            }
            self.rearm(slot);
        } else {
            self.io.stats.timed_out += 1;
            self.io.close(slot, code, now);
        }
        self.output = output;
    }

    /// A draining carrier takes no further stream, and ends with its last one. Returns whether it has
    /// any.
    pub(crate) fn streams_first(&mut self, slot: u32) -> bool {
        let Some(handle) = self.io.connections.handle(slot) else {
            return false;
        };
        let mut idle = true;
        self.io.say(handle, |http2, out| {
            idle = http2.is_idle();
            if !idle {
                http2.leave(Code::NoError, out);
            }
        });
        if let Some(connection) = self.io.connections.get_mut(slot) {
            connection.last |= !idle;
        }
        !idle
    }
}
