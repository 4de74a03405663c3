//! What users' devices are told that is neither numbered nor repeated: receipts and presence. A newer
//! notice of the same thing takes the place of one that waits for a slow reader.

use crate::connection::Phase;
use crate::engine::Engine;
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::protobuf::{Reader, put_bytes, put_message, put_nested};

/// A push for all devices of some users.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice<'a> {
    pub tenant: &'a str,
    pub users: Vec<&'a str>,
    pub frame: ServerFrame<'a>,
}

impl<'a> Notice<'a> {
    /// Appends the notice as links carry it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, 1, self.tenant.as_bytes());
        for user in &self.users {
            put_message(out, 2, user.as_bytes());
        }
        put_nested(out, 3, |out| proto::encode_server(&self.frame, out));
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (mut tenant, mut users, mut frame) = ("", Vec::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field().ok()? {
            match number {
                1 => tenant = value.text(reader.offset()).ok()?,
                2 => users.push(value.text(reader.offset()).ok()?),
                3 => frame = Some(proto::decode_server(value.bytes()).ok()?),
                _ => {}
            }
        }
        Some(Self {
            tenant,
            users,
            frame: frame?,
        })
    }

    /// What it is about, so that a newer one is known: a kind and up to two ids.
    fn about(&self) -> (u8, &str, &str) {
        match &self.frame.body {
            ServerBody::Receipt {
                conversation, user, ..
            } => (1, conversation, user),
            ServerBody::Presence { items } => (2, items.first().map_or("", |item| &*item.user), ""),
            _ => (0, "", ""),
        }
    }
}

impl Engine {
    /// Brings a notice of a partition that is owned here to its users' devices, on every worker.
    pub(crate) fn notify(&mut self, partition: u16, notice: &Notice<'_>) {
        let here = 1u64 << self.config.worker;
        let mut mask = 0;
        for user in &notice.users {
            let key = self
                .routes
                .user_key(notice.tenant.as_bytes(), user.as_bytes());
            mask |= self.routes.workers(key).0;
        }
        if mask & here != 0 {
            self.notified(notice);
        }
        self.notice_over_links(mask & !here, partition, notice);
    }

    /// Gives a notice to the devices that are connected here.
    pub(crate) fn notified(&mut self, notice: &Notice<'_>) {
        let (kind, of, by) = notice.about();
        let key = self.collapse.notice(kind, &[notice.tenant, of, by]);
        for user in &notice.users {
            let Some(user) = self.find_user(notice.tenant, user) else {
                continue;
            };
            // By index: pushing changes connections, never a user's list of them.
            let mut at = 0;
            while let Some(&slot) = self.users.get(user).and_then(|u| u.sessions.get(at)) {
                at += 1;
                let connection = self.io.connections.get(slot);
                if connection.is_some_and(|c| c.phase == Phase::Connected) {
                    self.io.stats.notices += 1;
                    self.io.push_ephemeral(slot, &notice.frame, || key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_survives_the_link() {
        let notice = Notice {
            tenant: "default",
            users: vec!["alice", "bob"],
            frame: ServerFrame::push(ServerBody::Receipt {
                conversation: "d.x".into(),
                user: "carol".into(),
                delivered_seq: 7,
                read_seq: 0,
            }),
        };
        let mut bytes = Vec::new();
        notice.encode(&mut bytes);
        assert_eq!(Notice::decode(&bytes), Some(notice));
    }
}
