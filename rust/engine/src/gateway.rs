//! The gateway's half: what its clients ask goes to the partitions' owners, what those answer
//! goes back.

use crate::commands::Actor;
use crate::connection::{Gather, Held, HeldRequest, Phase};
use crate::engine::Engine;
use crate::ephemeral::Ephemeral;
use crate::links::Kind;
use crate::origin::{Origin, Sender, Waiter};
use crate::peers::Peer;
use crate::query::{Query, QueryKind};
use crate::slab::Handle;
use crate::users::unscoped;
use imfast_partition::Incoming;
use imfast_session::Encoding;
use imfast_wire::frames::check::Refusal;
use imfast_wire::frames::client::{Send, Target};
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::id;
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{List, ServerBody, ServerFrame, Summary};
use std::borrow::Cow;
use std::rc::Rc;

impl Engine {
    /// Serves a `send`.
    pub(crate) fn send(
        &mut self,
        handle: Handle,
        frame: u64,
        send: &Send<'_>,
    ) -> Result<(), Refusal> {
        if let Some(made_ms) = id::key_made_ms(send.key.as_bytes())
            && made_ms + self.config.dedupe_window_ms < self.wall_ms
        {
            return Err((&codes::KEY_EXPIRED, Cow::Borrowed("")));
        }
        if send.ephemeral
            && let Target::User(peer) = &send.to
            && self.send_again(handle, frame, peer, send)
        {
            return Ok(());
        }
        let Some(user) = self.user_of(handle.slot) else {
            return Err((&codes::NOT_CONNECTED, Cow::Borrowed("")));
        };
        let user_key = Rc::clone(&user.key);
        let (tenant, user) = unscoped(&user_key);
        let known = match &send.to {
            Target::User(peer) => Some(self.way_to(&user_key, peer)),
            Target::Group(_) | Target::Conversation(_) => None,
        };
        let (conversation, peer, partition) = match (&known, &send.to) {
            (Some(known), _) => (&*known.conversation, &*known.name, known.partition),
            (None, Target::User(id) | Target::Group(id) | Target::Conversation(id)) => {
                let partition = id::partition_of(tenant, id.as_ref(), self.partitions());
                (id.as_ref(), "", partition)
            }
        };
        let here = self.owns(partition);
        if send.ephemeral
            && let Some(known) = &known
            && self.send_first(handle, frame, known, send)
        {
            return Ok(());
        }
        if send.ephemeral && here {
            let sender = Sender {
                worker: self.config.worker,
                handle,
            };
            let waiter = self.client_waiter(handle, frame);
            let mut content = self.io.pool.take();
            send.write_content(&mut content);
            let message = Ephemeral {
                tenant: tenant.as_bytes(),
                user,
                conversation,
                peer,
                content: &content,
                routes: known.as_ref().map(|known| known.routes),
            };
            self.send_ephemeral(partition, &message, sender, Origin::Here(waiter));
            self.io.pool.give(content);
            return Ok(());
        }
        // A keyless send that may be replayed over a link gets a key to be recognised by.
        let made;
        let key = if send.key.is_empty() && !here && !send.ephemeral {
            made = self.fresh_key();
            &made[..]
        } else {
            send.key.as_bytes()
        };
        let command = Actor {
            tenant,
            user,
            key,
            conversation,
            by_server: false,
        }
        .send(peer, send);
        let waiter = self.client_waiter(handle, frame);
        if send.ephemeral {
            let mut payload = handle.to_bits().to_le_bytes().to_vec();
            payload.extend_from_slice(&command);
            self.request(partition, Kind::Ephemeral, payload, waiter);
        } else {
            self.submit(partition, command, waiter);
        }
        Ok(())
    }

    /// The direct conversation of a user here, by its scoped key, with another one.
    fn way_to(&mut self, user_key: &Rc<str>, peer: &str) -> Rc<Peer> {
        if let Some(known) = self.peers.find(user_key, peer) {
            return known;
        }
        let (tenant, user) = unscoped(user_key);
        let conversation = id::direct_conversation(tenant, user, peer);
        let route = |name: &str| self.routes.user_key(tenant.as_bytes(), name.as_bytes());
        self.peers.remember(Peer {
            user: Rc::clone(user_key),
            name: peer.into(),
            partition: id::partition_of(tenant, &conversation, self.partitions()),
            conversation: conversation.into(),
            routes: [route(user), route(peer)],
        })
    }

    /// Gives a command to its partition's owner.
    pub(crate) fn submit(&mut self, partition: u16, command: Vec<u8>, waiter: Waiter) {
        if self.owns(partition) {
            self.enqueue(
                partition,
                Incoming {
                    command,
                    origin: Origin::Here(waiter),
                },
            );
        } else {
            self.request(partition, Kind::Command, command, waiter);
        }
    }

    /// Asks a partition's owner.
    pub(crate) fn ask(&mut self, partition: u16, query: &Query, waiter: Waiter) {
        if self.owns(partition) {
            self.serve_query(partition, query, Origin::Here(waiter));
        } else {
            let mut payload = Vec::new();
            query.encode(&mut payload);
            self.request(partition, Kind::Query, payload, waiter);
        }
    }

    /// Python decided: the control verb that a connection waits for goes ahead. A `connect` needs
    /// [`Engine::connected`] instead.
    pub fn proceed(&mut self, handle: Handle) {
        let Some(Held { frame, request }) = self.take_held(handle) else {
            return;
        };
        match request {
            HeldRequest::Command { partition, command } => {
                let waiter = self.client_waiter(handle, frame);
                self.submit(partition, command, waiter);
            }
            HeldRequest::Query {
                partition: Some(partition),
                query,
            } => {
                let waiter = self.client_waiter(handle, frame);
                self.ask(partition, &query, waiter);
            }
            HeldRequest::Query {
                partition: None,
                query,
            } => self.scatter(handle, frame, query),
            HeldRequest::Connect { .. }
            | HeldRequest::Seat(_)
            | HeldRequest::Refresh
            | HeldRequest::Admission(_)
            | HeldRequest::Request(_)
            | HeldRequest::Events { .. }
            | HeldRequest::Ticket
            | HeldRequest::Control => {}
        }
        self.resume(handle);
    }

    /// Python decided: the control verb is refused. `retry_after_ms` is 0 where nothing is known
    /// about when it might not be.
    pub fn refuse(
        &mut self,
        handle: Handle,
        code: &'static Code,
        message: &str,
        retry_after_ms: u64,
    ) {
        let Some(Held { frame, request }) = self.take_held(handle) else {
            return;
        };
        if let HeldRequest::Request(_) | HeldRequest::Events { .. } | HeldRequest::Control = request
        {
            return self.request_refused(handle, frame, code, message, retry_after_ms);
        }
        // A refused connect is told even without an id: the connection ends with it.
        let connect = matches!(request, HeldRequest::Connect { .. });
        if frame != 0 || connect {
            self.io.stats.errors += 1;
            let body = ServerBody::error(code, retry_after_ms, message);
            self.io.push(handle.slot, &ServerFrame { id: frame, body });
        }
        if code.close.is_some() {
            let unit = self.unit();
            self.io.close(handle.slot, code, unit);
        } else {
            if connect && let Some(connection) = self.io.connections.resolve_mut(handle) {
                connection.phase = Phase::Stranger;
                self.now_a_stranger(handle);
            }
            self.resume(handle);
        }
    }

    /// A refreshed token was accepted.
    pub fn refreshed(&mut self, handle: Handle, expires_at_ms: u64, credential: u64) {
        let Some(Held { frame, .. }) = self.take_held(handle) else {
            return;
        };
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.expires_s = (expires_at_ms / 1000) as u32;
            connection.credential = credential;
            self.expire_at(handle, expires_at_ms);
            let body = ServerBody::Refreshed { expires_at_ms };
            if frame != 0 {
                self.io.push(handle.slot, &ServerFrame { id: frame, body });
            }
        }
        self.resume(handle);
    }

    pub(crate) fn take_held(&mut self, handle: Handle) -> Option<Held> {
        self.io
            .connections
            .resolve_mut(handle)?
            .rare
            .as_mut()?
            .held
            .take()
    }

    /// Brings an owner's answer to whoever waits for it.
    pub(crate) fn answered(&mut self, waiter: Waiter, body: ServerBody<'_>) {
        match waiter {
            Waiter::Client {
                handle,
                frame,
                counted,
            } => {
                let in_flight_max = self.config.in_flight_max;
                let Some(connection) = self.io.connections.resolve_mut(handle) else {
                    return;
                };
                if counted {
                    connection.in_flight = connection.in_flight.saturating_sub(1);
                    // Frames may wait with all bytes read: then no event would bring them on.
                    let waits = !connection.reading || !connection.unparsed.is_empty();
                    let opens = connection.in_flight == in_flight_max / 2;
                    let lone = connection.encoding == Encoding::Http;
                    if (waits && opens || lone) && !connection.held_back() {
                        self.resumable.push(handle);
                    }
                }
                if frame != 0 && connection.open() {
                    if matches!(body, ServerBody::Error { .. }) {
                        self.io.stats.errors += 1;
                    }
                    self.io.push(handle.slot, &ServerFrame { id: frame, body });
                }
            }
            Waiter::Gather { handle, frame } => self.gathered(handle, frame, body),
            Waiter::Seat { handle } => self.seat_answered(handle, &body),
            Waiter::Nobody => {}
            Waiter::Act { number } => self.acted_with(number, &body),
            Waiter::ActPart { number } => self.acted_in_part(number, &body),
            // The owner could not serve a page: try again with the next timer.
            Waiter::CatchUp { handle, partition } => self.page_failed(handle, partition),
        }
    }

    /// Asks every partition for its part of a list.
    fn scatter(&mut self, handle: Handle, frame: u64, mut query: Query) {
        let partitions = self.partitions();
        let QueryKind::Conversations { limit, after, .. } = &mut query.kind else {
            return;
        };
        let gather = Gather {
            frame,
            limit: std::mem::replace(limit, u32::MAX),
            after: std::mem::take(after),
            missing: partitions as usize,
            parts: Vec::new(),
        };
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.in_flight += 1;
        connection.rare.get_or_insert_default().gathers.push(gather);
        for partition in 0..partitions {
            self.ask(partition, &query, Waiter::Gather { handle, frame });
        }
    }

    fn gathered(&mut self, handle: Handle, frame: u64, body: ServerBody<'_>) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let Some(rare) = connection.rare.as_mut() else {
            return;
        };
        let Some(at) = rare.gathers.iter().position(|g| g.frame == frame) else {
            return;
        };
        if !rare.gathers[at].add(&body) {
            return;
        }
        let gather = rare.gathers.swap_remove(at);
        let waiter = Waiter::Client {
            handle,
            frame,
            counted: true,
        };
        if matches!(body, ServerBody::Error { .. }) {
            return self.answered(waiter, body);
        }
        gather.together(|body| self.answered(waiter, body));
    }
}

impl Gather {
    /// Takes one partition's answer; returns whether nothing more is waited for.
    pub(crate) fn add(&mut self, body: &ServerBody<'_>) -> bool {
        if matches!(body, ServerBody::Error { .. }) {
            return true;
        }
        let mut part = Vec::new();
        proto::encode_server(
            &ServerFrame {
                id: 0,
                body: body.clone(),
            },
            &mut part,
        );
        self.parts.push(part);
        self.missing -= 1;
        self.missing == 0
    }

    /// The page that all parts make.
    pub(crate) fn together(&self, answer: impl FnOnce(ServerBody<'_>)) {
        let mut items: Vec<Summary<'_>> = Vec::new();
        let mut more = false;
        for part in &self.parts {
            if let Ok(ServerFrame {
                body:
                    ServerBody::Conversations {
                        items: list,
                        more: m,
                    },
                ..
            }) = proto::decode_server(part)
            {
                more |= m;
                items.extend(
                    list.iter()
                        .filter(|s| *s.conversation > *self.after)
                        .cloned(),
                );
            }
        }
        items.sort_unstable_by(|a, b| a.conversation.cmp(&b.conversation));
        more |= items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        answer(ServerBody::Conversations {
            items: List::Borrowed(&items),
            more,
        });
    }
}
