//! Groups: creating them and changing who is in.

use hashbrown::{HashMap, HashSet};
use imfast_wire::frames::id::{self, EVERYBODY};

use super::Fold;
use super::overlay::{GroupChanges, Pending, Standing, since_record};
use super::plan::{ChangeKind, EventPlan, Plan};
use crate::command::{self, Command, Create, field};
use crate::conversation::{Conversation, Shape};
use crate::hash::KeyHash;
use crate::members::Role;
use crate::outcome::{Outcome, Refused};

/// A change of an existing group whose rights are yet to be checked.
pub(super) struct Asked<'a> {
    pub(super) conversation: u32,
    /// None: nobody of that name has been in any conversation.
    user: Option<u32>,
    pub(super) role: Option<Role>,
    open: bool,
    key: Option<(KeyHash, u64)>,
    pub(super) command: &'a Command<'a>,
}

impl Fold {
    pub(super) fn plan_create(&mut self, command: &Command<'_>) -> Result<Plan, Refused> {
        let create = Create::parse(command.body).map_err(|_| Refused::Malformed)?;
        let key = core::str::from_utf8(command.key).map_err(|_| Refused::Malformed)?;
        if key.is_empty() {
            return Err(Refused::Malformed);
        }
        let named = if command.by_server {
            id::list_conversation(command.tenant, key)
        } else {
            id::group_conversation(command.tenant, command.user, key)
        };
        if named != command.conversation {
            return Err(Refused::WrongConversation);
        }
        self.check_partition(command.tenant, command.conversation)?;
        let payload = self.state.hashes.payload(field::CREATE, command.body);
        let known = self
            .state
            .find_tenant(command.tenant)
            .and_then(|tenant| self.state.find_conversation(tenant, command.conversation));
        if let Some(conversation) = known {
            return self.repeat_create(conversation, payload);
        }
        if create.title.len() > self.config.limits.title_bytes_max && !self.batch.replay {
            return Err(Refused::TooLarge);
        }
        self.check_users(&create.members)?;
        if create.members.len() >= self.config.limits.group_members_max && !self.batch.replay {
            return Err(Refused::GroupFull);
        }

        let tenant = self.state.intern_tenant(command.tenant);
        let creator = self.state.intern_user(tenant, command.user);
        let record = self.batch.records.len();
        let since = since_record(record);
        let mut users = vec![creator];
        let mut standings = HashMap::with_capacity(create.members.len() + 1);
        standings.insert(
            creator,
            Standing {
                role: Some(Role::Owner),
                since,
                muted: false,
            },
        );
        for name in create.members {
            let user = self.state.intern_user(tenant, name);
            standings.entry(user).or_insert_with(|| {
                users.push(user);
                Standing {
                    role: Some(Role::Member),
                    since,
                    muted: false,
                }
            });
        }
        let shape = Shape::Group {
            title: create.title.into(),
            open: create.open,
            owner: Some(creator),
            create: payload,
        };
        let entry = Conversation::new(tenant, shape);
        let conversation = self.state.add_conversation(command.conversation, entry);
        let count = users.len();
        let changes = GroupChanges {
            owner: Some(creator),
            count,
            settings: None,
            standings,
        };
        self.batch.overlay.groups.insert(conversation, changes);
        self.batch
            .overlay
            .created
            .insert(conversation, self.batch.plans.len() as u32);
        let record = self.push_event_record(conversation, command.message_id);
        Ok(Plan::Event(Box::new(EventPlan {
            record,
            by: creator,
            change: ChangeKind::Created,
            users,
            new_owner: Some(creator),
            role: None,
            settings: None,
            key: None,
        })))
    }

    fn repeat_create(&self, conversation: u32, payload: u64) -> Result<Plan, Refused> {
        match &self.state.conversation(conversation).shape {
            Shape::Group { create, .. } if *create == payload => {
                if let Some(&command) = self.batch.overlay.created.get(&conversation) {
                    return Ok(Plan::Repeat(command));
                }
                let conversation = self.state.conversation_id(conversation).clone();
                Ok(Plan::Settled(Outcome::Group {
                    conversation,
                    seq: 1,
                }))
            }
            _ => Err(Refused::Conflict),
        }
    }

    /// Join, leave, add and remove.
    pub(super) fn plan_change(&mut self, command: &Command<'_>) -> Result<Plan, Refused> {
        let tenant = self
            .state
            .find_tenant(command.tenant)
            .ok_or(Refused::NotAMember)?;
        let conversation = self
            .state
            .find_conversation(tenant, command.conversation)
            .ok_or(Refused::NotAMember)?;
        let mut key = None;
        if !command.key.is_empty() {
            let hashes = &self.state.hashes;
            let hash = hashes.key(
                command.tenant,
                command.conversation,
                command.user,
                command.key,
            );
            let payload = hashes.payload(command.kind, command.body);
            if let Some(repeat) = self.find_repeat(conversation, hash, payload)? {
                return Ok(repeat);
            }
            key = Some((hash, payload));
        }
        if command.conversation == EVERYBODY {
            return Err(Refused::Malformed);
        }
        let user = self.state.find_user(tenant, command.user);
        let role = user.and_then(|user| self.role(conversation, user));
        let Some((_, open)) = self.settings_of(conversation) else {
            return Err(role.map_or(Refused::NotAMember, |_| Refused::Malformed));
        };
        if role.is_some() && !command.by_server {
            self.over_group_rate(conversation)?;
        }
        let asked = Asked {
            conversation,
            user,
            role,
            open,
            key,
            command,
        };
        match command.kind {
            field::JOIN => self.plan_join(&asked),
            field::LEAVE => self.plan_leave(&asked),
            field::ADD => self.plan_add(&asked),
            field::ROLE => self.plan_role(&asked),
            field::MUTE | field::UNMUTE => self.plan_mute(&asked),
            field::SETTINGS => self.plan_settings(&asked),
            _ => self.plan_remove(&asked),
        }
    }

    /// The first result under a key, in this batch or the window.
    fn find_repeat(
        &self,
        conversation: u32,
        key: KeyHash,
        payload: u64,
    ) -> Result<Option<Plan>, Refused> {
        if self.batch.replay {
            return Ok(None);
        }
        let (plan, first_payload) = if let Some(first) = self.batch.overlay.keys.get(&key) {
            (Plan::Repeat(first.command), first.payload)
        } else {
            let keys = &self.state.command_keys;
            match keys.find(key, self.batch.time_ms, &self.config.limits) {
                None => return Ok(None),
                Some(first) => {
                    let conversation = self.state.conversation_id(conversation).clone();
                    let outcome = Outcome::Group {
                        conversation,
                        seq: first.seq,
                    };
                    (Plan::Settled(outcome), first.payload)
                }
            }
        };
        if first_payload == payload {
            Ok(Some(plan))
        } else {
            Err(Refused::Conflict)
        }
    }

    fn plan_join(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        if asked.role.is_some() {
            return Ok(Plan::Unchanged { conversation });
        }
        if !asked.open {
            return Err(Refused::NotAMember);
        }
        self.check_room(conversation, 1)?;
        let tenant = self.state.conversation(conversation).tenant;
        let user = self.state.intern_user(tenant, asked.command.user);
        Ok(self.let_in(asked, user, vec![user]))
    }

    fn plan_leave(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let (Some(user), Some(role)) = (asked.user, asked.role) else {
            return Err(Refused::NotAMember);
        };
        let heir = match role {
            Role::Owner => self.inherit(asked.conversation, &[user]),
            Role::Admin | Role::Member => None,
        };
        Ok(self.let_out(asked, ChangeKind::Left, user, vec![user], heir))
    }

    fn plan_add(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        check_manager(asked)?;
        let names = command::users(asked.command.body).map_err(|_| Refused::Malformed)?;
        self.check_named(&names)?;
        let tenant = self.state.conversation(conversation).tenant;
        let mut seen = HashSet::with_capacity(names.len());
        let mut new_names = Vec::new();
        for name in names {
            let user = self.state.find_user(tenant, name);
            let is_in = user.is_some_and(|user| self.role(conversation, user).is_some());
            if !is_in && seen.insert(name) {
                new_names.push(name);
            }
        }
        if new_names.is_empty() {
            return Ok(Plan::Unchanged { conversation });
        }
        self.check_room(conversation, new_names.len())?;
        let users = new_names
            .iter()
            .map(|name| self.state.intern_user(tenant, name))
            .collect();
        let by = self.actor(asked);
        Ok(self.let_in(asked, by, users))
    }

    fn plan_remove(&mut self, asked: &Asked<'_>) -> Result<Plan, Refused> {
        let conversation = asked.conversation;
        check_manager(asked)?;
        let names = command::users(asked.command.body).map_err(|_| Refused::Malformed)?;
        self.check_named(&names)?;
        let tenant = self.state.conversation(conversation).tenant;
        let mut seen = HashSet::with_capacity(names.len());
        let mut users = Vec::new();
        let mut owner_goes = false;
        for name in names {
            let Some(user) = self.state.find_user(tenant, name) else {
                continue;
            };
            match self.role(conversation, user) {
                Some(Role::Owner) if !asked.command.by_server => return Err(Refused::NotAllowed),
                Some(role) if seen.insert(user) => {
                    owner_goes |= role == Role::Owner;
                    users.push(user);
                }
                _ => {}
            }
        }
        if users.is_empty() {
            return Ok(Plan::Unchanged { conversation });
        }
        let heir = if owner_goes {
            self.inherit(conversation, &users)
        } else {
            None
        };
        let by = self.actor(asked);
        Ok(self.let_out(asked, ChangeKind::Removed, by, users, heir))
    }

    /// The user that a change is by. Only once it will be made: a refusal leaves no name behind.
    pub(super) fn actor(&mut self, asked: &Asked<'_>) -> u32 {
        match asked.user {
            Some(user) => user,
            None => self.intern_actor(asked.conversation, asked.command),
        }
    }

    /// Gives a group whose owner is among the leavers to who has been in for longest of the others.
    fn inherit(&mut self, conversation: u32, leavers: &[u32]) -> Option<u32> {
        let heir = self.longest_standing(conversation, leavers);
        self.group_changes(conversation).owner = heir.map(|(heir, _)| heir);
        let (heir, since) = heir?;
        let muted = self.is_muted(conversation, heir);
        self.group_changes(conversation).standings.insert(
            heir,
            Standing {
                role: Some(Role::Owner),
                since,
                muted,
            },
        );
        Some(heir)
    }

    /// Members from the next record on. Who enters an empty group owns it.
    fn let_in(&mut self, asked: &Asked<'_>, by: u32, users: Vec<u32>) -> Plan {
        let since = since_record(self.batch.records.len());
        let muted: Vec<bool> = users
            .iter()
            .map(|&user| self.is_muted(asked.conversation, user))
            .collect();
        let changes = self.group_changes(asked.conversation);
        let new_owner = if changes.count == 0 {
            users.first().copied()
        } else {
            None
        };
        changes.owner = new_owner.or(changes.owner);
        changes.count += users.len();
        for (&user, muted) in users.iter().zip(muted) {
            let role = if new_owner == Some(user) {
                Role::Owner
            } else {
                Role::Member
            };
            changes.standings.insert(
                user,
                Standing {
                    role: Some(role),
                    since,
                    muted,
                },
            );
        }
        self.event(asked, ChangeKind::Joined, by, users, new_owner)
    }

    fn let_out(
        &mut self,
        asked: &Asked<'_>,
        change: ChangeKind,
        by: u32,
        users: Vec<u32>,
        new_owner: Option<u32>,
    ) -> Plan {
        for &user in &users {
            let muted = self.is_muted(asked.conversation, user);
            let standing = Standing {
                role: None,
                since: 0,
                muted,
            };
            let changes = self.group_changes(asked.conversation);
            changes.standings.insert(user, standing);
            changes.count -= 1;
        }
        self.event(asked, change, by, users, new_owner)
    }

    pub(super) fn event(
        &mut self,
        asked: &Asked<'_>,
        change: ChangeKind,
        by: u32,
        users: Vec<u32>,
        new_owner: Option<u32>,
    ) -> Plan {
        if let Some((key, payload)) = asked.key {
            let command = self.batch.plans.len() as u32;
            self.batch
                .overlay
                .keys
                .insert(key, Pending { command, payload });
        }
        let record = self.push_event_record(asked.conversation, asked.command.message_id);
        Plan::Event(Box::new(EventPlan {
            record,
            by,
            change,
            users,
            new_owner,
            role: None,
            settings: None,
            key: asked.key,
        }))
    }

    /// Who inherits a group when `leavers` go: who has been in for longest, and of several the
    /// first by name. Returns the `since` too.
    fn longest_standing(&self, conversation: u32, leavers: &[u32]) -> Option<(u32, u64)> {
        let changed = self.batch.overlay.groups.get(&conversation);
        let members = self.state.conversation(conversation).members.all().iter();
        let unchanged = members
            .filter(|member| member.is_in())
            .filter(|member| !changed.is_some_and(|c| c.standings.contains_key(&member.user)))
            .map(|member| (member.user, member.joined));
        let changed = changed.into_iter().flat_map(|changes| &changes.standings);
        let changed = changed
            .filter(|(_, standing)| standing.role.is_some())
            .map(|(&user, standing)| (user, standing.since));
        unchanged
            .chain(changed)
            .filter(|(user, _)| !leavers.contains(user))
            .min_by_key(|&(user, since)| (since, self.state.user_name(user)))
    }

    fn check_users(&self, names: &[&str]) -> Result<(), Refused> {
        if !self.batch.replay && names.len() > self.config.limits.users_per_command_max {
            return Err(Refused::TooLarge);
        }
        let all_are_names = names.iter().all(|name| id::check(name).is_ok());
        if all_are_names {
            Ok(())
        } else {
            Err(Refused::Malformed)
        }
    }

    pub(super) fn check_named(&self, names: &[&str]) -> Result<(), Refused> {
        if names.is_empty() {
            Err(Refused::Malformed)
        } else {
            self.check_users(names)
        }
    }

    fn check_room(&self, conversation: u32, more: usize) -> Result<(), Refused> {
        let count = match self.batch.overlay.groups.get(&conversation) {
            Some(changes) => changes.count,
            None => self.state.conversation(conversation).members.current(),
        };
        let full = count + more > self.config.limits.group_members_max;
        if full && !self.batch.replay {
            Err(Refused::GroupFull)
        } else {
            Ok(())
        }
    }
}

/// The asking user, if allowed to add and remove. The server acting itself may, as whoever it says.
pub(super) fn check_manager(asked: &Asked<'_>) -> Result<(), Refused> {
    match asked.role {
        _ if asked.command.by_server => Ok(()),
        Some(role) if role.may_manage() => Ok(()),
        Some(_) => Err(Refused::NotAllowed),
        None => Err(Refused::NotAMember),
    }
}
