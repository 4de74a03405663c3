//! What is done to a message that stands: recall, edit, react. And `presence`.

use std::borrow::Cow;

use serde::de::{Error, MapAccess};

use super::content::Content;
use super::read::{Fields, flag, ignore, number, read, text, texts};
use crate::frames::check;
use crate::frames::client::{Presence, Verb};

/// The fields of the three.
#[derive(Default)]
pub(super) struct Change<'a> {
    conversation: Cow<'a, str>,
    seq: u64,
    key: Cow<'a, str>,
    reaction: Cow<'a, str>,
    remove: bool,
    content: Content<'a>,
}

impl<'a> Change<'a> {
    pub(super) fn verb<E: Error>(mut self, name: &str) -> Result<Verb<'a>, E> {
        let (conversation, seq, key) = (self.conversation, self.seq, self.key);
        Ok(match name {
            "recall" => Verb::Recall {
                conversation,
                seq,
                key,
            },
            "edit" => Verb::Edit {
                conversation,
                seq,
                key,
                body: self.content.take_body().map_err(E::custom)?,
            },
            _ => Verb::React {
                conversation,
                seq,
                key,
                reaction: self.reaction,
                remove: self.remove,
            },
        })
    }
}

impl<'de> Fields<'de> for Change<'de> {
    const NAME: &'static str = "recall, edit or react";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "conversation")?,
            "seq" => self.seq = number(map, "seq")?,
            "key" => self.key = text(map, "key")?,
            "reaction" => self.reaction = text(map, "react.reaction")?,
            "remove" => self.remove = flag(map, "react.remove")?,
            "json" | "text" | "base64" | "contentType" => self.content.field(key, map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct PresenceFields<'a> {
    action: Option<Presence<'a>>,
    unknown: bool,
}

impl<'a> PresenceFields<'a> {
    pub(super) fn verb<E: Error>(self) -> Result<Verb<'a>, E> {
        match self.action {
            Some(action) => Ok(Verb::Presence(action)),
            None if self.unknown => Ok(Verb::Unknown),
            None => Err(E::custom(check::NO_PRESENCE)),
        }
    }
}

impl<'de> Fields<'de> for PresenceFields<'de> {
    const NAME: &'static str = "presence";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let action = match key {
            "subscribe" => Presence::Subscribe {
                users: read::<A, Said<'de>>(map)?.users,
            },
            "unsubscribe" => Presence::Unsubscribe {
                users: read::<A, Said<'de>>(map)?.users,
            },
            "set" => Presence::Set {
                status: read::<A, Said<'de>>(map)?.status,
            },
            _ => {
                self.unknown = true;
                return ignore(map);
            }
        };
        if self.action.is_some() {
            return Err(A::Error::custom(check::MANY_PRESENCES));
        }
        self.action = Some(action);
        Ok(())
    }
}

#[derive(Default)]
struct Said<'a> {
    users: Vec<Cow<'a, str>>,
    status: Cow<'a, str>,
}

impl<'de> Fields<'de> for Said<'de> {
    const NAME: &'static str = "an action of presence";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "users" => self.users = texts(map, "presence: users")?,
            "status" => self.status = text(map, "presence.set.status")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
