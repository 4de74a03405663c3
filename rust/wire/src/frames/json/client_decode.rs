//! Client frames from JSON.

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use super::client_change::{Change, PresenceFields};
use super::client_group::{GroupFields, Page};
use super::content::Content;
use super::read::{Fields, Object, fill, ignore, maybe_number, number, object, text};
use super::{message_of, offset_of, utf8};
use crate::frames::client::{ClientFrame, Send, Target, Verb};
use crate::frames::{FrameError, MAX_NUMBER, check};

/// Reads one frame, all of `input` but for whitespace.
pub fn decode_client(input: &[u8]) -> Result<ClientFrame<'_>, FrameError> {
    let text = utf8(input)?;
    let (frame, end) = values(text)
        .next()
        .unwrap_or_else(|| (Err(FrameError::malformed(0, "no frame")), text.len()));
    let frame = frame?;
    let rest = &input[end..];
    if rest
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
    {
        Ok(frame)
    } else {
        Err(FrameError {
            id: frame.id,
            ..FrameError::malformed(end, "more than one frame")
        })
    }
}

/// The frames of one WebSocket message, which may be several JSON values one after the other.
/// Each comes with the number of bytes of the message that are read once it is taken. A frame
/// that is not valid does not hide the ones behind it, as long as it is JSON.
pub fn values(message: &str) -> Values<'_> {
    Values { message, offset: 0 }
}

/// See [`values`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    message: &'a str,
    offset: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = (Result<ClientFrame<'a>, FrameError>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.message.get(self.offset..)?;
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Parsed<'a>>();
        let result = match stream.next() {
            None => {
                self.offset = self.message.len();
                return None;
            }
            Some(Ok(parsed)) => {
                let end = stream.byte_offset();
                self.offset += end;
                parsed.0.frame(self.offset)
            }
            Some(Err(error)) => {
                let (error, end) = explain(rest, &error);
                let error = FrameError {
                    offset: error.offset + self.offset,
                    ..error
                };
                self.offset += end;
                Err(error)
            }
        };
        Some((result, self.offset))
    }
}

/// What is wrong with the first value of `text`, and where that value ends. Only this path reads
/// a frame twice.
fn explain(text: &str, error: &serde_json::Error) -> (FrameError, usize) {
    let id = Cell::new(0);
    let mut scan = IdScan(&id);
    let readable = Object(&mut scan).deserialize(&mut serde_json::Deserializer::from_str(text));
    let mut skip = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (offset, message) = (offset_of(text, error), message_of(error));
    let (frame_error, end) = match (readable, skip.next()) {
        (Ok(()), Some(Ok(_))) => (FrameError::invalid(offset, message), skip.byte_offset()),
        _ => (FrameError::malformed(offset, message), text.len()),
    };
    (
        FrameError {
            id: id.get(),
            ..frame_error
        },
        end,
    )
}

/// Looks for the id of a frame that is not valid; what it finds before a fault stays.
struct IdScan<'c>(&'c Cell<u64>);

impl<'de> Fields<'de> for IdScan<'_> {
    const NAME: &'static str = "a frame";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key != "id" {
            return ignore(map);
        }
        let raw: &RawValue = map.next_value()?;
        let id = raw.get().trim_matches('"').parse().unwrap_or(0);
        self.0.set(if id <= MAX_NUMBER { id } else { 0 });
        Ok(())
    }
}

/// A frame as far as its fields say.
#[derive(Default)]
struct Frame<'a> {
    id: u64,
    verb: Option<Verb<'a>>,
    unknown: bool,
}

impl<'a> Frame<'a> {
    fn frame(self, end: usize) -> Result<ClientFrame<'a>, FrameError> {
        let verb = match self.verb {
            Some(verb) => verb,
            None if self.unknown => Verb::Unknown,
            None => {
                return Err(FrameError {
                    id: self.id,
                    ..FrameError::invalid(end, "no verb in the frame")
                });
            }
        };
        Ok(ClientFrame { id: self.id, verb })
    }
}

struct Parsed<'a>(Frame<'a>);

impl<'de> Deserialize<'de> for Parsed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut frame = Frame::default();
        Object(&mut frame).deserialize(deserializer)?;
        Ok(Self(frame))
    }
}

impl<'de> Fields<'de> for Frame<'de> {
    const NAME: &'static str = "a frame";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "id" {
            self.id = number(map, "id")?;
            return Ok(());
        }
        let Some(verb) = map.next_value_seed(Named(key))? else {
            self.unknown = true;
            return Ok(());
        };
        if self.verb.is_some() {
            return Err(A::Error::custom(format_args!(
                "{key}: more than one verb in the frame"
            )));
        }
        self.verb = Some(verb);
        Ok(())
    }
}

/// Reads the fields of the verb `name`, all of `input` but for whitespace; no input is no fields.
/// [`Verb::Unknown`] where there is no such verb.
pub fn decode_verb<'a>(name: &str, input: &'a [u8]) -> Result<Verb<'a>, FrameError> {
    let text = match utf8(input)? {
        "" => "{}",
        text => text,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let verb = Named(name).deserialize(&mut deserializer);
    match verb.and_then(|verb| deserializer.end().map(|()| verb)) {
        Ok(verb) => Ok(verb.unwrap_or(Verb::Unknown)),
        Err(error) => {
            let (offset, message) = (offset_of(text, &error), message_of(&error));
            Err(if error.is_data() {
                FrameError::invalid(offset, message)
            } else {
                FrameError::malformed(offset, message)
            })
        }
    }
}

/// The verb of a name, read from its fields; none of that name: skipped.
struct Named<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = Option<Verb<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let verb = match self.0 {
            "send" => Verb::Send(object::<D, SendFields<'de>>(from)?.send()?),
            "ack" => {
                let cursor: Cursor<'de> = object(from)?;
                Verb::Ack {
                    conversation: cursor.conversation,
                    seq: cursor.seq,
                }
            }
            "read" => {
                let cursor: Cursor<'de> = object(from)?;
                Verb::Read {
                    conversation: cursor.conversation,
                    seq: cursor.seq,
                }
            }
            "ping" => {
                object::<D, Empty>(from)?;
                Verb::Ping
            }
            "connect" => {
                let connect: Connect<'de> = object(from)?;
                Verb::Connect {
                    token: connect.token,
                    device: connect.device,
                    sync: connect.sync,
                }
            }
            "refresh" => {
                let connect: Connect<'de> = object(from)?;
                Verb::Refresh {
                    token: connect.token,
                }
            }
            "history" => object::<D, History<'de>>(from)?.verb()?,
            "conversations" => {
                let page: Page<'de> = object(from)?;
                Verb::Conversations {
                    after: page.after,
                    limit: page.limit,
                }
            }
            "group" => object::<D, GroupFields<'de>>(from)?.verb()?,
            "receipts" => {
                let cursor: Cursor<'de> = object(from)?;
                Verb::Receipts {
                    conversation: cursor.conversation,
                    seq: cursor.seq,
                }
            }
            "recall" | "edit" | "react" => object::<D, Change<'de>>(from)?.verb(self.0)?,
            "presence" => object::<D, PresenceFields<'de>>(from)?.verb()?,
            _ => return IgnoredAny::deserialize(from).map(|_| None),
        };
        Ok(Some(verb))
    }
}

#[derive(Default)]
struct Empty;

impl<'de> Fields<'de> for Empty {
    const NAME: &'static str = "ping";

    fn field<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        ignore(map)
    }
}

#[derive(Default)]
struct Connect<'a> {
    token: Cow<'a, str>,
    device: Cow<'a, str>,
    sync: Cow<'a, str>,
}

impl<'de> Fields<'de> for Connect<'de> {
    const NAME: &'static str = "connect or refresh";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "token" => self.token = text(map, "token")?,
            "device" => self.device = text(map, "connect.device")?,
            "sync" => self.sync = text(map, "connect.sync")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct SendFields<'a> {
    to: TargetFields<'a>,
    key: Cow<'a, str>,
    content: Content<'a>,
}

impl<'a> SendFields<'a> {
    fn send<E: Error>(mut self) -> Result<Send<'a>, E> {
        let body = self.content.take_body().map_err(E::custom)?;
        Ok(Send {
            to: self.to.0.ok_or_else(|| E::custom(check::NO_TARGET))?,
            key: self.key,
            body,
            ttl_ms: self.content.ttl_ms,
            silent: self.content.silent,
            ephemeral: self.content.ephemeral,
            headers: self.content.headers,
        })
    }
}

impl<'de> Fields<'de> for SendFields<'de> {
    const NAME: &'static str = "send";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "to" => fill(map, &mut self.to),
            "key" => {
                self.key = text(map, "send.key")?;
                Ok(())
            }
            _ => self.content.field(key, map),
        }
    }
}

#[derive(Default)]
struct TargetFields<'a>(Option<Target<'a>>);

impl<'de> Fields<'de> for TargetFields<'de> {
    const NAME: &'static str = "send.to";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let target = match key {
            "user" => Target::User(text(map, "send.to.user")?),
            "group" => Target::Group(text(map, "send.to.group")?),
            "conversation" => Target::Conversation(text(map, "send.to.conversation")?),
            _ => return ignore(map),
        };
        if self.0.is_some() {
            return Err(A::Error::custom(check::MANY_TARGETS));
        }
        self.0 = Some(target);
        Ok(())
    }
}

#[derive(Default)]
struct Cursor<'a> {
    conversation: Cow<'a, str>,
    seq: u64,
}

impl<'de> Fields<'de> for Cursor<'de> {
    const NAME: &'static str = "ack, read or receipts";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "conversation")?,
            "seq" => self.seq = number(map, "seq")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct History<'a> {
    conversation: Cow<'a, str>,
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<u32>,
}

impl<'a> History<'a> {
    fn verb<E: Error>(self) -> Result<Verb<'a>, E> {
        if self.before.is_some() && self.after.is_some() {
            return Err(E::custom(check::BEFORE_AND_AFTER));
        }
        Ok(Verb::History {
            conversation: self.conversation,
            before: self.before,
            after: self.after,
            limit: self.limit,
        })
    }
}

impl<'de> Fields<'de> for History<'de> {
    const NAME: &'static str = "history";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "history.conversation")?,
            "before" => self.before = maybe_number(map, "history.before")?,
            "after" => self.after = maybe_number(map, "history.after")?,
            "limit" => self.limit = check::page_limit(number(map, "history.limit")?),
            _ => ignore(map)?,
        }
        Ok(())
    }
}
