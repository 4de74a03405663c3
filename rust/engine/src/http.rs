//! Requests over HTTP. Each stands alone: its user has no session, no route and no presence here, and
//! is sent nothing but its answer. The verbs are those of all transports; the frame's number says how
//! the answer is written.
//!
//! A connection's requests are served one after the other. It remembers the token of the latest one,
//! so that a token is looked at once and not with every request.

use crate::attach::Identity;
use crate::connection::{HeldRequest, NONE, Phase};
use crate::engine::Engine;
use crate::input::Flow;
use crate::requests::{ControlVerb, Lone};
use crate::slab::Handle;
use crate::system::socket;
use crate::users::scoped;
use imfast_session::{Asked, Control, Encoding, What, write_json_answer, write_plain_answer};
use imfast_wire::frames::client::{ClientFrame, Group, Verb};
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::limits::HTTP_REQUEST_MS;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::frames::{id, json};
use imfast_wire::http::Answer;
use std::borrow::Cow;

/// Seconds in which a request has to be complete once it began.
pub(crate) const REQUEST_UNITS: u32 = (HTTP_REQUEST_MS.default / 1000) as u32;

/// A stream that broke is asked for again after this time, or up to twice as long.
const RETRY_MS: u32 = 1000;

impl Engine {
    /// Serves a request, or holds it back until its token was looked at.
    pub(crate) fn lone_request(&mut self, handle: Handle, asked: &Asked<'_>) {
        let frame = asked.answering.to_bits();
        self.io.stats.frames_received += 1;
        let certified = self.certificate_of(handle).is_some();
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.last = asked.answering.last;
        connection.hurried = false;
        let verb = match &asked.what {
            What::Verb(verb) => *verb,
            What::Ready => return self.tell_readiness(handle, frame),
            What::Events { sync, ticket } => {
                return self.events_asked(handle, frame, asked, sync, ticket);
            }
            What::Control(control) => return self.control_asked(handle, frame, asked, control),
        };
        if asked.token.is_empty() && !certified {
            const WANTED: &str = "An access token is needed: Authorization: Bearer.";
            return self.answer_error(handle, frame, &codes::NOT_CONNECTED, 0, WANTED);
        }
        if connection.layer.is_some() && connection.phase == Phase::Stranger {
            self.inherit(handle, asked.token);
        }
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        let known = connection.phase == Phase::Connected
            && u64::from(connection.expires_s) * 1000 > self.wall_ms
            && connection
                .rare
                .as_ref()
                .is_some_and(|rare| same(&rare.credential, asked.token));
        if known {
            let request = (verb, asked.key, asked.device.as_ref(), asked.body);
            return self.serve(handle, frame, request);
        }
        let request = HeldRequest::Request(Lone {
            token: asked.token.into(),
            verb: verb.into(),
            key: asked.key.into(),
            device: asked.device.as_ref().into(),
            body: asked.body.into(),
        });
        let verb = self.connect_verb(handle, asked.token, asked.device.clone().into_owned());
        self.identify(handle, frame, request, verb);
    }

    /// Holds a request back until Python knows whose it is.
    fn identify(&mut self, handle: Handle, frame: u64, request: HeldRequest, verb: ControlVerb) {
        if let Some(connection) = self.io.connections.resolve_mut(handle)
            && connection.phase == Phase::Stranger
        {
            connection.phase = Phase::Connecting;
            self.not_a_stranger(handle.slot);
        }
        self.hold(handle, frame, request, verb);
    }

    fn events_asked(
        &mut self,
        handle: Handle,
        frame: u64,
        asked: &Asked<'_>,
        sync: &str,
        ticket: &str,
    ) {
        let certified = self.certificate_of(handle).is_some();
        if asked.token.is_empty() && ticket.is_empty() && !certified {
            const WANTED: &str = "An access token or a ticket is needed.";
            return self.answer_error(handle, frame, &codes::NOT_CONNECTED, 0, WANTED);
        }
        if !self.name_device(handle, frame, &asked.device) {
            return;
        }
        let verb = if asked.token.is_empty() && !ticket.is_empty() {
            ControlVerb::Redeem {
                ticket: ticket.to_owned(),
            }
        } else {
            self.connect_verb(handle, asked.token, asked.device.clone().into_owned())
        };
        let sync = sync.to_owned();
        self.identify(handle, frame, HeldRequest::Events { sync }, verb);
    }

    fn control_asked(
        &mut self,
        handle: Handle,
        frame: u64,
        asked: &Asked<'_>,
        control: &Control<'_>,
    ) {
        if let Err(retry_after_ms) = self.admit_request(handle) {
            self.rate_limited(handle, frame, retry_after_ms);
            return;
        }
        let verb = ControlVerb::Control {
            method: control.method.to_owned(),
            path: control.path.to_owned(),
            host: control.host.to_owned(),
            origin: control.origin.to_owned(),
            token: asked.token.to_owned(),
            key: asked.key.to_owned(),
            body: asked.body.to_owned(),
        };
        self.identify(handle, frame, HeldRequest::Control, verb);
    }

    /// Python answers a request itself. `known`: whoever asked has shown a key, and may keep the
    /// connection as a client that has a token does.
    pub fn respond(&mut self, handle: Handle, answer: &Answer<'_>, known: bool) {
        let Some(held) = self.take_held(handle) else {
            return;
        };
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        write_plain_answer(held.frame, answer, &self.policy.site, &mut output);
        self.io.push_bytes(handle.slot, &output);
        self.output = output;
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        if connection.phase == Phase::Connecting {
            if known {
                connection.phase = Phase::Connected;
                self.rearm(handle.slot);
            } else {
                connection.phase = Phase::Stranger;
                self.now_a_stranger(handle);
            }
        }
        self.resume(handle);
    }

    /// A connection becomes a stream of events; its session begins next.
    pub(crate) fn begin_stream(&mut self, handle: Handle, frame: u64) {
        self.forget_user(handle);
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let patience_ms = 2 * self.config.heartbeat_ms;
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            // Not all at once after a break.
            let retry_ms = RETRY_MS + handle.slot % RETRY_MS;
            let site = &self.policy.site;
            connection
                .session
                .stream(frame, retry_ms, site, &mut output);
            connection.encoding = connection.session.encoding();
            connection.last = false;
            connection.rare = None;
            // What carries a stream asks by itself whether anybody is there.
            if let Some(fd) = &connection.fd {
                socket::set_user_timeout(fd, patience_ms as u32);
            }
        }
        self.io.push_bytes(handle.slot, &output);
        self.output = output;
    }

    /// Python made the ticket that a connection waits for.
    pub fn ticketed(&mut self, handle: Handle, ticket: &str, expires_in_ms: u64) {
        let Some(held) = self.take_held(handle) else {
            return;
        };
        debug_assert!(!ticket.contains(['"', '\\']), "a ticket needs no escapes");
        let json = format!(r#"{{"ticket":"{ticket}","expiresInMs":{expires_in_ms}}}"#);
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        write_json_answer(held.frame, &json, &self.policy.site, &mut output);
        self.io.push_bytes(handle.slot, &output);
        self.output = output;
        self.resume(handle);
    }

    /// Python accepted the token of a request: it is served, and those that follow with this token.
    pub(crate) fn request_admitted(
        &mut self,
        handle: Handle,
        frame: u64,
        request: &Lone,
        identity: &Identity,
    ) {
        self.forget_user(handle);
        let key = scoped(&identity.tenant, &identity.user);
        let route = self
            .routes
            .user_key(identity.tenant.as_bytes(), identity.user.as_bytes());
        let user = self.users.add_guest(&key, route);
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.phase = Phase::Connected;
            connection.user = user;
            connection.expires_s = (identity.expires_at_ms / 1000) as u32;
            connection.credential = identity.credential;
            let rare = connection.rare.get_or_insert_default();
            rare.credential.clone_from(&request.token);
        }
        self.bequeath(handle, &key, route);
        self.rearm(handle.slot);
        let parts = (
            request.verb.as_ref(),
            request.key.as_ref(),
            request.device.as_ref(),
            request.body.as_ref(),
        );
        self.for_connection(handle, |engine| engine.serve(handle, frame, parts));
        self.resume(handle);
    }

    /// Python refused the token of a request.
    pub(crate) fn request_refused(
        &mut self,
        handle: Handle,
        frame: u64,
        code: &'static Code,
        message: &str,
        retry_after_ms: u64,
    ) {
        self.answer_error(handle, frame, code, retry_after_ms, message);
        if let Some(connection) = self.io.connections.resolve_mut(handle)
            && connection.phase == Phase::Connecting
        {
            connection.phase = Phase::Stranger;
            self.now_a_stranger(handle);
        }
        self.resume(handle);
    }

    /// Serves a verb of whoever the connection acts for.
    fn serve(
        &mut self,
        handle: Handle,
        frame: u64,
        (name, key, device, body): (&str, &str, &str, &[u8]),
    ) {
        if let Err(retry_after_ms) = self.admit_request(handle) {
            self.rate_limited(handle, frame, retry_after_ms);
            return;
        }
        if !self.name_device(handle, frame, device) {
            return;
        }
        if name == "ticket" {
            let (tenant, user) = self.identity(handle.slot);
            let connection = self.io.connections.resolve(handle);
            let verb = ControlVerb::Ticket {
                user,
                tenant,
                expires_at_ms: connection.map_or(0, |c| u64::from(c.expires_s) * 1000),
                credential: connection.map_or(0, |c| c.credential),
            };
            self.hold(handle, frame, HeldRequest::Ticket, verb);
            return;
        }
        self.decoding = true;
        let verb = json::decode_verb(name, body);
        self.decoding = false;
        let verb = match verb {
            Ok(verb) => verb,
            Err(error) => {
                return self.answer_error(handle, frame, error.code, 0, &error.message);
            }
        };
        let verb = match with_key(verb, key) {
            Ok(verb) => verb,
            Err(message) => {
                let code = &codes::INVALID_ARGUMENT;
                return self.answer_error(handle, frame, code, 0, message);
            }
        };
        let flow = self.verb(handle, ClientFrame { id: frame, verb });
        debug_assert!(
            !matches!(flow, Flow::Close(_)),
            "no error of a verb closes a connection"
        );
    }

    /// Takes the device that a request names; an id that is none is refused.
    fn name_device(&mut self, handle: Handle, frame: u64, device: &str) -> bool {
        if !device.is_empty()
            && let Err(error) = id::check(device)
        {
            let message = format!("device: {error}");
            self.answer_error(handle, frame, &codes::INVALID_ID, 0, &message);
            return false;
        }
        let device = if device.is_empty() {
            crate::verbs::DEFAULT_DEVICE
        } else {
            device
        };
        if let Some(connection) = self.io.connections.resolve_mut(handle)
            && *connection.device != *device
        {
            connection.device = device.into();
        }
        true
    }

    pub(crate) fn answer_error(
        &mut self,
        handle: Handle,
        frame: u64,
        code: &'static Code,
        retry_after_ms: u64,
        message: &str,
    ) {
        self.io.stats.errors += 1;
        let body = ServerBody::error(code, retry_after_ms, message);
        self.io.push(handle.slot, &ServerFrame { id: frame, body });
    }

    /// Whether this worker takes connections and serves all its partitions.
    fn tell_readiness(&mut self, handle: Handle, frame: u64) {
        let mut owners = self.config.owners.iter().zip(&self.owned);
        let here = self.config.worker;
        if self.draining {
            self.answer_error(handle, frame, &codes::SHUTTING_DOWN, 0, "");
        } else if owners.any(|(owner, owned)| *owner == here && owned.is_none()) {
            self.answer_error(handle, frame, &codes::PARTITION_UNAVAILABLE, 0, "");
        } else {
            let body = ServerBody::Pong {
                server_time_ms: self.wall_ms,
            };
            self.io.push(handle.slot, &ServerFrame { id: frame, body });
        }
    }

    /// What was read of a connection is dealt with as far as possible. Sets a deadline for a request
    /// that began; returns whether the connection ends now.
    pub(crate) fn between_requests(&mut self, handle: Handle) -> bool {
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return false;
        };
        if connection.waits(in_flight_max) {
            return false;
        }
        if connection.last {
            return true;
        }
        if !connection.session.in_request() || connection.unparsed.is_empty() {
            connection.hurried = false;
        } else if connection.phase == Phase::Connected && !connection.hurried {
            // Strangers have a deadline from the beginning.
            connection.hurried = true;
            let now = self.unit();
            // The unit of now has begun already.
            self.io.wheel.set(handle.slot, now, REQUEST_UNITS + 1);
        }
        false
    }

    /// The time of an HTTP connection is over: for the rest of its request, or for the next one.
    pub(crate) fn sweep_requests(&mut self, slot: u32) {
        let in_flight_max = self.config.in_flight_max;
        let now = self.unit();
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        // A reader that takes its answer slowly is as good as one that asks: the queue is bounded, and
        // so is the time, for it is not heard meanwhile.
        let heard = std::mem::take(&mut connection.heard) && !connection.hurried;
        if heard || connection.waits(in_flight_max) {
            return self.rearm(slot);
        }
        self.io.stats.timed_out += 1;
        let code = if connection.hurried {
            &codes::AUTHENTICATION_TIMEOUT
        } else {
            &codes::HEARTBEAT_TIMEOUT
        };
        self.io.close(slot, code, now);
    }

    /// A connection speaks something else from now on.
    pub(crate) fn upgraded(&mut self, handle: Handle, encoding: Encoding) {
        self.forget_user(handle);
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.encoding = encoding;
        if connection.phase == Phase::Connected {
            connection.phase = Phase::Stranger;
            connection.rare = None;
            self.await_identity(handle);
        }
    }

    /// The connection acts for nobody any more.
    pub(crate) fn forget_user(&mut self, handle: Handle) {
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            let user = std::mem::replace(&mut connection.user, NONE);
            if user != NONE {
                self.users.remove_guest(user);
            }
        }
    }

    /// Whether a connection has to be answered before it can be closed; then it is closed after that.
    pub(crate) fn answers_first(&mut self, slot: u32) -> bool {
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return false;
        };
        if connection.encoding == Encoding::Http2 {
            return self.streams_first(slot);
        }
        let waits = connection.encoding == Encoding::Http && connection.waits(in_flight_max);
        connection.last |= waits;
        waits
    }
}

/// Compares tokens without telling by the time it takes how much of them is the same: requests of
/// several clients may come over one connection of a proxy.
pub(crate) fn same(known: &str, given: &str) -> bool {
    let differ = |so_far: u8, (a, b): (u8, u8)| so_far | (a ^ b);
    known.len() == given.len() && known.bytes().zip(given.bytes()).fold(0, differ) == 0
}

/// The verb under the idempotency key that its request's header has.
fn with_key<'a>(mut verb: Verb<'a>, key: &'a str) -> Result<Verb<'a>, &'static str> {
    if key.is_empty() {
        return Ok(verb);
    }
    let of_verb = match &mut verb {
        Verb::Send(send) => &mut send.key,
        Verb::Group(
            Group::Create { key, .. }
            | Group::Join { key, .. }
            | Group::Leave { key, .. }
            | Group::Add { key, .. }
            | Group::Remove { key, .. },
        ) => key,
        _ => return Ok(verb),
    };
    if of_verb.is_empty() || *of_verb == key {
        *of_verb = Cow::Borrowed(key);
        Ok(verb)
    } else {
        Err("Idempotency-Key and key differ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_only_as_a_whole() {
        assert!(same("token", "token"));
        for other in ["", "toke", "tokens", "tokem", "Token"] {
            assert!(!same("token", other), "{other}");
        }
    }

    #[test]
    fn the_headers_key_is_the_verbs_unless_it_has_another_one() {
        let verb = |text: &'static str| json::decode_verb("send", text.as_bytes()).expect("a send");
        let of = |verb: Verb<'_>| match verb {
            Verb::Send(send) => send.key.into_owned(),
            _ => String::new(),
        };
        let plain = r#"{"to":{"user":"b"},"text":"x"}"#;
        let keyed = r#"{"to":{"user":"b"},"text":"x","key":"k"}"#;
        assert_eq!(with_key(verb(plain), "k").map(of).as_deref(), Ok("k"));
        assert_eq!(with_key(verb(keyed), "k").map(of).as_deref(), Ok("k"));
        assert_eq!(with_key(verb(keyed), "").map(of).as_deref(), Ok("k"));
        assert!(with_key(verb(keyed), "other").is_err());
        assert_eq!(with_key(Verb::Ping, "k"), Ok(Verb::Ping));
    }
}
