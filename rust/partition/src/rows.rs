//! Rows: the encoded `imfast.v1.Message` or `Event` that is stored, delivered and listed.

use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::protobuf::put_bytes;

/// Fields 1 to 5, which both kinds share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) seq: u64,
    pub(crate) message_id: u64,
    /// `from` of a message, `by` of an event.
    pub(crate) user: &'a str,
    pub(crate) time_ms: u64,
}

impl Prefix<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        let Self {
            conversation,
            seq,
            message_id,
            user,
            time_ms,
        } = *self;
        write_row_prefix(out, conversation, seq, message_id, user, time_ms);
    }
}

/// Writes a message: the prefix, then the content as it stands.
pub(crate) fn put_message(out: &mut Vec<u8>, prefix: Prefix<'_>, content: &[u8]) {
    prefix.put(out);
    out.extend_from_slice(content);
}

/// Writes an event about `users`.
pub(crate) fn put_event<'a>(
    out: &mut Vec<u8>,
    prefix: Prefix<'_>,
    change: &str,
    users: impl Iterator<Item = &'a str>,
    title: &str,
) {
    prefix.put(out);
    put_bytes(out, 6, change.as_bytes());
    for user in users {
        put_bytes(out, 7, user.as_bytes());
    }
    put_bytes(out, 8, title.as_bytes());
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::row::EventView;

    use super::*;

    #[test]
    fn event_reads_as_it_was_written() {
        let prefix = Prefix {
            conversation: "g.x",
            seq: 2,
            message_id: 9,
            user: "alice",
            time_ms: 5,
        };
        let mut row = Vec::new();
        put_event(
            &mut row,
            prefix,
            "joined",
            ["bob", "carol"].into_iter(),
            "t",
        );
        let event = EventView::parse(&row).expect("valid");
        assert_eq!(
            (event.conversation, event.seq, event.message_id),
            ("g.x", 2, 9)
        );
        assert_eq!(
            (event.by, event.timestamp_ms, event.kind, event.title),
            ("alice", 5, "joined", "t")
        );
        assert_eq!(event.users().collect::<Vec<_>>(), ["bob", "carol"]);
    }
}
