//! Rows: the protobuf bytes of `imfast.v1.Message` and `imfast.v1.Event`, as the log's owner
//! builds them and as JSON reads them. A row is its prefix (fields 1 to 5) and, after it, the
//! content of the command as it stands in the log.

use crate::protobuf::{Malformed, Reader, Value, put_bytes, put_number};

/// Appends fields 1 to 5, the same in a message and an event. `from` is the sender, or who
/// caused the event. An ephemeral message has neither seq nor id: 0.
pub fn write_row_prefix(
    out: &mut Vec<u8>,
    conversation: &str,
    seq: u64,
    message_id: u64,
    from: &str,
    timestamp_ms: u64,
) {
    put_bytes(out, 1, conversation.as_bytes());
    put_number(out, 2, seq);
    put_number(out, 3, message_id);
    put_bytes(out, 4, from.as_bytes());
    put_number(out, 5, timestamp_ms);
}

/// When a row's message was sent, in milliseconds since 1970; 0 where that is not to be read.
pub fn row_time_ms(row: &[u8]) -> u64 {
    let mut reader = Reader::new(row);
    while let Ok(Some((number, value))) = reader.field() {
        match (number, value) {
            (5, Value::Varint(time)) => return time,
            (1..=4, _) => {}
            _ => break,
        }
    }
    0
}

/// A message's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyView<'a> {
    Json(&'a str),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A message row, read in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageView<'a> {
    pub conversation: &'a str,
    pub seq: u64,
    pub message_id: u64,
    pub from: &'a str,
    pub timestamp_ms: u64,
    /// None in a tombstone.
    pub body: Option<BodyView<'a>>,
    pub content_type: &'a str,
    pub ttl_ms: u64,
    pub silent: bool,
    pub ephemeral: bool,
    /// Seq of the latest edit; 0 without one.
    pub edited_seq: u64,
    has_headers: bool,
    row: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// Reads a row. The last of a repeated field wins, as in every protobuf decoder.
    pub fn parse(row: &'a [u8]) -> Result<Self, Malformed> {
        let mut view = Self {
            row,
            ..Self::default()
        };
        let mut reader = Reader::new(row);
        while let Some((number, value)) = reader.field()? {
            let at = reader.offset();
            match (number, value) {
                (1, Value::Bytes(_)) => view.conversation = value.text(at)?,
                (2, Value::Varint(n)) => view.seq = n,
                (3, Value::Varint(n)) => view.message_id = n,
                (4, Value::Bytes(_)) => view.from = value.text(at)?,
                (5, Value::Varint(n)) => view.timestamp_ms = n,
                (6, Value::Bytes(_)) => view.body = Some(BodyView::Json(value.text(at)?)),
                (7, Value::Bytes(_)) => view.body = Some(BodyView::Text(value.text(at)?)),
                (8, Value::Bytes(bytes)) => view.body = Some(BodyView::Bytes(bytes)),
                (9, Value::Bytes(_)) => view.content_type = value.text(at)?,
                (10, Value::Varint(n)) => view.ttl_ms = n,
                (11, Value::Bytes(header)) => {
                    parse_header(header, at - header.len())?;
                    view.has_headers = true;
                }
                (12, Value::Varint(n)) => view.silent = n != 0,
                (13, Value::Varint(n)) => view.ephemeral = n != 0,
                (14, Value::Varint(n)) => view.edited_seq = n,
                _ => {}
            }
        }
        Ok(view)
    }

    /// Names and values, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let row = if self.has_headers { self.row } else { &[] };
        repeated(row, 11).filter_map(|header| parse_header(header, 0).ok())
    }

    pub fn has_headers(&self) -> bool {
        self.has_headers
    }
}

/// An event row, read in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventView<'a> {
    pub conversation: &'a str,
    pub seq: u64,
    pub message_id: u64,
    pub by: &'a str,
    pub timestamp_ms: u64,
    /// See the table of events in `spec/wire.md`; later versions may add others.
    pub kind: &'a str,
    pub title: &'a str,
    /// The message that the event is about; 0 for none.
    pub ref_seq: u64,
    /// What an edit made of the message.
    pub body: Option<BodyView<'a>>,
    pub content_type: &'a str,
    pub reaction: &'a str,
    /// The reaction was taken back.
    pub withdrawn: bool,
    pub role: &'a str,
    /// Anybody may join, as of this event.
    pub open: bool,
    /// When the message that was edited expires, milliseconds since 1970; 0: never.
    pub expires_ms: u64,
    users: usize,
    row: &'a [u8],
}

impl<'a> EventView<'a> {
    /// Reads a row.
    pub fn parse(row: &'a [u8]) -> Result<Self, Malformed> {
        let mut view = Self {
            row,
            ..Self::default()
        };
        let mut reader = Reader::new(row);
        while let Some((number, value)) = reader.field()? {
            let at = reader.offset();
            match (number, value) {
                (1, Value::Bytes(_)) => view.conversation = value.text(at)?,
                (2, Value::Varint(n)) => view.seq = n,
                (3, Value::Varint(n)) => view.message_id = n,
                (4, Value::Bytes(_)) => view.by = value.text(at)?,
                (5, Value::Varint(n)) => view.timestamp_ms = n,
                (6, Value::Bytes(_)) => view.kind = value.text(at)?,
                (7, Value::Bytes(_)) => {
                    value.text(at)?;
                    view.users += 1;
                }
                (8, Value::Bytes(_)) => view.title = value.text(at)?,
                (9, Value::Varint(n)) => view.ref_seq = n,
                (10, Value::Bytes(_)) => view.body = Some(BodyView::Json(value.text(at)?)),
                (11, Value::Bytes(_)) => view.body = Some(BodyView::Text(value.text(at)?)),
                (12, Value::Bytes(bytes)) => view.body = Some(BodyView::Bytes(bytes)),
                (13, Value::Bytes(_)) => view.content_type = value.text(at)?,
                (14, Value::Bytes(_)) => view.reaction = value.text(at)?,
                (15, Value::Varint(n)) => view.withdrawn = n != 0,
                (16, Value::Bytes(_)) => view.role = value.text(at)?,
                (17, Value::Varint(n)) => view.open = n != 0,
                (18, Value::Varint(n)) => view.expires_ms = n,
                _ => {}
            }
        }
        Ok(view)
    }

    /// The users whom the event is about, in their order.
    pub fn users(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let row = if self.users > 0 { self.row } else { &[] };
        repeated(row, 7).filter_map(|user| std::str::from_utf8(user).ok())
    }

    /// How many users [`Self::users`] gives.
    pub fn user_count(&self) -> usize {
        self.users
    }
}

/// The values of one repeated field. The row was read once before, so nothing in it is malformed.
fn repeated(row: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(row);
    std::iter::from_fn(move || {
        while let Ok(Some((number, value))) = reader.field() {
            if let (true, Value::Bytes(bytes)) = (number == wanted, value) {
                return Some(bytes);
            }
        }
        None
    })
}

/// Name and value of one header; `base` is its offset in the row.
fn parse_header(bytes: &[u8], base: usize) -> Result<(&str, &str), Malformed> {
    let (mut name, mut header) = ("", "");
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match (number, value) {
            (1, Value::Bytes(_)) => name = value.text(base)?,
            (2, Value::Bytes(_)) => header = value.text(base)?,
            _ => {}
        }
    }
    Ok((name, header))
}
