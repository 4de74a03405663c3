//! Rows as they are shown: what was recalled or has expired is a tombstone, what was edited has the
//! body of its latest edit. What is stored stays as it was; numbers and senders never change.

use std::io;
use std::sync::Arc;

use imfast_wire::frames::row::EventView;
use imfast_wire::protobuf::{Malformed, Reader, put_bytes, put_message, put_number};

use super::rows::Rows;
use crate::conversation::{Alteration, Row};
use crate::outcome::RowKind;

impl Rows<'_> {
    /// A row's bytes as they are shown; none where they are those that are stored.
    pub(crate) fn shown(&self, seq: u64, row: &Row) -> io::Result<Option<Arc<[u8]>>> {
        let altered = self.conversation.alteration_of(seq);
        if altered.is_none() && self.now_ms < self.first_expiry_ms {
            return Ok(None);
        }
        let bytes = &row.bytes;
        let shown = match row.kind {
            RowKind::Message => {
                let life = Life::of(bytes).map_err(unreadable)?;
                let gone = altered == Some(Alteration::Erased) || life.is_over(self.now_ms);
                match altered {
                    _ if gone && life.prefix == bytes.len() => None,
                    _ if gone => Some(bytes[..life.prefix].to_vec()),
                    Some(Alteration::Edited(edit)) => {
                        let event = self.row(edit)?;
                        let edited = edited(bytes, life, &event.bytes, edit);
                        Some(edited.map_err(unreadable)?)
                    }
                    _ => None,
                }
            }
            RowKind::Event => {
                let event = EventView::parse(bytes).map_err(unreadable)?;
                let over = event.expires_ms != 0 && event.expires_ms <= self.now_ms;
                let gone = altered == Some(Alteration::Erased) || over;
                (gone && event.body.is_some())
                    .then(|| without_body(bytes))
                    .transpose()
                    .map_err(unreadable)?
            }
        };
        Ok(shown.map(Arc::from))
    }
}

fn unreadable(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Who a row is from, or by.
pub(crate) fn author(row: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(row);
    while let Ok(Some((number, value))) = reader.field() {
        if number >= 4 {
            return (number == 4)
                .then(|| value.text(reader.offset()).ok())
                .flatten();
        }
    }
    None
}

/// How long a message lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// Bytes before the content.
    prefix: usize,
    sent_ms: u64,
    ttl_ms: u64,
}

impl Life {
    pub(crate) fn of(message: &[u8]) -> Result<Self, Malformed> {
        let mut life = Self {
            prefix: message.len(),
            sent_ms: 0,
            ttl_ms: 0,
        };
        let mut reader = Reader::new(message);
        let mut start = 0;
        while let Some((number, value)) = reader.field()? {
            match number {
                1..=4 => {}
                5 => life.sent_ms = value.number(),
                _ => {
                    life.prefix = life.prefix.min(start);
                    if number == 10 {
                        life.ttl_ms = value.number();
                    }
                }
            }
            start = reader.offset();
        }
        Ok(life)
    }

    /// When it ends, milliseconds since 1970; 0: never.
    pub(crate) fn end_ms(self) -> u64 {
        match self.ttl_ms {
            0 => 0,
            ttl_ms => self.sent_ms.saturating_add(ttl_ms),
        }
    }

    pub(crate) fn is_over(self, now_ms: u64) -> bool {
        self.ttl_ms != 0 && self.end_ms() <= now_ms
    }
}

/// The message with the body of the event `edit`.
fn edited(message: &[u8], life: Life, event: &[u8], edit: u64) -> Result<Vec<u8>, Malformed> {
    let mut out = message[..life.prefix].to_vec();
    let mut reader = Reader::new(event);
    while let Some((number, value)) = reader.field()? {
        match number {
            10..=12 => put_message(&mut out, number - 4, value.bytes()),
            13 => put_bytes(&mut out, 9, value.bytes()),
            _ => {}
        }
    }
    put_number(&mut out, 10, life.ttl_ms);
    put_number(&mut out, 14, edit);
    Ok(out)
}

fn without_body(event: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(event.len());
    let mut reader = Reader::new(event);
    let mut start = 0;
    while let Some((number, _)) = reader.field()? {
        if !(10..=13).contains(&number) {
            out.extend_from_slice(&event[start..reader.offset()]);
        }
        start = reader.offset();
    }
    Ok(out)
}
