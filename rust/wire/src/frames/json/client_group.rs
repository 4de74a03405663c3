//! `group` and what it may hold, and the list of conversations, whose pages look alike.

use std::borrow::Cow;

use serde::de::{Error, MapAccess};

use super::read::{Fields, ignore, maybe_flag, number, read, text, texts};
use crate::frames::check;
use crate::frames::client::{Group, Verb};

#[derive(Default)]
pub(super) struct Page<'a> {
    conversation: Cow<'a, str>,
    pub(super) after: Cow<'a, str>,
    pub(super) limit: Option<u32>,
}

impl<'de> Fields<'de> for Page<'de> {
    const NAME: &'static str = "conversations or group.members";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "group.members.conversation")?,
            "after" => self.after = text(map, "after")?,
            "limit" => self.limit = check::page_limit(number(map, "limit")?),
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct GroupFields<'a> {
    action: Option<Group<'a>>,
    unknown: bool,
}

impl<'a> GroupFields<'a> {
    pub(super) fn verb<E: Error>(self) -> Result<Verb<'a>, E> {
        match self.action {
            Some(action) => Ok(Verb::Group(action)),
            None if self.unknown => Ok(Verb::Unknown),
            None => Err(E::custom(check::NO_ACTION)),
        }
    }
}

impl<'de> Fields<'de> for GroupFields<'de> {
    const NAME: &'static str = "group";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let action = match key {
            "create" | "join" | "leave" | "add" | "remove" | "role" | "mute" | "unmute"
            | "settings" => read::<A, Action<'de>>(map)?.group(key),
            "members" => {
                let page: Page<'de> = read(map)?;
                Group::Members {
                    conversation: page.conversation,
                    after: page.after,
                    limit: page.limit,
                }
            }
            _ => {
                self.unknown = true;
                return ignore(map);
            }
        };
        if self.action.is_some() {
            return Err(A::Error::custom(check::MANY_ACTIONS));
        }
        self.action = Some(action);
        Ok(())
    }
}

/// The fields of every action that changes a group.
#[derive(Default)]
struct Action<'a> {
    conversation: Cow<'a, str>,
    key: Cow<'a, str>,
    title: Option<Cow<'a, str>>,
    members: Vec<Cow<'a, str>>,
    users: Vec<Cow<'a, str>>,
    open: Option<bool>,
    role: Cow<'a, str>,
}

impl<'a> Action<'a> {
    fn group(self, name: &str) -> Group<'a> {
        let Self {
            conversation,
            key,
            title,
            members,
            users,
            open,
            role,
        } = self;
        match name {
            "create" => Group::Create {
                key,
                title: title.unwrap_or_default(),
                members,
                open: open.unwrap_or(false),
            },
            "join" => Group::Join { conversation, key },
            "leave" => Group::Leave { conversation, key },
            "add" => Group::Add {
                conversation,
                key,
                users,
            },
            "role" => Group::Role {
                conversation,
                key,
                users,
                role,
            },
            "mute" => Group::Mute {
                conversation,
                key,
                users,
            },
            "unmute" => Group::Unmute {
                conversation,
                key,
                users,
            },
            "settings" => Group::Settings {
                conversation,
                key,
                title,
                open,
            },
            _ => Group::Remove {
                conversation,
                key,
                users,
            },
        }
    }
}

impl<'de> Fields<'de> for Action<'de> {
    const NAME: &'static str = "a group's action";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "conversation" => self.conversation = text(map, "group: conversation")?,
            "key" => self.key = text(map, "group: key")?,
            "title" => self.title = Some(text(map, "group: title")?),
            "members" => self.members = texts(map, "group.create.members")?,
            "users" => self.users = texts(map, "group: users")?,
            "open" => self.open = maybe_flag(map, "group: open")?,
            "role" => self.role = text(map, "group.role.role")?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}
