//! Questions to the owner of a partition, as they travel on a link, and the one answer that is
//! not a client frame: a page of a catch-up.

use imfast_wire::protobuf::{Malformed, Reader, put_bytes, put_message, put_number};

/// Who asks, and what. Answered from committed state only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub tenant: String,
    pub user: String,
    /// The server asks itself: rights are not asked for.
    pub by_server: bool,
    pub kind: QueryKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueryKind {
    History {
        conversation: String,
        before: Option<u64>,
        after: Option<u64>,
        limit: u32,
    },
    Conversations {
        device: String,
        after: String,
        limit: u32,
    },
    Members {
        conversation: String,
        after: String,
        limit: u32,
    },
    /// How many have a message.
    Receipts { conversation: String, seq: u64 },
    /// The next rows of a catch-up. `from` is opaque: what an earlier page called `next`.
    CatchUp {
        device: String,
        from: Vec<u8>,
        rows: u32,
        bytes: u32,
    },
}

impl Query {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, 1, self.tenant.as_bytes());
        put_bytes(out, 2, self.user.as_bytes());
        let (kind, text, other, a, b, limit) = match &self.kind {
            QueryKind::History {
                conversation,
                before,
                after,
                limit,
            } => {
                // 0 stands for "not given" after adding one. No seq is so large that the last number
                // could not stand for the one before it.
                (
                    1,
                    conversation.as_str(),
                    "",
                    before.map_or(0, |n| n.saturating_add(1)),
                    after.map_or(0, |n| n.saturating_add(1)),
                    *limit,
                )
            }
            QueryKind::Conversations {
                device,
                after,
                limit,
            } => (2, device.as_str(), after.as_str(), 0, 0, *limit),
            QueryKind::Members {
                conversation,
                after,
                limit,
            } => (3, conversation.as_str(), after.as_str(), 0, 0, *limit),
            QueryKind::Receipts { conversation, seq } => (5, conversation.as_str(), "", *seq, 0, 0),
            QueryKind::CatchUp {
                device,
                from,
                rows,
                bytes,
            } => {
                put_bytes(out, 9, from);
                (4, device.as_str(), "", u64::from(*bytes), 0, *rows)
            }
        };
        put_number(out, 10, u64::from(self.by_server));
        put_number(out, 3, kind);
        put_bytes(out, 4, text.as_bytes());
        put_bytes(out, 5, other.as_bytes());
        put_number(out, 6, a);
        put_number(out, 7, b);
        put_number(out, 8, u64::from(limit));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (mut tenant, mut user, mut text, mut other) = ("", "", "", "");
        let (mut kind, mut a, mut b, mut limit) = (0, 0, 0, 0);
        let mut from: &[u8] = &[];
        let mut by_server = false;
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => tenant = value.text(reader.offset())?,
                2 => user = value.text(reader.offset())?,
                3 => kind = value.number(),
                4 => text = value.text(reader.offset())?,
                5 => other = value.text(reader.offset())?,
                6 => a = value.number(),
                7 => b = value.number(),
                8 => limit = value.number() as u32,
                9 => from = value.bytes(),
                10 => by_server = value.number() != 0,
                _ => {}
            }
        }
        let (text, other) = (text.to_owned(), other.to_owned());
        let kind = match kind {
            1 => QueryKind::History {
                conversation: text,
                before: a.checked_sub(1),
                after: b.checked_sub(1),
                limit,
            },
            2 => QueryKind::Conversations {
                device: text,
                after: other,
                limit,
            },
            3 => QueryKind::Members {
                conversation: text,
                after: other,
                limit,
            },
            4 => QueryKind::CatchUp {
                device: text,
                from: from.to_owned(),
                rows: limit,
                bytes: a as u32,
            },
            5 => QueryKind::Receipts {
                conversation: text,
                seq: a,
            },
            _ => return Err(Malformed::Tag { offset: 0 }),
        };
        Ok(Self {
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            by_server,
            kind,
        })
    }
}

/// Where a catch-up starts or goes on. Made by gateways, or by an owner for the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// After a position of a sync token.
    Position(u64),
    /// After the device's own cursors.
    Device,
    /// After a page: the position it reached, and whether the device's cursors still count.
    Next { position: u64, by_device: bool },
}

impl From {
    pub(crate) fn encode(self) -> Vec<u8> {
        let (tag, position) = match self {
            Self::Position(position) => (1, position),
            Self::Device => (2, 0),
            Self::Next {
                position,
                by_device: false,
            } => (3, position),
            Self::Next {
                position,
                by_device: true,
            } => (4, position),
        };
        let mut out = vec![tag];
        out.extend_from_slice(&u64::to_le_bytes(position));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let position = u64::from_le_bytes(rest.try_into().ok()?);
        Some(match tag {
            1 => Self::Position(position),
            2 => Self::Device,
            3 => Self::Next {
                position,
                by_device: false,
            },
            4 => Self::Next {
                position,
                by_device: true,
            },
            _ => return None,
        })
    }
}

/// Rows of a catch-up, and the groups of the user as of `through`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Everything of the user's up to this position is in this page or an earlier one, if
    /// `complete`; it is also the owner's committed position then.
    pub through: u64,
    pub complete: bool,
    /// Where the next page goes on; opaque.
    pub next: Vec<u8>,
    /// Conversation ids of the user's current groups, given with a complete page.
    pub groups: Vec<String>,
    /// Whether the row is an event, and its bytes; in position order.
    pub rows: Vec<(bool, Vec<u8>)>,
}

impl Page {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.through);
        put_number(out, 2, u64::from(self.complete));
        put_bytes(out, 3, &self.next);
        for group in &self.groups {
            put_message(out, 4, group.as_bytes());
        }
        for (event, row) in &self.rows {
            put_message(out, if *event { 6 } else { 5 }, row);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut page = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => page.through = value.number(),
                2 => page.complete = value.number() != 0,
                3 => value.bytes().clone_into(&mut page.next),
                4 => page.groups.push(value.text(reader.offset())?.to_owned()),
                5 => page.rows.push((false, value.bytes().to_owned())),
                6 => page.rows.push((true, value.bytes().to_owned())),
                _ => {}
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_survives_its_encoding() {
        let kinds = [
            QueryKind::History {
                conversation: "g.a".into(),
                before: Some(0),
                after: None,
                limit: 5,
            },
            QueryKind::History {
                conversation: "g.a".into(),
                before: None,
                after: Some(7),
                limit: 0,
            },
            QueryKind::Conversations {
                device: String::new(),
                after: "d.x".into(),
                limit: 50,
            },
            QueryKind::Members {
                conversation: "g.b".into(),
                after: String::new(),
                limit: 9,
            },
            QueryKind::Receipts {
                conversation: "g.b".into(),
                seq: 7,
            },
            QueryKind::CatchUp {
                device: "web".into(),
                from: vec![0, 255],
                rows: 100,
                bytes: 65_536,
            },
        ];
        for kind in kinds {
            let query = Query {
                tenant: "default".into(),
                user: "alice".into(),
                by_server: true,
                kind,
            };
            let mut bytes = Vec::new();
            query.encode(&mut bytes);
            assert_eq!(Query::decode(&bytes), Ok(query));
        }
    }

    #[test]
    fn the_largest_seq_of_a_query_stays_a_seq() {
        for (before, after) in [(Some(u64::MAX), None), (None, Some(u64::MAX))] {
            let query = Query {
                tenant: "default".into(),
                user: "alice".into(),
                by_server: false,
                kind: QueryKind::History {
                    conversation: "g.a".into(),
                    before,
                    after,
                    limit: 5,
                },
            };
            let mut bytes = Vec::new();
            query.encode(&mut bytes);
            let Ok(Query {
                kind: QueryKind::History { before, after, .. },
                ..
            }) = Query::decode(&bytes)
            else {
                panic!("another query")
            };
            assert_eq!(before.or(after), Some(u64::MAX - 1));
            assert!(before.is_none() || after.is_none());
        }
    }

    #[test]
    fn a_page_survives_its_encoding() {
        let page = Page {
            through: 9,
            complete: true,
            next: vec![1],
            groups: vec!["g.1".into(), "g.2".into()],
            rows: vec![(false, vec![1, 2]), (true, vec![]), (false, vec![3])],
        };
        let mut bytes = Vec::new();
        page.encode(&mut bytes);
        assert_eq!(Page::decode(&bytes).map(|p| p.rows.len()), Ok(3));
        assert_eq!(Page::decode(&bytes).map(|p| p.groups), Ok(page.groups));
    }
}
