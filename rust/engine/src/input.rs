//! From a socket's bytes to verbs: hot ones are served here, control verbs wait for Python.

use crate::commands::Actor;
use crate::connection::{Held, HeldRequest, Phase};
use crate::engine::Engine;
use crate::origin::Waiter;
use crate::poller::Ready;
use crate::query::{Query, QueryKind};
use crate::requests::{ControlVerb, Request};
use crate::slab::Handle;
use crate::socket::{self, Read};
use imfast_session::{Encoding, Input, Session, frames};
use imfast_wire::frames::client::{ClientFrame, Group, Verb};
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::id;
use imfast_wire::frames::server::{ServerBody, ServerFrame};

/// What becomes of a connection's further frames.
enum Flow {
    Next,
    /// They wait for Python's word.
    Hold,
    Close(&'static Code),
}

impl Engine {
    pub(crate) fn connection_ready(&mut self, handle: Handle, event: Ready) {
        let Some(connection) = self.io.connections.resolve(handle) else { return };
        let reading = connection.reading;
        if event.writable {
            self.io.flush(handle.slot);
        }
        if event.readable || (event.hang_up && reading) {
            self.read(handle);
        } else if event.hang_up {
            self.io.kill(handle.slot);
        }
    }

    fn read(&mut self, handle: Handle) {
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve_mut(handle) else { return };
        match connection.phase {
            Phase::Dead => return,
            Phase::Closing => {
                if matches!(socket::read(&connection.fd, &mut self.buffer), Read::Closed) {
                    self.io.kill(handle.slot);
                }
                return;
            }
            _ => {}
        }
        if connection.held_back() || connection.in_flight >= in_flight_max {
            self.io.set_reading(handle.slot, false);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = std::mem::take(&mut connection.unparsed);
        let start = kept.len();
        buffer[..start].copy_from_slice(&kept);
        match socket::read(&connection.fd, &mut buffer[start..]) {
            Read::Bytes(count) => self.parse(handle, &mut buffer[..start + count]),
            Read::Empty => connection.unparsed = kept,
            Read::Closed => self.io.kill(handle.slot),
        }
        self.buffer = buffer;
    }

    /// Reads messages until the bytes end, or something holds the connection back.
    fn parse(&mut self, handle: Handle, bytes: &mut [u8]) {
        let in_flight_max = self.config.in_flight_max;
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let mut session = Session::over();
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.heard = true;
            std::mem::swap(&mut session, &mut connection.session);
        }
        let mut at = 0;
        let mut close = None;
        let mut finish = false;
        while at < bytes.len() {
            let Some(connection) = self.io.connections.resolve_mut(handle) else { break };
            if !connection.open() || connection.held_back() || connection.in_flight >= in_flight_max {
                break;
            }
            let encoding = connection.encoding;
            let input = session.receive(&mut bytes[at..], &self.policy, &mut output);
            if !output.is_empty() {
                self.io.push_bytes(handle.slot, &output);
                output.clear();
            }
            match input {
                Input::Incomplete { .. } => break,
                Input::Handled { consumed } => at += consumed,
                Input::Opened { consumed, encoding } => {
                    at += consumed;
                    if let Some(connection) = self.io.connections.resolve_mut(handle) {
                        connection.encoding = encoding;
                    }
                }
                Input::Message { consumed, bytes: payload } => {
                    at += consumed;
                    match self.message(handle, encoding, payload) {
                        Flow::Next => {}
                        Flow::Hold => break,
                        Flow::Close(code) => {
                            close = Some(code);
                            break;
                        }
                    }
                }
                Input::Ended(_) => {
                    finish = true;
                    break;
                }
            }
        }
        self.output = output;
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            std::mem::swap(&mut session, &mut connection.session);
            connection.unparsed = bytes.get(at..).unwrap_or(&[]).to_vec();
        }
        let unit = self.unit();
        if let Some(code) = close {
            self.io.close(handle.slot, code, unit);
        } else if finish {
            self.io.finish(handle.slot, unit);
        }
    }

    /// Serves the client frames of one message.
    fn message(&mut self, handle: Handle, encoding: Encoding, payload: &[u8]) -> Flow {
        let mut frames = frames(encoding, payload);
        while let Some(frame) = frames.next() {
            self.io.stats.frames_received += 1;
            let flow = match frame {
                Ok(frame) => self.verb(handle, frame),
                Err(error) => {
                    if error.id != 0 || error.code.close.is_some() {
                        self.io.push_error(handle.slot, error.id, error.code, &error.message);
                    }
                    if error.code.close.is_some() { Flow::Close(error.code) } else { Flow::Next }
                }
            };
            match flow {
                Flow::Next => {}
                Flow::Hold => {
                    let rest = frames.rest().to_vec();
                    if let Some(connection) = self.io.connections.resolve_mut(handle) {
                        connection.rare.get_or_insert_default().payload = rest;
                    }
                    return Flow::Hold;
                }
                Flow::Close(code) => return Flow::Close(code),
            }
        }
        Flow::Next
    }

    /// Lets a connection's waiting frames through, after Python's word or as its window opened.
    pub(crate) fn resume(&mut self, handle: Handle) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else { return };
        if connection.held_back() {
            return;
        }
        let encoding = connection.encoding;
        let payload = connection.rare.as_mut().map(|r| std::mem::take(&mut r.payload)).unwrap_or_default();
        if !payload.is_empty() {
            match self.message(handle, encoding, &payload) {
                Flow::Next => {}
                Flow::Hold => return,
                Flow::Close(code) => {
                    let unit = self.unit();
                    self.io.close(handle.slot, code, unit);
                    return;
                }
            }
        }
        let Some(connection) = self.io.connections.resolve_mut(handle) else { return };
        let mut unparsed = std::mem::take(&mut connection.unparsed);
        if !unparsed.is_empty() {
            self.parse(handle, &mut unparsed);
        }
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve(handle) else { return };
        if connection.open() && !connection.held_back() && connection.in_flight < in_flight_max {
            self.io.set_reading(handle.slot, true);
        }
    }

    fn verb(&mut self, handle: Handle, frame: ClientFrame<'_>) -> Flow {
        let id = frame.id;
        let Some(connection) = self.io.connections.resolve_mut(handle) else { return Flow::Hold };
        if let Verb::Connect { token, device, sync } = frame.verb {
            if connection.phase != Phase::Stranger {
                return self.refused(handle, id, &codes::ALREADY_CONNECTED, "");
            }
            if !device.is_empty()
                && let Err(error) = id::check(&device)
            {
                return self.refused(handle, id, &codes::INVALID_ID, &error.to_string());
            }
            connection.phase = Phase::Connecting;
            connection.device = device.as_ref().into();
            self.not_a_stranger();
            let verb = ControlVerb::Connect { token: token.into_owned(), device: device.into_owned() };
            return self.hold(handle, id, HeldRequest::Connect { sync: sync.into_owned() }, verb);
        }
        if connection.phase != Phase::Connected {
            return self.refused(handle, id, &codes::NOT_CONNECTED, "");
        }
        match frame.verb {
            Verb::Ping => {
                let body = ServerBody::Pong { server_time_ms: self.wall_ms };
                self.io.push(handle.slot, &ServerFrame { id, body });
                Flow::Next
            }
            Verb::Send(send) => {
                if let Err((code, message)) = self.send(handle, id, &send) {
                    return self.refused(handle, id, code, &message);
                }
                Flow::Next
            }
            Verb::Ack { conversation, seq } => self.cursor(handle, id, &conversation, Some(seq), None),
            Verb::Read { conversation, seq } => self.cursor(handle, id, &conversation, None, Some(seq)),
            Verb::Refresh { token } => {
                let (tenant, user) = self.identity(handle.slot);
                let verb = ControlVerb::Refresh { token: token.into_owned(), user, tenant };
                self.hold(handle, id, HeldRequest::Refresh, verb)
            }
            Verb::History { conversation, before, after, limit } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let conversation = conversation.into_owned();
                let kind = QueryKind::History { conversation: conversation.clone(), before, after, limit };
                self.hold_query(handle, id, "history", conversation, limit, kind)
            }
            Verb::Conversations { after, limit } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let device = self.io.connections.get(handle.slot).map_or("", |c| &c.device).to_owned();
                let kind = QueryKind::Conversations { device, after: after.into_owned(), limit };
                self.hold_query(handle, id, "conversations", String::new(), limit, kind)
            }
            Verb::Group(group) => self.group(handle, id, &group),
            Verb::Connect { .. } | Verb::Unknown => self.refused(handle, id, &codes::UNSUPPORTED, ""),
        }
    }

    fn cursor(
        &mut self,
        handle: Handle,
        frame: u64,
        conversation: &str,
        ack: Option<u64>,
        read: Option<u64>,
    ) -> Flow {
        if let Err(error) = id::check(conversation) {
            return self.refused(handle, frame, &codes::INVALID_ID, &error.to_string());
        }
        let (tenant, user) = self.identity(handle.slot);
        let device = self.io.connections.get(handle.slot).map_or("", |c| &c.device);
        let actor = Actor { tenant: &tenant, user: &user, key: &[], conversation };
        let command = match (ack, read) {
            (Some(seq), _) => {
                if device.is_empty() {
                    let message = "ack needs the device that connect named";
                    return self.refused(handle, frame, &codes::INVALID_ARGUMENT, message);
                }
                actor.ack(device, seq)
            }
            (None, seq) => actor.read(seq.unwrap_or(0)),
        };
        let partition = id::partition_of(&tenant, conversation, self.partitions());
        let waiter = self.client_waiter(handle, frame);
        self.submit(partition, command, waiter);
        Flow::Next
    }

    fn group(&mut self, handle: Handle, frame: u64, group: &Group<'_>) -> Flow {
        let (tenant, user) = self.identity(handle.slot);
        let owned_key;
        let (action, conversation, key, users): (_, String, &str, &[_]) = match group {
            Group::Members { conversation, after, limit } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let conversation = conversation.clone().into_owned();
                let kind = QueryKind::Members {
                    conversation: conversation.clone(),
                    after: after.clone().into_owned(),
                    limit,
                };
                return self.hold_query(handle, frame, "members", conversation, limit, kind);
            }
            Group::Create { key, members, .. } => {
                let key = if key.is_empty() {
                    owned_key = self.fresh_key_text();
                    owned_key.as_str()
                } else {
                    key.as_ref()
                };
                ("create", id::group_conversation(&tenant, &user, key), key, members)
            }
            Group::Join { conversation, key } => ("join", conversation.clone().into_owned(), key, &[]),
            Group::Leave { conversation, key } => ("leave", conversation.clone().into_owned(), key, &[]),
            Group::Add { conversation, key, users } => {
                ("add", conversation.clone().into_owned(), key, users)
            }
            Group::Remove { conversation, key, users } => {
                ("remove", conversation.clone().into_owned(), key, users)
            }
        };
        if let Err(error) = id::check(&conversation) {
            return self.refused(handle, frame, &codes::INVALID_ID, &error.to_string());
        }
        for user in users {
            if let Err(error) = id::check(user) {
                return self.refused(handle, frame, &codes::INVALID_ID, &error.to_string());
            }
        }
        let made;
        let key = if key.is_empty() {
            made = self.fresh_key_text();
            made.as_bytes()
        } else {
            key.as_bytes()
        };
        let actor = Actor { tenant: &tenant, user: &user, key, conversation: &conversation };
        let command = match group {
            Group::Create { title, members, open, .. } => actor.create(title, members, *open),
            Group::Join { .. } => actor.join(),
            Group::Leave { .. } => actor.leave(),
            Group::Add { users, .. } => actor.add(users),
            Group::Remove { users, .. } => actor.remove(users),
            // A question, answered above.
            Group::Members { .. } => return Flow::Next,
        };
        let partition = id::partition_of(&tenant, &conversation, self.partitions());
        let verb = ControlVerb::Group { action, user, conversation, users: users.len() };
        self.hold(handle, frame, HeldRequest::Command { partition, command }, verb)
    }

    fn hold_query(
        &mut self,
        handle: Handle,
        frame: u64,
        name: &'static str,
        conversation: String,
        limit: u32,
        kind: QueryKind,
    ) -> Flow {
        if u64::from(limit) > self.config.limits.page_items {
            let message = format!("limit: at most {}", self.config.limits.page_items);
            return self.refused(handle, frame, &codes::PAGE_TOO_LARGE, &message);
        }
        let (tenant, user) = self.identity(handle.slot);
        let partition = if conversation.is_empty() {
            None
        } else {
            if let Err(error) = id::check(&conversation) {
                return self.refused(handle, frame, &codes::INVALID_ID, &error.to_string());
            }
            Some(id::partition_of(&tenant, &conversation, self.partitions()))
        };
        let query = Query { tenant, user: user.clone(), kind };
        let verb = ControlVerb::Query { name, user, conversation };
        self.hold(handle, frame, HeldRequest::Query { partition, query }, verb)
    }

    fn hold(&mut self, handle: Handle, frame: u64, request: HeldRequest, verb: ControlVerb) -> Flow {
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.rare.get_or_insert_default().held = Some(Held { frame, request });
        }
        self.requests.push_back(Request { connection: handle.to_bits(), frame, verb });
        Flow::Hold
    }

    fn refused(&mut self, handle: Handle, frame: u64, code: &'static Code, message: &str) -> Flow {
        if frame != 0 || code.close.is_some() {
            self.io.push_error(handle.slot, frame, code, message);
        }
        if code.close.is_some() { Flow::Close(code) } else { Flow::Next }
    }

    /// Tenant and user of a connection.
    pub(crate) fn identity(&self, slot: u32) -> (String, String) {
        self.user_of(slot)
            .map(|user| (user.tenant().to_owned(), user.name().to_owned()))
            .unwrap_or_default()
    }

    pub(crate) fn partitions(&self) -> u16 {
        self.config.owners.len() as u16
    }

    /// Counts a request of a client against its window of unanswered ones.
    pub(crate) fn client_waiter(&mut self, handle: Handle, frame: u64) -> Waiter {
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.in_flight += 1;
        }
        Waiter::Client { handle, frame, counted: true }
    }

    /// A key for a request that came without one, so that its replay over a link is recognised.
    pub(crate) fn fresh_key(&mut self) -> [u8; 16] {
        self.keys_made += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.key_nonce.to_le_bytes());
        key[8..].copy_from_slice(&self.keys_made.to_le_bytes());
        key
    }

    fn fresh_key_text(&mut self) -> String {
        self.fresh_key().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
