//! Verbs: hot ones are served here, control verbs wait for Python's word.

use crate::commands::Actor;
use crate::connection::{Held, HeldRequest, Phase};
use crate::engine::Engine;
use crate::input::Flow;
use crate::layer::Layer;
use crate::links::Kind;
use crate::origin::{Origin, Waiter};
use crate::query::{Query, QueryKind};
use crate::requests::{ControlVerb, Request};
use crate::slab::Handle;
use imfast_wire::frames::client::{ClientFrame, Group, Presence, Verb};
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::server::{List, ServerBody, ServerFrame};
use imfast_wire::frames::{check, id};

/// The device of a client that names none: its cursors are the user's without a device.
pub(crate) const DEFAULT_DEVICE: &str = "default";

impl Engine {
    /// What Python is asked about a client that says who it is: by its token, or without one by the
    /// certificate of its connection.
    pub(crate) fn connect_verb(&self, handle: Handle, token: &str, device: String) -> ControlVerb {
        let certificate = self.certificate_of(handle).filter(|_| token.is_empty());
        ControlVerb::Connect {
            token: token.to_owned(),
            device,
            certificate: certificate.unwrap_or(&[]).to_vec(),
        }
    }

    /// DER of the client's certificate, if it has shown a good one; a stream's client is that of the
    /// connection that carries it.
    pub(crate) fn certificate_of(&self, handle: Handle) -> Option<&[u8]> {
        let connection = self.io.connections.resolve(handle)?;
        match connection.layer.as_deref()? {
            Layer::Tls(tls) => tls.client_certificate(),
            Layer::Stream(stream) => self.certificate_of(stream.over),
            Layer::First(_) => None,
        }
    }

    pub(crate) fn verb(&mut self, handle: Handle, frame: ClientFrame<'_>) -> Flow {
        let id = frame.id;
        if let Err((code, message)) = check::verb(&frame.verb, &self.config.limits) {
            return self.refused(handle, id, code, &message);
        }
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return Flow::Hold;
        };
        if let Verb::Connect {
            token,
            device,
            sync,
        } = frame.verb
        {
            if connection.phase != Phase::Stranger {
                return self.refused(handle, id, &codes::ALREADY_CONNECTED, "");
            }
            connection.phase = Phase::Connecting;
            let device = if device.is_empty() {
                DEFAULT_DEVICE.into()
            } else {
                device
            };
            connection.device = device.as_ref().into();
            self.not_a_stranger(handle.slot);
            let verb = self.connect_verb(handle, &token, device.into_owned());
            return self.hold(
                handle,
                id,
                HeldRequest::Connect {
                    sync: sync.into_owned(),
                },
                verb,
            );
        }
        if connection.phase != Phase::Connected {
            return self.refused(handle, id, &codes::NOT_CONNECTED, "");
        }
        match frame.verb {
            Verb::Ping => {
                let body = ServerBody::Pong {
                    server_time_ms: self.wall_ms,
                };
                self.io.push(handle.slot, &ServerFrame { id, body });
                Flow::Next
            }
            Verb::Send(send) => {
                if let Err((code, message)) = self.send(handle, id, &send) {
                    return self.refused(handle, id, code, &message);
                }
                Flow::Next
            }
            Verb::Ack { conversation, seq } => {
                self.cursor(handle, id, &conversation, |actor, device| {
                    actor.ack(device, seq)
                })
            }
            Verb::Read { conversation, seq } => {
                self.cursor(handle, id, &conversation, |actor, _| actor.read(seq))
            }
            Verb::Refresh { token } => {
                let (tenant, user) = self.identity(handle.slot);
                let verb = ControlVerb::Refresh {
                    token: token.into_owned(),
                    user,
                    tenant,
                };
                self.hold(handle, id, HeldRequest::Refresh, verb)
            }
            Verb::History {
                conversation,
                before,
                after,
                limit,
            } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let conversation = conversation.into_owned();
                let kind = QueryKind::History {
                    conversation: conversation.clone(),
                    before,
                    after,
                    limit,
                };
                self.hold_query(handle, id, "history", conversation, kind)
            }
            Verb::Conversations { after, limit } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let device = self
                    .io
                    .connections
                    .get(handle.slot)
                    .map_or("", |c| &c.device)
                    .to_owned();
                let kind = QueryKind::Conversations {
                    device,
                    after: after.into_owned(),
                    limit,
                };
                self.hold_query(handle, id, "conversations", String::new(), kind)
            }
            Verb::Receipts { conversation, seq } => {
                let conversation = conversation.into_owned();
                let kind = QueryKind::Receipts {
                    conversation: conversation.clone(),
                    seq,
                };
                self.hold_query(handle, id, "receipts", conversation, kind)
            }
            Verb::Recall {
                conversation,
                seq,
                key,
            } => self.change(handle, id, (&conversation, &key), |actor| actor.recall(seq)),
            Verb::Edit {
                conversation,
                seq,
                key,
                body,
            } => self.change(handle, id, (&conversation, &key), |actor| {
                actor.edit(seq, &body)
            }),
            Verb::React {
                conversation,
                seq,
                key,
                reaction,
                remove,
            } => self.change(handle, id, (&conversation, &key), |actor| {
                actor.react(seq, &reaction, remove)
            }),
            Verb::Group(group) => self.group(handle, id, &group),
            Verb::Presence(action) => self.presence(handle, id, &action),
            Verb::Connect { .. } | Verb::Unknown => {
                self.refused(handle, id, &codes::UNSUPPORTED, "")
            }
        }
    }

    /// Submits a cursor that `command` encodes from who acts and on which device.
    fn cursor(
        &mut self,
        handle: Handle,
        frame: u64,
        conversation: &str,
        command: impl FnOnce(&Actor<'_>, &str) -> Vec<u8>,
    ) -> Flow {
        let (tenant, user) = self.identity(handle.slot);
        let connection = self.io.connections.get(handle.slot);
        let device = connection.map_or("", |c| &c.device);
        let actor = Actor {
            tenant: &tenant,
            user: &user,
            key: &[],
            conversation,
            by_server: false,
        };
        let command = command(&actor, device);
        let partition = id::partition_of(&tenant, conversation, self.partitions());
        let waiter = self.client_waiter(handle, frame);
        if self.owns(partition) {
            self.take_cursor(partition, command, Origin::Here(waiter));
        } else {
            self.request(partition, Kind::Cursor, command, waiter);
        }
        Flow::Next
    }

    fn presence(&mut self, handle: Handle, frame: u64, action: &Presence<'_>) -> Flow {
        let names = |users: &[std::borrow::Cow<'_, str>]| -> Vec<String> {
            users.iter().map(|user| user.clone().into_owned()).collect()
        };
        match action {
            Presence::Subscribe { users } => {
                let users = names(users);
                let users: Vec<&str> = users.iter().map(String::as_str).collect();
                // The answer first: what is known at once follows it.
                if let Err(text) = self.watch_room(handle, &users) {
                    return self.refused(handle, frame, &codes::INVALID_ARGUMENT, &text);
                }
                self.presence_answer(handle, frame);
                self.watch(handle, &users);
            }
            Presence::Unsubscribe { users } => {
                let users = names(users);
                let users: Vec<&str> = users.iter().map(String::as_str).collect();
                self.unwatch(handle.slot, Some(&users));
                self.presence_answer(handle, frame);
            }
            Presence::Set { status } => {
                let away = *status == "away";
                if let Some(connection) = self.io.connections.resolve_mut(handle) {
                    connection.away = away;
                    let user = connection.user;
                    self.stand(user);
                }
                self.presence_answer(handle, frame);
            }
        }
        Flow::Next
    }

    fn presence_answer(&mut self, handle: Handle, frame: u64) {
        if frame != 0 {
            let items = List::default();
            let body = ServerBody::Presence { items };
            self.io.push(handle.slot, &ServerFrame { id: frame, body });
        }
    }

    /// Submits what is done to a message that stands, as `command` encodes it.
    fn change(
        &mut self,
        handle: Handle,
        frame: u64,
        (conversation, key): (&str, &str),
        command: impl FnOnce(&Actor<'_>) -> Vec<u8>,
    ) -> Flow {
        let (tenant, user) = self.identity(handle.slot);
        let partition = id::partition_of(&tenant, conversation, self.partitions());
        // As a send's: what may be replayed over a link has to be recognised.
        let made;
        let key = if key.is_empty() && !self.owns(partition) {
            made = self.fresh_key();
            &made[..]
        } else {
            key.as_bytes()
        };
        let command = command(&Actor {
            tenant: &tenant,
            user: &user,
            key,
            conversation,
            by_server: false,
        });
        let waiter = self.client_waiter(handle, frame);
        self.submit(partition, command, waiter);
        Flow::Next
    }

    fn group(&mut self, handle: Handle, frame: u64, group: &Group<'_>) -> Flow {
        let (action, users) = match group {
            Group::Members {
                conversation,
                after,
                limit,
            } => {
                let limit = limit.unwrap_or(self.config.page_items_default);
                let conversation = conversation.clone().into_owned();
                let kind = QueryKind::Members {
                    conversation: conversation.clone(),
                    after: after.clone().into_owned(),
                    limit,
                };
                return self.hold_query(handle, frame, "members", conversation, kind);
            }
            Group::Create { members, .. } => ("create", members.len()),
            Group::Join { .. } => ("join", 0),
            Group::Leave { .. } => ("leave", 0),
            Group::Add { users, .. } => ("add", users.len()),
            Group::Remove { users, .. } => ("remove", users.len()),
            Group::Role { users, .. } => ("role", users.len()),
            Group::Mute { users, .. } => ("mute", users.len()),
            Group::Unmute { users, .. } => ("unmute", users.len()),
            Group::Settings { .. } => ("settings", 0),
        };
        let (tenant, user) = self.identity(handle.slot);
        let (partition, command, conversation) = self.group_command(&tenant, &user, false, group);
        let verb = ControlVerb::Group {
            action,
            user,
            conversation,
            users,
        };
        self.hold(
            handle,
            frame,
            HeldRequest::Command { partition, command },
            verb,
        )
    }

    /// The command of a change of a group: its partition, its bytes, and the group's id.
    pub(crate) fn group_command(
        &mut self,
        tenant: &str,
        user: &str,
        by_server: bool,
        group: &Group<'_>,
    ) -> (u16, Vec<u8>, String) {
        let given: &str = match group {
            Group::Create { key, .. }
            | Group::Join { key, .. }
            | Group::Leave { key, .. }
            | Group::Add { key, .. }
            | Group::Remove { key, .. }
            | Group::Role { key, .. }
            | Group::Mute { key, .. }
            | Group::Unmute { key, .. }
            | Group::Settings { key, .. } => key,
            Group::Members { .. } => "",
        };
        let made;
        let key = if given.is_empty() {
            made = format!("{:032x}", u128::from_le_bytes(self.fresh_key()));
            made.as_str()
        } else {
            given
        };
        let conversation = match group {
            Group::Create { .. } if by_server => id::list_conversation(tenant, key),
            Group::Create { .. } => id::group_conversation(tenant, user, key),
            Group::Members { conversation, .. }
            | Group::Join { conversation, .. }
            | Group::Leave { conversation, .. }
            | Group::Add { conversation, .. }
            | Group::Remove { conversation, .. }
            | Group::Role { conversation, .. }
            | Group::Mute { conversation, .. }
            | Group::Unmute { conversation, .. }
            | Group::Settings { conversation, .. } => conversation.clone().into_owned(),
        };
        let actor = Actor {
            tenant,
            user,
            key: key.as_bytes(),
            conversation: &conversation,
            by_server,
        };
        let command = match group {
            Group::Create {
                title,
                members,
                open,
                ..
            } => actor.create(title, members, *open),
            Group::Join { .. } => actor.join(),
            Group::Leave { .. } => actor.leave(),
            Group::Add { users, .. } => actor.add(users),
            Group::Remove { users, .. } => actor.remove(users),
            Group::Role { users, role, .. } => actor.role(users, role),
            Group::Mute { users, .. } => actor.mute(users),
            Group::Unmute { users, .. } => actor.unmute(users),
            Group::Settings { title, open, .. } => actor.settings(title.as_deref(), *open),
            // A question: no command at all.
            Group::Members { .. } => Vec::new(),
        };
        let partition = id::partition_of(tenant, &conversation, self.partitions());
        (partition, command, conversation)
    }

    fn hold_query(
        &mut self,
        handle: Handle,
        frame: u64,
        name: &'static str,
        conversation: String,
        kind: QueryKind,
    ) -> Flow {
        let (tenant, user) = self.identity(handle.slot);
        let partition = if conversation.is_empty() {
            None
        } else {
            Some(id::partition_of(&tenant, &conversation, self.partitions()))
        };
        let query = Query {
            tenant,
            user: user.clone(),
            by_server: false,
            kind,
        };
        let verb = ControlVerb::Query {
            name,
            user,
            conversation,
        };
        self.hold(handle, frame, HeldRequest::Query { partition, query }, verb)
    }

    pub(crate) fn hold(
        &mut self,
        handle: Handle,
        frame: u64,
        request: HeldRequest,
        verb: ControlVerb,
    ) -> Flow {
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.rare.get_or_insert_default().held = Some(Held { frame, request });
        }
        self.requests.push_back(Request {
            connection: handle.to_bits(),
            frame,
            verb,
        });
        Flow::Hold
    }

    fn refused(&mut self, handle: Handle, frame: u64, code: &'static Code, message: &str) -> Flow {
        if frame != 0 || code.close.is_some() {
            self.io.push_error(handle.slot, frame, code, message);
        }
        if code.close.is_some() {
            Flow::Close(code)
        } else {
            Flow::Next
        }
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
        Waiter::Client {
            handle,
            frame,
            counted: true,
        }
    }

    /// A key for a request that came without one, so that its replay over a link is recognised.
    pub(crate) fn fresh_key(&mut self) -> [u8; 16] {
        self.keys_made += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.key_nonce.to_le_bytes());
        key[8..].copy_from_slice(&self.keys_made.to_le_bytes());
        key
    }
}
