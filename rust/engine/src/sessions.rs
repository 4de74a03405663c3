//! A user's sessions on this worker, for whoever looks after users: to be listed, and ended.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::slab::Handle;
use crate::users::scoped;
use imfast_session::Encoding;
use imfast_wire::frames::codes::Code;

/// A session, or a connection that acts for a user without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// As `connected` called it.
    pub session: String,
    pub device: String,
    pub transport: &'static str,
    /// The token that it stands on: what [`crate::Identity::credential`] was.
    pub credential: u64,
}

impl Engine {
    /// The name of a connection's session.
    pub(crate) fn session_name(&self, handle: Handle) -> String {
        let (server, incarnation) = (&self.config.server, self.config.incarnation);
        format!("{server}-{incarnation}-{:x}", handle.to_bits())
    }

    /// The sessions of a user here.
    pub fn sessions(&mut self, tenant: &str, user: &str) -> Vec<SessionInfo> {
        let slots = self.sessions_of(tenant, user);
        let mut found = Vec::with_capacity(slots.len());
        for slot in slots {
            let handle = self.io.connections.handle(slot);
            let Some((handle, connection)) = handle.zip(self.io.connections.get(slot)) else {
                continue;
            };
            found.push(SessionInfo {
                session: self.session_name(handle),
                device: connection.device.to_string(),
                transport: transport(connection.encoding),
                credential: connection.credential,
            });
        }
        found
    }

    /// Ends what acts for a user here: everything, or one session, or all that stands on one token
    /// (0: on any). Returns how many sessions ended.
    pub fn disconnect(
        &mut self,
        (tenant, user): (&str, &str),
        session: Option<&str>,
        credential: u64,
        code: &'static Code,
    ) -> usize {
        let Some(index) = self.users.find(&scoped(tenant, user)) else {
            return 0;
        };
        let of_user = |(slot, connection): (u32, &crate::connection::Connection)| {
            let is_meant = connection.user == index
                && connection.phase == Phase::Connected
                && (credential == 0 || connection.credential == credential);
            is_meant.then_some(slot)
        };
        let slots: Vec<u32> = self.io.connections.iter().filter_map(of_user).collect();
        let unit = self.unit();
        let mut ended = 0;
        for slot in slots {
            let Some(handle) = self.io.connections.handle(slot) else {
                continue;
            };
            if session.is_some_and(|session| session != self.session_name(handle)) {
                continue;
            }
            let is_session = self
                .io
                .connections
                .get(slot)
                .is_some_and(|connection| connection.encoding != Encoding::Http);
            ended += usize::from(is_session);
            self.io.close(slot, code, unit);
        }
        ended
    }
}

fn transport(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Tcp => "tcp",
        Encoding::Events => "events",
        Encoding::Http => "http",
        _ => "websocket",
    }
}
