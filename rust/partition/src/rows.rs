//! Rows: the encoded `imfast.v1.Message` or `Event` that is stored, delivered and listed.

use imfast_wire::protobuf::{Reader, put_bytes, put_number};

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
        put_bytes(out, 1, self.conversation.as_bytes());
        put_number(out, 2, self.seq);
        put_number(out, 3, self.message_id);
        put_bytes(out, 4, self.user.as_bytes());
        put_number(out, 5, self.time_ms);
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

/// Type and users of an event that `put_event` wrote.
pub(crate) fn read_event(row: &[u8]) -> (&str, Vec<&str>) {
    let mut change = "";
    let mut users = Vec::new();
    let mut reader = Reader::new(row);
    while let Ok(Some((number, value))) = reader.field() {
        match number {
            6 => change = value.text(0).unwrap_or_default(),
            7 => users.extend(value.text(0)),
            _ => {}
        }
    }
    (change, users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_users_and_type_come_back() {
        let prefix = Prefix {
            conversation: "g.x",
            seq: 2,
            message_id: 9,
            user: "alice",
            time_ms: 5,
        };
        let mut row = Vec::new();
        put_event(&mut row, prefix, "joined", ["bob", "carol"].into_iter(), "");
        assert_eq!(read_event(&row), ("joined", vec!["bob", "carol"]));
    }
}
