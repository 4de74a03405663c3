//! What members may do, and how a group is called.

use std::sync::Arc;

use super::Fold;
use super::group::{Asked, check_manager};
use super::overlay::Standing;
use super::plan::{ChangeKind, Plan};
use crate::command::{self, field};
use crate::conversation::Shape;
use crate::members::Role;
use crate::outcome::Refused;

impl Fold {
    /// Title and openness of a group as of this point of the batch; none for what is no group.
    pub(super) fn settings_of(&self, conversation: u32) -> Option<(Arc<str>, bool)> {
        let changed = self.batch.overlay.groups.get(&conversation);
        if let Some(settings) = changed.and_then(|changes| changes.settings.clone()) {
            return Some(settings);
        }
        match &self.state.conversation(conversation).shape {
            Shape::Group { title, open, .. } => Some((title.clone(), *open)),
            Shape::Direct { .. } => None,
        }
    }

    /// The owner makes members admins, admins members, or one of them the owner; he stays as admin.
    pub(super) fn plan_role(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        check_manager(asked)?;
        if asked.role != Some(Role::Owner) && !asked.command.by_server {
            return Err(Refused::NotAllowed);
        }
        let (names, role) = command::roles(asked.command.body).map_err(|_| Refused::Malformed)?;
        let role = Role::from_name(role).ok_or(Refused::Malformed)?;
        let users = self.members_named(asked, &names, |held| held != role)?;
        // An owner is followed by another one, and by nobody else.
        let owner = self.group_changes(conversation).owner;
        let replaced = owner.is_some_and(|owner| users.contains(&owner));
        if replaced || (role == Role::Owner && users.len() > 1) {
            return Err(Refused::NotAllowed);
        }
        if users.is_empty() {
            return Ok(Plan::Unchanged { conversation });
        }
        for &user in &users {
            self.stand(conversation, user, Some(role), None);
        }
        let mut new_owner = None;
        if role == Role::Owner {
            new_owner = users.first().copied();
            if let Some(owner) = owner {
                self.stand(conversation, owner, Some(Role::Admin), None);
            }
            self.group_changes(conversation).owner = new_owner;
        }
        let by = self.actor(asked);
        let mut plan = self.event(asked, ChangeKind::Role, by, users, new_owner);
        if let Plan::Event(event) = &mut plan {
            event.role = Some(role);
        }
        Ok(plan)
    }

    /// Managers take the right to write from those below them, and give it back.
    pub(super) fn plan_mute(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        check_manager(asked)?;
        let muted = asked.command.kind == field::MUTE;
        let names = command::users(asked.command.body).map_err(|_| Refused::Malformed)?;
        let mut users = self.members_named(asked, &names, |_| true)?;
        for &user in &users {
            if self.role(conversation, user) >= asked.role && !asked.command.by_server {
                return Err(Refused::NotAllowed);
            }
        }
        users.retain(|&user| self.is_muted(conversation, user) != muted);
        if users.is_empty() {
            return Ok(Plan::Unchanged { conversation });
        }
        for &user in &users {
            self.stand(conversation, user, None, Some(muted));
        }
        let change = if muted {
            ChangeKind::Muted
        } else {
            ChangeKind::Unmuted
        };
        let by = self.actor(asked);
        Ok(self.event(asked, change, by, users, None))
    }

    pub(super) fn plan_settings(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        check_manager(asked)?;
        let (title, open) =
            command::settings(asked.command.body).map_err(|_| Refused::Malformed)?;
        let too_long = title.is_some_and(|t| t.len() > self.config.limits.title_bytes_max);
        if too_long && !self.batch.replay {
            return Err(Refused::TooLarge);
        }
        let Some((old_title, old_open)) = self.settings_of(conversation) else {
            return Err(Refused::Malformed);
        };
        let title = title.map_or_else(|| old_title.clone(), Arc::from);
        let open = open.unwrap_or(old_open);
        if title == old_title && open == old_open {
            return Ok(Plan::Unchanged { conversation });
        }
        self.group_changes(conversation).settings = Some((title.clone(), open));
        let by = self.actor(asked);
        let mut plan = self.event(asked, ChangeKind::Settings, by, Vec::new(), None);
        if let Plan::Event(event) = &mut plan {
            event.settings = Some((title, open));
        }
        Ok(plan)
    }

    /// The current members of a list of names whose role `wanted` wants, each once.
    fn members_named(
        &self,
        asked: &Asked<'_>,
        names: &[&str],
        wanted: impl Fn(Role) -> bool,
    ) -> Result<Vec<u32>, Refused> {
        self.check_named(names)?;
        let tenant = self.state.conversation(asked.conversation).tenant;
        let mut users = Vec::with_capacity(names.len());
        for name in names {
            let Some(user) = self.state.find_user(tenant, name) else {
                continue;
            };
            let role = self.role(asked.conversation, user);
            if role.is_some_and(&wanted) && !users.contains(&user) {
                users.push(user);
            }
        }
        Ok(users)
    }

    /// Changes how a member stands; none: as it was.
    fn stand(&mut self, conversation: u32, user: u32, role: Option<Role>, muted: Option<bool>) {
        let members = &self.state.conversation(conversation).members;
        let since = match self.batch.overlay.standing(conversation, user) {
            Some(standing) => standing.since,
            None => members.find(user).map_or(0, |member| member.joined),
        };
        let standing = Standing {
            role: role.or_else(|| self.role(conversation, user)),
            since,
            muted: muted.unwrap_or_else(|| self.is_muted(conversation, user)),
        };
        let changes = self.group_changes(conversation);
        changes.standings.insert(user, standing);
    }
}
