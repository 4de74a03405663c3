//! Committed rows, and ephemeral messages, on their way to the sessions of this worker.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::run::Class;
use crate::slab::Handle;
use crate::users::scoped;
use imfast_faults::{Fault, on};
use imfast_wire::frames::server::{Row, ServerBody, ServerFrame};
use imfast_wire::frames::token::SyncToken;
use imfast_wire::protobuf::{Malformed, Reader, put_bytes, put_message, put_number};

/// A row and whom it concerns, as an owner commits it or a link brings it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrival<'a> {
    pub partition: u16,
    /// 0 for an ephemeral message.
    pub position: u64,
    pub tenant: &'a str,
    pub conversation: &'a str,
    pub event: bool,
    pub row: &'a [u8],
    /// The two users of a direct conversation; none: everybody subscribed to the group.
    pub direct: Option<(&'a str, &'a str)>,
    /// Members from this row on, and until it.
    pub joined: Vec<&'a str>,
    pub left: Vec<&'a str>,
}

impl<'a> Arrival<'a> {
    /// Appends the arrival as links carry it; the partition stands in the link's frame.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.position);
        put_bytes(out, 2, self.tenant.as_bytes());
        put_bytes(out, 3, self.conversation.as_bytes());
        put_number(out, 4, u64::from(self.event));
        put_bytes(out, 5, self.row);
        if let Some((a, b)) = self.direct {
            put_bytes(out, 6, a.as_bytes());
            put_bytes(out, 7, b.as_bytes());
        }
        for user in &self.joined {
            put_message(out, 8, user.as_bytes());
        }
        for user in &self.left {
            put_message(out, 9, user.as_bytes());
        }
    }

    pub(crate) fn decode(partition: u16, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut arrival = Self {
            partition,
            ..Self::default()
        };
        let (mut a, mut b) = ("", "");
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => arrival.position = value.number(),
                2 => arrival.tenant = value.text(reader.offset())?,
                3 => arrival.conversation = value.text(reader.offset())?,
                4 => arrival.event = value.number() != 0,
                5 => arrival.row = value.bytes(),
                6 => a = value.text(reader.offset())?,
                7 => b = value.text(reader.offset())?,
                8 => arrival.joined.push(value.text(reader.offset())?),
                9 => arrival.left.push(value.text(reader.offset())?),
                _ => {}
            }
        }
        if !a.is_empty() {
            arrival.direct = Some((a, b));
        }
        Ok(arrival)
    }

    pub(crate) fn frame(&self) -> ServerFrame<'a> {
        let row = if self.event {
            Row::Event(self.row)
        } else {
            Row::Message(self.row)
        };
        ServerFrame::push(ServerBody::Row(row))
    }
}

impl Engine {
    /// Messages that were sent at `born_ms`, in milliseconds since 1970, are handed out next.
    pub(crate) fn begin_deliveries(&mut self, born_ms: u64) {
        self.io.delivered(0);
        self.groups.born_ms = born_ms;
    }

    /// Those to single sessions were handed out; those to groups follow in slices.
    pub(crate) fn end_deliveries(&mut self) {
        let age_ms = self.wall_ms.saturating_sub(self.groups.born_ms);
        self.io.delivered(age_ms);
    }

    /// Gives a row to the sessions it concerns. `exclude` is the connection that sent an
    /// ephemeral message.
    pub(crate) fn arrive(&mut self, arrival: &Arrival<'_>, exclude: Option<Handle>) {
        let frame = arrival.frame();
        let watermark = &mut self.watermarks[arrival.partition as usize];
        *watermark = (*watermark).max(arrival.position);
        if let Some((a, b)) = arrival.direct {
            self.push_to_user(arrival, a, &frame, exclude);
            if a != b {
                self.push_to_user(arrival, b, &frame, exclude);
            }
            return;
        }
        let key = scoped(arrival.tenant, arrival.conversation);
        if let Some(group) = self.groups.find(&key) {
            let class = if arrival.position > 0 {
                Class::Durable(arrival.position)
            } else {
                let here = exclude.filter(|h| self.io.connections.resolve(*h).is_some());
                Class::Ephemeral {
                    key: self.collapse.key(arrival),
                    sender: here.map(|h| h.slot),
                }
            };
            self.groups.append(group, &frame, class);
        }
        for user in &arrival.joined {
            self.member_joined(arrival, user, &key, &frame);
        }
        for user in &arrival.left {
            self.member_left(arrival, user, &key);
        }
    }

    fn push_to_user(
        &mut self,
        arrival: &Arrival<'_>,
        user: &str,
        frame: &ServerFrame<'_>,
        exclude: Option<Handle>,
    ) {
        if let Some(user) = self.find_user(arrival.tenant, user) {
            self.push_to_sessions(arrival, user, frame, exclude);
        }
    }

    /// As [`Self::push_to_user`], for a user by its index here.
    pub(crate) fn push_to_sessions(
        &mut self,
        arrival: &Arrival<'_>,
        user: u32,
        frame: &ServerFrame<'_>,
        exclude: Option<Handle>,
    ) {
        // By index: pushing changes connections, never a user's list of them.
        let mut at = 0;
        while let Some(&slot) = self.users.get(user).and_then(|u| u.sessions.get(at)) {
            at += 1;
            if exclude.is_none() || self.io.connections.handle(slot) != exclude {
                self.push_live(arrival, slot, frame);
            }
        }
    }

    pub(crate) fn find_user(&mut self, tenant: &str, user: &str) -> Option<u32> {
        self.key_buffer.clear();
        self.key_buffer.push_str(tenant);
        self.key_buffer.push('\0');
        self.key_buffer.push_str(user);
        self.users.find(&self.key_buffer)
    }

    /// Pushes to a session that is live in the row's partition; the others catch up by themselves.
    fn push_live(&mut self, arrival: &Arrival<'_>, slot: u32, frame: &ServerFrame<'_>) -> bool {
        let Some(connection) = self.io.connections.get_mut(slot) else {
            return false;
        };
        if !connection.live_in(arrival.partition) {
            return false;
        }
        if arrival.position > 0 && !connection.checkpoint_due {
            connection.checkpoint_due = true;
            self.checkpoint_due.push(slot);
        }
        self.io.stats.deliveries += 1;
        if arrival.position > 0 {
            self.io.push(slot, frame);
        } else {
            let collapse = &self.collapse;
            self.io
                .push_ephemeral(slot, frame, || collapse.key(arrival));
        }
        true
    }

    /// Slots of a user's connections here.
    pub(crate) fn sessions_of(&mut self, tenant: &str, user: &str) -> Vec<u32> {
        self.find_user(tenant, user)
            .and_then(|index| self.users.get(index))
            .map(|user| user.sessions.clone())
            .unwrap_or_default()
    }

    fn member_joined(
        &mut self,
        arrival: &Arrival<'_>,
        user: &str,
        key: &str,
        frame: &ServerFrame<'_>,
    ) {
        for slot in self.sessions_of(arrival.tenant, user) {
            let group = self.groups.find(key);
            let subscribed = self.io.connections.get(slot).is_some_and(|c| {
                group.is_some_and(|g| c.subscriptions.iter().any(|s| s.group == g))
            });
            if subscribed || !self.push_live(arrival, slot, frame) {
                continue;
            }
            self.enter_group(slot, key, arrival.partition, arrival.position);
        }
    }

    fn member_left(&mut self, arrival: &Arrival<'_>, user: &str, key: &str) {
        for slot in self.sessions_of(arrival.tenant, user) {
            let Some(group) = self.groups.find(key) else {
                return;
            };
            self.groups.unsubscribe(&mut self.io, group, slot, true);
            self.drop_unused(group);
        }
    }

    /// All that concerns this worker in `partition` up to `position` has arrived.
    pub(crate) fn advance_watermark(&mut self, partition: u16, position: u64) {
        if let Some(watermark) = self.watermarks.get_mut(partition as usize) {
            *watermark = (*watermark).max(position);
        }
    }

    /// The token of everything that every live session has been given.
    pub(crate) fn token(&self) -> SyncToken {
        let position = |(partition, watermark): (usize, &u64)| {
            let unfinished = self
                .groups
                .lowest_unfinished(partition as u16)
                .filter(|_| !on(Fault::WatermarkAheadOfFanOut));
            unfinished.map_or(*watermark, |position| (*watermark).min(position - 1))
        };
        SyncToken {
            generation: self.config.layout_generation,
            positions: self.watermarks.iter().enumerate().map(position).collect(),
        }
    }

    /// Tells sessions that got something since the last time from where to go on after a break.
    pub(crate) fn send_checkpoints(&mut self) {
        if self.checkpoint_due.is_empty() {
            return;
        }
        let token = self.token().encode();
        let frame = ServerFrame::push(ServerBody::Checkpoint {
            token: token.into(),
        });
        let mut encoded: [Vec<u8>; imfast_session::Encoding::COUNT] = Default::default();
        for encoding in imfast_session::Encoding::PUSHED {
            encoding.write(&frame, &mut self.io.writer, &mut encoded[encoding as usize]);
        }
        for slot in std::mem::take(&mut self.checkpoint_due) {
            let Some(connection) = self.io.connections.get_mut(slot) else {
                continue;
            };
            if connection.phase != Phase::Connected {
                continue;
            }
            // A session that catches up is told by `caughtUp`, or the next time.
            if connection.attach().is_some() {
                self.checkpoint_due.push(slot);
                continue;
            }
            connection.checkpoint_due = false;
            let encoding = connection.encoding;
            self.io.push_bytes(slot, &encoded[encoding as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_survives_the_link() {
        let direct = Arrival {
            partition: 3,
            position: 77,
            tenant: "default",
            conversation: "d.x",
            row: b"row",
            direct: Some(("alice", "bob")),
            ..Arrival::default()
        };
        let event = Arrival {
            partition: 1,
            position: 5,
            tenant: "t",
            conversation: "g.y",
            event: true,
            row: b"e",
            direct: None,
            joined: vec!["a", "b"],
            left: vec!["c"],
        };
        for arrival in [direct, event] {
            let mut bytes = Vec::new();
            arrival.encode(&mut bytes);
            assert_eq!(Arrival::decode(arrival.partition, &bytes), Ok(arrival));
        }
    }
}
