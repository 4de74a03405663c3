//! Messages that are neither stored nor numbered: checked against committed membership and
//! delivered at once, past queue, log and watermark.

use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::origin::{Origin, Sender};
use crate::refusals::refusal;
use imfast_partition::{Audience, Who};
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::ServerBody;
use imfast_wire::protobuf::{Reader, Value};
use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};

impl Engine {
    /// Serves a message that is neither stored nor numbered.
    pub(crate) fn send_ephemeral(
        &mut self,
        partition: u16,
        message: &Ephemeral<'_>,
        sender: Sender,
        origin: Origin,
    ) {
        let timestamp_ms = self.wall_ms;
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return self.unavailable(partition, origin);
        };
        let who = Who {
            tenant: message.tenant,
            user: message.user,
            by_server: false,
        };
        let found = if message.peer.is_empty() {
            owned
                .partition
                .may_send(who, message.conversation)
                .and_then(|found| {
                    owned.partition.count_ephemeral(&found, timestamp_ms)?;
                    Ok(Some(found.audience))
                })
        } else {
            let to = (message.peer, message.conversation);
            let allowed = owned.partition.may_send_to_peer(who, to.0, to.1);
            allowed.map(|()| None)
        };
        let audience = match found {
            Ok(found) => found,
            Err(refused) => return self.answer(partition, origin, refusal(refused)),
        };
        let direct = match &audience {
            None => Some((message.user, message.peer)),
            Some(Audience::Direct { a, b }) => Some((&**a, &**b)),
            Some(Audience::Group) => None,
        };
        let conversation = message.conversation;
        let workers = |key| self.routes.workers(key).0;
        let mask = if let Some([a, b]) = message.routes {
            workers(a) | workers(b)
        } else if let Some((a, b)) = direct {
            workers(self.routes.user_key(message.tenant, a.as_bytes()))
                | workers(self.routes.user_key(message.tenant, b.as_bytes()))
        } else {
            workers(
                self.routes
                    .group_key(message.tenant, conversation.as_bytes()),
            )
        };
        let mut row = self.io.pool.take();
        write_row_prefix(&mut row, conversation, 0, 0, message.user, timestamp_ms);
        row.extend_from_slice(message.content);
        let arrival = Arrival {
            partition,
            tenant: std::str::from_utf8(message.tenant).unwrap_or(""),
            conversation,
            row: &row,
            direct,
            ..Arrival::default()
        };
        let here = 1u64 << self.config.worker;
        if mask & here != 0 {
            let exclude = (sender.worker == self.config.worker).then_some(sender.handle);
            self.groups.born_ms = timestamp_ms;
            self.arrive(&arrival, exclude);
        }
        self.ephemeral_over_links(mask & !here, &arrival, sender);
        self.io.pool.give(row);
        let body = unnumbered(conversation, partition, timestamp_ms);
        self.answer(partition, origin, body);
    }
}

/// The answer to a message that is neither stored nor numbered.
pub(crate) fn unnumbered(conversation: &str, partition: u16, timestamp_ms: u64) -> ServerBody<'_> {
    ServerBody::Sent {
        conversation: Cow::Borrowed(conversation),
        seq: 0,
        message_id: 0,
        partition,
        position: 0,
        timestamp_ms,
        duplicate: false,
    }
}

/// Keys by which a newer ephemeral message replaces an older one in the queue of a slow connection:
/// one for each conversation, sender and content type. Seeded, so that nobody can aim at the keys
/// of others.
#[derive(Default)]
pub(crate) struct Collapse(RandomState);

impl Collapse {
    pub(crate) fn key(&self, arrival: &Arrival<'_>) -> u64 {
        /// Fields of `Message` in `spec/imfast.proto`.
        const FROM: u32 = 4;
        const CONTENT_TYPE: u32 = 9;
        let (mut from, mut content_type): (&[u8], &[u8]) = (&[], &[]);
        let mut reader = Reader::new(arrival.row);
        while let Ok(Some((number, value))) = reader.field() {
            match number {
                FROM => from = value.bytes(),
                CONTENT_TYPE => content_type = value.bytes(),
                _ => {}
            }
        }
        let mut hasher = self.0.build_hasher();
        let parts = [
            arrival.tenant.as_bytes(),
            arrival.conversation.as_bytes(),
            from,
            content_type,
        ];
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }

    /// The key of a notice, by its kind and the ids that it is about.
    pub(crate) fn notice(&self, kind: u8, about: &[&str]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u8(kind);
        for part in about {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }
}

/// An ephemeral message: of a connection here, or of an encoded send that a link brought.
#[derive(Default)]
pub(crate) struct Ephemeral<'a> {
    pub tenant: &'a [u8],
    pub user: &'a str,
    pub conversation: &'a str,
    /// The other user of a direct conversation where the client named it.
    pub peer: &'a str,
    /// Fields 6 to 13 of a `Message`.
    pub content: &'a [u8],
    /// Keys of `user` and `peer` in the route table, where they are known already.
    pub routes: Option<[u64; 2]>,
}

impl<'a> Ephemeral<'a> {
    pub(crate) fn parse(command: &'a [u8]) -> Self {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or("");
        let mut parts = Self::default();
        let mut reader = Reader::new(command);
        while let Ok(Some((number, Value::Bytes(bytes)))) = reader.field() {
            match number {
                1 => parts.tenant = bytes,
                2 => parts.user = text(bytes),
                4 => parts.conversation = text(bytes),
                8 => {
                    let mut inner = Reader::new(bytes);
                    while let Ok(Some((number, Value::Bytes(bytes)))) = inner.field() {
                        match number {
                            1 => parts.peer = text(bytes),
                            2 => parts.content = bytes,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        parts
    }
}
