//! Several ephemeral messages to one user that came in one read: what follows from who sends to
//! whom is found once for all of them.
//!
//! All bytes of a read were sent before it. So whoever was connected, somewhere, before a message
//! was sent is in the route table by the time that the first message of the read is served; and no
//! session comes or goes here until the read is worked off.

use crate::connection::NONE;
use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::ephemeral::unnumbered;
use crate::origin::Sender;
use crate::peers::Peer;
use crate::slab::Handle;
use crate::users::unscoped;
use imfast_partition::Who;
use imfast_session::Encoding;
use imfast_wire::frames::client::Send;
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::ServerFrame;
use std::rc::Rc;

/// The read that is being worked off.
#[derive(Default)]
pub(crate) struct Burst {
    /// More bytes follow those of the message that is served.
    pub more: bool,
    way: Option<Way>,
    /// Fields 1 to 5 of the messages' rows.
    prefix: Vec<u8>,
}

/// From the connection that was read to the user that its messages are for.
struct Way {
    from: Handle,
    known: Rc<Peer>,
    /// Users here with a session that is to get the messages: the receiver, and the sender where
    /// it has another one. [`NONE`] for neither.
    users: [u32; 2],
    /// Other workers that have some.
    elsewhere: u64,
}

impl Burst {
    /// Nothing is known of the next read.
    pub(crate) fn end(&mut self) {
        self.way = None;
        self.more = false;
    }
}

impl Engine {
    /// Serves an ephemeral message to the user whom the one before it, in the same read, was for.
    /// False: it was for somebody else.
    pub(crate) fn send_again(
        &mut self,
        handle: Handle,
        frame: u64,
        peer: &str,
        send: &Send<'_>,
    ) -> bool {
        let fits = |way: &mut Way| way.from == handle && *way.known.name == *peer;
        let Some(way) = self.burst.way.take_if(fits) else {
            return false;
        };
        self.send_on(&way, frame, send);
        self.burst.way = Some(way);
        true
    }

    /// Serves the first message of a burst, and remembers what it found for the next ones. False:
    /// no burst is to be expected, or the message is to be refused.
    pub(crate) fn send_first(
        &mut self,
        handle: Handle,
        frame: u64,
        known: &Rc<Peer>,
        send: &Send<'_>,
    ) -> bool {
        if !self.burst.more {
            return false;
        }
        let (tenant, user) = unscoped(&known.user);
        let who = Who {
            tenant: tenant.as_bytes(),
            user,
            by_server: false,
        };
        let Some(Some(owned)) = self.owned.get(known.partition as usize) else {
            return false;
        };
        let allowed = owned
            .partition
            .may_send_to_peer(who, &known.name, &known.conversation);
        let Some(connection) = self.io.connections.resolve(handle) else {
            return false;
        };
        if allowed.is_err() || connection.encoding == Encoding::Http {
            return false;
        }
        let own = connection.user;
        let [from, to] = known.routes.map(|key| self.routes.workers(key).0);
        let here = 1u64 << self.config.worker;
        let mut users = [NONE; 2];
        if (from | to) & here != 0 {
            let alone = self.users.get(own).is_none_or(|u| u.sessions.len() < 2);
            users = [
                if alone { NONE } else { own },
                self.find_user(tenant, &known.name).unwrap_or(NONE),
            ];
        }
        let prefix = &mut self.burst.prefix;
        prefix.clear();
        write_row_prefix(prefix, &known.conversation, 0, 0, user, self.wall_ms);
        let way = Way {
            from: handle,
            known: Rc::clone(known),
            users,
            elsewhere: (from | to) & !here,
        };
        self.send_on(&way, frame, send);
        self.burst.way = Some(way);
        true
    }

    fn send_on(&mut self, way: &Way, frame: u64, send: &Send<'_>) {
        let (known, handle) = (&*way.known, way.from);
        let (tenant, user) = unscoped(&known.user);
        let mut row = self.io.pool.take();
        row.extend_from_slice(&self.burst.prefix);
        send.write_content(&mut row);
        let arrival = Arrival {
            partition: known.partition,
            tenant,
            conversation: &known.conversation,
            row: &row,
            direct: Some((user, &known.name)),
            ..Arrival::default()
        };
        let message = arrival.frame();
        for user in way.users {
            if user != NONE {
                self.push_to_sessions(&arrival, user, &message, Some(handle));
            }
        }
        if way.elsewhere != 0 {
            let worker = self.config.worker;
            self.ephemeral_over_links(way.elsewhere, &arrival, Sender { worker, handle });
        }
        self.io.pool.give(row);
        let open = |handle| {
            let connection = self.io.connections.resolve(handle);
            connection.is_some_and(crate::connection::Connection::open)
        };
        if frame != 0 && open(handle) {
            let body = unnumbered(&known.conversation, known.partition, self.wall_ms);
            self.io.push(handle.slot, &ServerFrame { id: frame, body });
        }
    }
}
