//! How a session becomes live, and stops being so.
//!
//! A session takes its routes first and then asks each partition's owner for pages of what it
//! missed. Owners answer on the same stream on which they deliver, so a page that says "complete,
//! through position p" stands exactly between what it contains and what comes live. Such a page is
//! the last one if every group it names was routed to this worker before it was asked for: then
//! nothing that was committed after `p` can have passed this worker by. Otherwise the groups are
//! routed now and one more page is asked for.

use crate::connection::{Attach, Cursor, Held, HeldRequest, NONE, Phase};
use crate::engine::Engine;
use crate::origin::Waiter;
use crate::query::{From, Page, Query, QueryKind};
use crate::slab::Handle;
use crate::users::{scoped, unscoped};
use imfast_faults::{Fault, on};
use imfast_session::Encoding;
use imfast_wire::frames::server::{Row, ServerBody, ServerFrame};
use imfast_wire::frames::token::SyncToken;

/// The next page is asked for once less than this waits for the socket.
const BACKLOG_BYTES: usize = 64 * 1024;
/// A catch-up that an unavailable partition holds up is announced without it after this time.
const ANNOUNCE_AFTER_MS: u64 = 3_000;

/// Who a connection proved to be.
#[derive(Debug, Clone)]
pub struct Identity {
    pub tenant: String,
    pub user: String,
    /// Milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
    /// Names the token or what else proved it; 0: nothing that could be called back.
    pub credential: u64,
}

impl Engine {
    /// A session begins, or a request that stands alone is served.
    pub(crate) fn begin_session(&mut self, handle: Handle, mut held: Held, identity: &Identity) {
        let sync = match held.request {
            HeldRequest::Connect { sync } => sync,
            HeldRequest::Events { sync } => {
                self.begin_stream(handle, held.frame);
                // What follows are pushes: none answers a frame.
                held.frame = 0;
                sync
            }
            HeldRequest::Request(request) => {
                return self.request_admitted(handle, held.frame, &request, identity);
            }
            _ => return,
        };
        let key = scoped(&identity.tenant, &identity.user);
        let route = self
            .routes
            .user_key(identity.tenant.as_bytes(), identity.user.as_bytes());
        let (user, first) = self.users.add_session(&key, route, handle.slot);
        if first {
            self.set_route(route);
        }
        let server = self.config.server.clone();
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.phase = Phase::Connected;
        let carried = connection.layer.is_some();
        connection.user = user;
        connection.expires_s = (identity.expires_at_ms / 1000) as u32;
        connection.credential = identity.credential;
        let session = self.session_name(handle);
        let frame = ServerFrame {
            id: held.frame,
            body: ServerBody::Connected {
                user: identity.user.as_str().into(),
                session: session.into(),
                server: server.into(),
                heartbeat_ms: self.config.heartbeat_ms,
                server_time_ms: self.wall_ms,
                limits: self.config.limits,
            },
        };
        self.io.push(handle.slot, &frame);
        if identity.expires_at_ms > 0 {
            self.expire_at(handle, identity.expires_at_ms);
        }
        self.rearm(handle.slot);
        if carried {
            self.carrier_is_known(handle);
        }
        self.stand(user);
        self.begin_catch_up(handle, &sync);
        self.resume(handle);
    }

    fn begin_catch_up(&mut self, handle: Handle, sync: &str) {
        let partitions = self.partitions();
        // A token of another layout, or one from the future of a restored backup, is foreign:
        // the device's own cursors are the next best thing. Repeats are possible then, loss is not.
        let token = SyncToken::decode(sync).ok().filter(|token| {
            token.generation == self.config.layout_generation
                && token.positions.len() == partitions as usize
        });
        let cursor = |partition: u16| {
            let (from, position) = match &token {
                Some(token) => {
                    let position = token.positions[partition as usize];
                    (From::Position(position), position)
                }
                None => (From::Device, 0),
            };
            let from = from.encode();
            Some(Cursor {
                from,
                position,
                asked: false,
                route_clock: 0,
                groups: Vec::new(),
            })
        };
        let attach = Attach {
            cursors: (0..partitions).map(cursor).collect(),
            announce: true,
            since_ms: self.now_ms,
        };
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        connection.rare.get_or_insert_default().attach = Some(attach);
        self.attaching.push(handle);
        for partition in 0..partitions {
            self.ask_page(handle, partition);
        }
    }

    /// Asks for the next page of one partition, unless the socket still has enough to do.
    fn ask_page(&mut self, handle: Handle, partition: u16) {
        let route_clock = self.route_clock;
        let (rows, bytes) = (self.config.catch_up_rows, self.config.catch_up_bytes);
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let backlog = connection.queue.as_ref().map_or(0, |q| q.bytes());
        let device = connection.device.clone();
        let Some(attach) = connection.attach_mut() else {
            return;
        };
        let Some(Some(cursor)) = attach.cursors.get_mut(partition as usize) else {
            return;
        };
        if cursor.asked || backlog > BACKLOG_BYTES {
            return;
        }
        cursor.asked = true;
        cursor.route_clock = route_clock;
        let from = cursor.from.clone();
        let (tenant, user) = self.identity(handle.slot);
        let kind = QueryKind::CatchUp {
            device: device.into(),
            from,
            rows,
            bytes,
        };
        let query = Query {
            tenant,
            user,
            by_server: false,
            kind,
        };
        self.ask(partition, &query, Waiter::CatchUp { handle, partition });
    }

    /// A page arrived.
    pub(crate) fn page(&mut self, handle: Handle, partition: u16, page: &Page) {
        if page.complete {
            self.advance_watermark(partition, page.through);
        }
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        if connection.phase != Phase::Connected {
            return;
        }
        let Some(attach) = connection.attach_mut() else {
            return;
        };
        let Some(Some(cursor)) = attach.cursors.get_mut(partition as usize) else {
            return;
        };
        let asked_at = cursor.route_clock;
        cursor.asked = false;
        cursor.from.clone_from(&page.next);
        if page.complete {
            cursor.position = page.through;
        }
        if !connection.checkpoint_due && !page.rows.is_empty() {
            connection.checkpoint_due = true;
            self.checkpoint_due.push(handle.slot);
        }
        self.io.delivered(0);
        for (event, row) in &page.rows {
            let row = if *event {
                Row::Event(row)
            } else {
                Row::Message(row)
            };
            self.io.stats.deliveries += 1;
            self.io
                .push(handle.slot, &ServerFrame::push(ServerBody::Row(row)));
        }
        self.io.deliveries.were_old(self.io.stats.deliveries);
        if !page.complete {
            return self.ask_page(handle, partition);
        }
        let (tenant, _) = self.identity(handle.slot);
        let mut last = true;
        let mut groups = Vec::with_capacity(page.groups.len());
        for conversation in &page.groups {
            let (group, routed_at) =
                self.hold_group(handle, partition, &scoped(&tenant, conversation));
            last &= routed_at <= asked_at;
            groups.push(group);
        }
        if !last && !on(Fault::BoundBeforeRoutes) {
            return self.ask_page(handle, partition);
        }
        for group in groups {
            if let Some(entry) = self.groups.get_mut(group) {
                entry.covered_from = entry.covered_from.min(page.through);
            }
            self.groups.subscribe(&mut self.io, group, handle.slot);
        }
        self.become_live(handle, partition);
    }

    /// Keeps a group routed to this worker for the sake of one catch-up.
    fn hold_group(&mut self, handle: Handle, partition: u16, key: &str) -> (u32, u64) {
        let group = if let Some(group) = self.groups.find(key) {
            group
        } else {
            let (tenant, conversation) = unscoped(key);
            let route = self
                .routes
                .group_key(tenant.as_bytes(), conversation.as_bytes());
            self.set_route(route);
            self.groups.insert(key, partition, route, self.route_clock)
        };
        let cursor = self
            .io
            .connections
            .resolve_mut(handle)
            .and_then(|c| c.attach_mut())
            .and_then(|a| a.cursors.get_mut(partition as usize))
            .and_then(Option::as_mut);
        let mut routed_at = u64::MAX;
        if let Some(entry) = self.groups.get_mut(group) {
            routed_at = entry.routed_at;
            if let Some(cursor) = cursor
                && !cursor.groups.contains(&group)
            {
                cursor.groups.push(group);
                entry.holds += 1;
            }
        }
        (group, routed_at)
    }

    fn set_route(&mut self, route: u64) {
        self.route_clock += 1;
        self.route_writer.set(route);
    }

    fn release_holds(&mut self, groups: &[u32]) {
        for &group in groups {
            if let Some(entry) = self.groups.get_mut(group) {
                entry.holds -= 1;
            }
            self.drop_unused(group);
        }
    }

    /// Forgets a group that nobody here is in any more.
    pub(crate) fn drop_unused(&mut self, group: u32) {
        if let Some(route) = self.groups.remove_unused(group) {
            self.route_writer.clear(route);
        }
    }

    fn become_live(&mut self, handle: Handle, partition: u16) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let Some(rare) = connection.rare.as_mut() else {
            return;
        };
        let Some(attach) = rare.attach.as_mut() else {
            return;
        };
        let cursor = attach
            .cursors
            .get_mut(partition as usize)
            .and_then(Option::take);
        let live = attach.cursors.iter().all(Option::is_none);
        let announce = attach.announce;
        if live {
            rare.attach = None;
            if rare.held.is_none()
                && rare.payload.is_empty()
                && rare.gathers.is_empty()
                && rare.watching.is_empty()
            {
                connection.rare = None;
            }
        }
        if let Some(cursor) = cursor {
            self.release_holds(&cursor.groups);
        }
        if live && announce {
            let token = self.token().encode();
            let body = ServerBody::CaughtUp {
                token: token.into(),
            };
            self.io.push(handle.slot, &ServerFrame::push(body));
        }
    }

    /// A live session's user was added to a group by the row at `position`.
    pub(crate) fn enter_group(&mut self, slot: u32, key: &str, partition: u16, position: u64) {
        if let Some(group) = self.groups.find(key)
            && self
                .groups
                .get(group)
                .is_some_and(|g| g.covered_from <= position)
        {
            // All that comes after the row reaches this worker anyway.
            return self.groups.subscribe(&mut self.io, group, slot);
        }
        self.catch_up_again(slot, key, partition, position);
    }

    /// Takes a live session back into catching up with one partition, from exactly the position
    /// that it has been given. Nobody on this worker was in the group before, so rows between the
    /// joining and the routing may have passed this worker by.
    fn catch_up_again(&mut self, slot: u32, key: &str, partition: u16, position: u64) {
        let Some(handle) = self.io.connections.handle(slot) else {
            return;
        };
        let partitions = self.partitions() as usize;
        let now_ms = self.now_ms;
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        let subscriptions: Vec<u32> = connection.subscriptions.iter().map(|s| s.group).collect();
        let attach = connection
            .rare
            .get_or_insert_default()
            .attach
            .get_or_insert_with(|| Attach {
                cursors: (0..partitions).map(|_| None).collect(),
                announce: false,
                since_ms: now_ms,
            });
        let from = From::Position(position).encode();
        attach.cursors[partition as usize] = Some(Cursor {
            from,
            position,
            asked: false,
            route_clock: 0,
            groups: Vec::new(),
        });
        self.hold_group(handle, partition, key);
        for group in subscriptions {
            let Some(entry) = self.groups.get(group) else {
                continue;
            };
            if entry.partition == partition {
                let key = std::rc::Rc::clone(&entry.key);
                self.hold_group(handle, partition, &key);
                self.groups.unsubscribe(&mut self.io, group, slot, true);
            }
        }
        self.ask_page(handle, partition);
    }

    /// A connection's queue ran empty: its catch-up may go on.
    pub(crate) fn continue_catch_up(&mut self, slot: u32) {
        let Some(handle) = self.io.connections.handle(slot) else {
            return;
        };
        for partition in 0..self.partitions() {
            self.ask_page(handle, partition);
        }
    }

    /// The owner could not serve a page; the timer asks again.
    pub(crate) fn page_failed(&mut self, handle: Handle, partition: u16) {
        if let Some(connection) = self.io.connections.resolve_mut(handle)
            && let Some(attach) = connection.attach_mut()
            && let Some(Some(cursor)) = attach.cursors.get_mut(partition as usize)
        {
            cursor.asked = false;
            self.stalled.push(handle);
        }
    }

    /// Once a second: catch-ups that failed are tried again, and those that an unavailable
    /// partition holds up are announced with that partition's position frozen.
    pub(crate) fn nurse_catch_ups(&mut self) {
        for handle in std::mem::take(&mut self.stalled) {
            for partition in 0..self.partitions() {
                self.ask_page(handle, partition);
            }
        }
        let mut late = Vec::new();
        let now_ms = self.now_ms;
        let connections = &self.io.connections;
        self.attaching.retain(|handle| {
            let Some(connection) = connections.resolve(*handle) else {
                return false;
            };
            let Some(attach) = connection.attach() else {
                return false;
            };
            if attach.announce
                && attach.since_ms + ANNOUNCE_AFTER_MS < now_ms
                && connection.queue.is_none()
            {
                late.push(handle.slot);
            }
            attach.announce
        });
        for slot in late {
            let mut token = self.token();
            let Some(attach) = self
                .io
                .connections
                .get_mut(slot)
                .and_then(|c| c.attach_mut())
            else {
                continue;
            };
            // By device there is no position to freeze; the next catch-up is by device again.
            if attach.cursors.iter().flatten().any(|c| c.position == 0) {
                continue;
            }
            attach.announce = false;
            for (position, cursor) in token.positions.iter_mut().zip(&attach.cursors) {
                if let Some(cursor) = cursor {
                    *position = cursor.position;
                }
            }
            let body = ServerBody::CaughtUp {
                token: token.encode().into(),
            };
            self.io.push(slot, &ServerFrame::push(body));
        }
    }

    /// Takes a connection that ended out of everything that points to it.
    pub(crate) fn leave_all(&mut self, slot: u32) {
        self.leave_seat(slot);
        self.unwatch(slot, None);
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return;
        };
        let user = std::mem::replace(&mut connection.user, NONE);
        let encoding = connection.encoding;
        let subscriptions: Vec<u32> = connection.subscriptions.iter().map(|s| s.group).collect();
        let attach = connection.rare.take().and_then(|rare| rare.attach);
        for group in subscriptions {
            self.groups.unsubscribe(&mut self.io, group, slot, false);
            self.drop_unused(group);
        }
        for cursor in attach.into_iter().flat_map(|a| a.cursors).flatten() {
            self.release_holds(&cursor.groups);
        }
        if user == NONE {
            self.not_a_stranger(slot);
        } else if matches!(encoding, Encoding::Http | Encoding::Http2) {
            self.users.remove_guest(user);
        } else {
            let key = self
                .users
                .get(user)
                .map(|entry| std::rc::Rc::clone(&entry.key));
            if let Some(route) = self.users.remove_session(user, slot) {
                self.route_writer.clear(route);
                if let Some(key) = key {
                    self.stand_no_more(user, &key);
                }
            } else {
                self.stand(user);
            }
        }
        self.resume_listeners();
    }
}
