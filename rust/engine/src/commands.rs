//! Builds the commands of `spec/log.proto` from what clients ask. A command is encoded once,
//! here; link, inbox and log carry these bytes.

use imfast_wire::frames::client::{Body, Send, write_edited_body};
use imfast_wire::protobuf::{put_bytes, put_message, put_nested, put_number};

/// Who acts, on what, under which key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor<'a> {
    pub tenant: &'a str,
    pub user: &'a str,
    pub key: &'a [u8],
    pub conversation: &'a str,
    /// The server acts itself: rights are not asked for.
    pub by_server: bool,
}

impl Actor<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        put_bytes(out, 1, self.tenant.as_bytes());
        put_bytes(out, 2, self.user.as_bytes());
        put_bytes(out, 3, self.key);
        put_bytes(out, 4, self.conversation.as_bytes());
        put_number(out, 7, u64::from(self.by_server));
    }

    /// A message. `peer` is the other user of a direct conversation where the client named it.
    pub(crate) fn send(&self, peer: &str, send: &Send<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.conversation.len() + send.body.len());
        self.write(&mut out);
        put_nested(&mut out, 8, |out| {
            put_bytes(out, 1, peer.as_bytes());
            put_nested(out, 2, |out| send.write_content(out));
        });
        out
    }

    pub(crate) fn create<S: AsRef<str>>(&self, title: &str, members: &[S], open: bool) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, 9, |out| {
            put_bytes(out, 1, title.as_bytes());
            for member in members {
                put_message(out, 2, member.as_ref().as_bytes());
            }
            put_number(out, 3, u64::from(open));
        });
        out
    }

    pub(crate) fn join(&self) -> Vec<u8> {
        self.bare(10)
    }

    pub(crate) fn leave(&self) -> Vec<u8> {
        self.bare(11)
    }

    fn bare(&self, field: u32) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_message(&mut out, field, &[]);
        out
    }

    pub(crate) fn add<S: AsRef<str>>(&self, users: &[S]) -> Vec<u8> {
        self.many(12, users)
    }

    pub(crate) fn remove<S: AsRef<str>>(&self, users: &[S]) -> Vec<u8> {
        self.many(13, users)
    }

    pub(crate) fn role<S: AsRef<str>>(&self, users: &[S], role: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, 20, |out| {
            for user in users {
                put_message(out, 1, user.as_ref().as_bytes());
            }
            put_bytes(out, 2, role.as_bytes());
        });
        out
    }

    pub(crate) fn mute<S: AsRef<str>>(&self, users: &[S]) -> Vec<u8> {
        self.many(21, users)
    }

    pub(crate) fn unmute<S: AsRef<str>>(&self, users: &[S]) -> Vec<u8> {
        self.many(22, users)
    }

    pub(crate) fn settings(&self, title: Option<&str>, open: Option<bool>) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, 23, |out| {
            if let Some(title) = title {
                put_message(out, 1, title.as_bytes());
            }
            if let Some(open) = open {
                // Present also where it is false.
                out.extend_from_slice(&[2 << 3, u8::from(open)]);
            }
        });
        out
    }

    pub(crate) fn recall(&self, seq: u64) -> Vec<u8> {
        self.change(17, seq, |_| {})
    }

    pub(crate) fn edit(&self, seq: u64, body: &Body<'_>) -> Vec<u8> {
        self.change(18, seq, |out| write_edited_body(out, body))
    }

    pub(crate) fn react(&self, seq: u64, reaction: &str, remove: bool) -> Vec<u8> {
        self.change(19, seq, |out| {
            put_bytes(out, 14, reaction.as_bytes());
            put_number(out, 15, u64::from(remove));
        })
    }

    /// Something done to message `seq`; `content` are fields of the event that tells of it.
    fn change(&self, field: u32, seq: u64, content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, field, |out| {
            put_number(out, 1, seq);
            put_nested(out, 2, content);
        });
        out
    }

    fn many<S: AsRef<str>>(&self, field: u32, users: &[S]) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, field, |out| {
            for user in users {
                put_message(out, 1, user.as_ref().as_bytes());
            }
        });
        out
    }

    /// `device` acknowledged everything up to `seq`.
    pub(crate) fn ack(&self, device: &str, seq: u64) -> Vec<u8> {
        self.cursor(14, device, seq)
    }

    /// The user read everything up to `seq`.
    pub(crate) fn read(&self, seq: u64) -> Vec<u8> {
        self.cursor(15, "", seq)
    }

    fn cursor(&self, field: u32, device: &str, seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        put_nested(&mut out, field, |out| {
            put_number(out, 1, seq);
            put_bytes(out, 2, device.as_bytes());
        });
        out
    }
}
