//! The rules of a partition once more, one command after the other, with plain maps and vectors.
//! It knows nothing of batches, but for the cursors that a batch starts with.

use std::collections::BTreeMap;

use imfast_partition::{Refused, Role};

use super::commands::{direct, group};

/// A user is `u` and this number.
pub type User = usize;

pub fn name(user: User) -> String {
    format!("u{user}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Direct(User, User),
    /// Creator and number of the key.
    Group(User, usize),
}

impl Place {
    pub fn id(self) -> String {
        match self {
            Self::Direct(a, b) => direct(&name(a), &name(b)),
            Self::Group(creator, key) => group(&name(creator), &format!("g{key}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// With the peer named.
    Tell {
        user: User,
        peer: User,
        key: usize,
        text: usize,
    },
    Send {
        user: User,
        place: Place,
        key: usize,
        text: usize,
    },
    Create {
        user: User,
        key: usize,
        title: usize,
        members: Vec<User>,
        open: bool,
    },
    Join {
        user: User,
        place: Place,
        key: usize,
    },
    Leave {
        user: User,
        place: Place,
        key: usize,
    },
    Add {
        user: User,
        place: Place,
        key: usize,
        users: Vec<User>,
    },
    Remove {
        user: User,
        place: Place,
        key: usize,
        users: Vec<User>,
    },
    Ack {
        user: User,
        place: Place,
        device: usize,
        seq: u64,
    },
    Read {
        user: User,
        place: Place,
        seq: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    Sent {
        seq: u64,
        position: u64,
        duplicate: bool,
    },
    Group {
        seq: u64,
    },
    Acked,
    Refused(Refused),
}

#[derive(Debug, Clone)]
pub struct ModelRow {
    pub position: u64,
    pub text: String,
    pub is_message: bool,
}

#[derive(Debug, Clone, Default)]
pub struct ModelMember {
    pub role: Option<Role>,
    /// Stays as [first, end); the last is open while a role is held.
    pub stays: Vec<(u64, u64)>,
    pub read: u64,
    pub last_send: u64,
}

impl ModelMember {
    pub fn sees(&self, seq: u64) -> bool {
        self.stays
            .iter()
            .any(|&(first, end)| (first..end).contains(&seq))
    }
}

#[derive(Debug, Clone, Default)]
pub struct ModelConversation {
    pub rows: Vec<ModelRow>,
    pub members: BTreeMap<User, ModelMember>,
    pub open: bool,
    pub created_by: Option<Op>,
}

impl ModelConversation {
    fn head(&self) -> u64 {
        self.rows.len() as u64
    }

    pub fn role(&self, user: User) -> Option<Role> {
        self.members.get(&user).and_then(|member| member.role)
    }

    fn enter(&mut self, user: User, role: Role) {
        let seq = self.head();
        let member = self.members.entry(user).or_default();
        member.role = Some(role);
        member.stays.push((seq, u64::MAX));
    }

    fn exit(&mut self, user: User) {
        let end = self.head() + 1;
        let member = self.members.get_mut(&user).expect("a member");
        member.role = None;
        member.stays.last_mut().expect("a stay").1 = end;
    }
}

type Key = (Place, User, usize);
/// User, device, conversation.
type AckKey = (User, usize, Place);

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub conversations: BTreeMap<Place, ModelConversation>,
    pub position: u64,
    sends: BTreeMap<Key, (usize, u64, u64)>,
    changes: BTreeMap<Key, (Op, u64, u64)>,
    pub acks: BTreeMap<AckKey, u64>,
    pub devices: BTreeMap<(User, usize), u64>,
    batch_acks: BTreeMap<AckKey, u64>,
    batch_reads: BTreeMap<(User, Place), u64>,
    time_ms: u64,
    window_ms: u64,
}

impl Model {
    /// `window_ms` is how long a retry of a membership command is recognised.
    pub fn new(window_ms: u64) -> Self {
        Self {
            window_ms,
            ..Self::default()
        }
    }

    pub fn start_batch(&mut self, time_ms: u64) {
        self.time_ms = time_ms;
        self.batch_acks = self.acks.clone();
        self.batch_reads.clear();
        for (&place, conversation) in &self.conversations {
            for (&user, member) in &conversation.members {
                self.batch_reads.insert((user, place), member.read);
            }
        }
    }

    pub fn apply(&mut self, op: &Op) -> Expected {
        self.try_apply(op).unwrap_or_else(Expected::Refused)
    }

    fn try_apply(&mut self, op: &Op) -> Result<Expected, Refused> {
        match op.clone() {
            Op::Tell {
                user,
                peer,
                key,
                text,
            } => {
                if user == peer {
                    return Err(Refused::Malformed);
                }
                let place = Place::Direct(user.min(peer), user.max(peer));
                self.conversations.entry(place).or_insert_with(|| {
                    let mut conversation = ModelConversation::default();
                    for user in [user, peer] {
                        let member = ModelMember {
                            role: Some(Role::Member),
                            stays: vec![(1, u64::MAX)],
                            ..ModelMember::default()
                        };
                        conversation.members.insert(user, member);
                    }
                    conversation
                });
                self.send(user, place, key, text)
            }
            Op::Send {
                user,
                place,
                key,
                text,
            } => self.send(user, place, key, text),
            Op::Create {
                user,
                key,
                members,
                open,
                ..
            } => {
                let place = Place::Group(user, key);
                if let Some(known) = self.conversations.get(&place) {
                    let same = known.created_by.as_ref() == Some(op);
                    return if same {
                        Ok(Expected::Group { seq: 1 })
                    } else {
                        Err(Refused::Conflict)
                    };
                }
                let mut users = vec![user];
                for member in members {
                    if !users.contains(&member) {
                        users.push(member);
                    }
                }
                let conversation = ModelConversation {
                    open,
                    created_by: Some(op.clone()),
                    ..Default::default()
                };
                self.conversations.insert(place, conversation);
                self.push(place, event(user, "created", &users), false);
                let conversation = self.conversations.get_mut(&place).expect("just made");
                for &member in &users {
                    let role = if member == user {
                        Role::Owner
                    } else {
                        Role::Member
                    };
                    conversation.enter(member, role);
                }
                Ok(Expected::Group { seq: 1 })
            }
            Op::Join { user, place, key } => self.keyed(op, user, place, key, Self::join),
            Op::Leave { user, place, key } => self.keyed(op, user, place, key, Self::leave),
            Op::Add {
                user, place, key, ..
            } => self.keyed(op, user, place, key, Self::add),
            Op::Remove {
                user, place, key, ..
            } => self.keyed(op, user, place, key, Self::remove),
            Op::Ack {
                user,
                place,
                device,
                seq,
            } => {
                self.check_was_in(user, place)?;
                let key = (user, device, place);
                if self.batch_acks.get(&key).is_some_and(|&acked| acked >= seq) {
                    return Ok(Expected::Acked);
                }
                self.position += 1;
                self.devices.entry((user, device)).or_insert(self.position);
                let acked = self.acks.entry(key).or_default();
                *acked = (*acked).max(seq.min(self.conversations[&place].head()));
                Ok(Expected::Acked)
            }
            Op::Read { user, place, seq } => {
                self.check_was_in(user, place)?;
                if self.batch_reads.get(&(user, place)).copied().unwrap_or(0) >= seq {
                    return Ok(Expected::Acked);
                }
                self.position += 1;
                let conversation = self.conversations.get_mut(&place).expect("checked");
                let head = conversation.head();
                let member = conversation.members.get_mut(&user).expect("checked");
                member.read = member.read.max(seq.min(head));
                Ok(Expected::Acked)
            }
        }
    }

    fn check_was_in(&self, user: User, place: Place) -> Result<(), Refused> {
        let known = self.conversations.get(&place).ok_or(Refused::NotAMember)?;
        if known.members.contains_key(&user) {
            Ok(())
        } else {
            Err(Refused::NotAMember)
        }
    }

    fn push(&mut self, place: Place, text: String, is_message: bool) -> u64 {
        self.position += 1;
        let conversation = self.conversations.get_mut(&place).expect("checked");
        conversation.rows.push(ModelRow {
            position: self.position,
            text,
            is_message,
        });
        conversation.head()
    }

    fn send(
        &mut self,
        user: User,
        place: Place,
        key: usize,
        text: usize,
    ) -> Result<Expected, Refused> {
        let role = self
            .conversations
            .get(&place)
            .and_then(|known| known.role(user));
        if let Some(&(first, seq, position)) =
            self.sends.get(&(place, user, key)).filter(|_| key > 0)
        {
            return if first == text {
                Ok(Expected::Sent {
                    seq,
                    position,
                    duplicate: true,
                })
            } else {
                Err(Refused::Conflict)
            };
        }
        role.ok_or(Refused::NotAMember)?;
        let seq = self.push(place, format!("{}: t{text}", name(user)), true);
        let position = self.position;
        self.sends.insert((place, user, key), (text, seq, position));
        let conversation = self.conversations.get_mut(&place).expect("checked");
        conversation
            .members
            .get_mut(&user)
            .expect("checked")
            .last_send = seq;
        Ok(Expected::Sent {
            seq,
            position,
            duplicate: false,
        })
    }

    /// A change of a group, unless it is a retry. `change` gives the event's text, or none where
    /// nothing changes.
    fn keyed(
        &mut self,
        op: &Op,
        user: User,
        place: Place,
        key: usize,
        change: fn(&mut Self, &Op, Place, Option<Role>) -> Result<bool, Refused>,
    ) -> Result<Expected, Refused> {
        let known = self.conversations.get(&place).ok_or(Refused::NotAMember)?;
        let head = known.head();
        let role = known.role(user);
        let first = self.changes.get(&(place, user, key)).filter(|_| key > 0);
        let fresh = first.filter(|(_, _, time_ms)| time_ms + self.window_ms > self.time_ms);
        if let Some((first, seq, _)) = fresh {
            let same = first == op;
            return if same {
                Ok(Expected::Group { seq: *seq })
            } else {
                Err(Refused::Conflict)
            };
        }
        if let Place::Direct(..) = place {
            return Err(role.map_or(Refused::NotAMember, |_| Refused::Malformed));
        }
        if !change(self, op, place, role)? {
            return Ok(Expected::Group { seq: head });
        }
        let seq = self.conversations[&place].head();
        self.changes
            .insert((place, user, key), (op.clone(), seq, self.time_ms));
        Ok(Expected::Group { seq })
    }

    fn join(&mut self, op: &Op, place: Place, role: Option<Role>) -> Result<bool, Refused> {
        let &Op::Join { user, .. } = op else {
            panic!("not a join")
        };
        if role.is_some() {
            return Ok(false);
        }
        if !self.conversations[&place].open {
            return Err(Refused::NotAMember);
        }
        let is_empty = self.conversations[&place]
            .members
            .values()
            .all(|m| m.role.is_none());
        self.push(place, event(user, "joined", &[user]), false);
        let role = if is_empty { Role::Owner } else { Role::Member };
        self.conversations
            .get_mut(&place)
            .expect("checked")
            .enter(user, role);
        Ok(true)
    }

    fn leave(&mut self, op: &Op, place: Place, role: Option<Role>) -> Result<bool, Refused> {
        let &Op::Leave { user, .. } = op else {
            panic!("not a leave")
        };
        let role = role.ok_or(Refused::NotAMember)?;
        self.push(place, event(user, "left", &[user]), false);
        let conversation = self.conversations.get_mut(&place).expect("checked");
        conversation.exit(user);
        let heir = conversation
            .members
            .iter()
            .filter(|(_, member)| member.role.is_some())
            .min_by_key(|(user, member)| (member.stays.last().map(|stay| stay.0), name(**user)))
            .map(|(user, _)| *user);
        if let (Role::Owner, Some(heir)) = (role, heir) {
            conversation.members.get_mut(&heir).expect("found").role = Some(Role::Owner);
        }
        Ok(true)
    }

    fn add(&mut self, op: &Op, place: Place, role: Option<Role>) -> Result<bool, Refused> {
        let Op::Add { user, users, .. } = op else {
            panic!("not an add")
        };
        check_manager(role)?;
        if users.is_empty() {
            return Err(Refused::Malformed);
        }
        let mut new = Vec::new();
        for &user in users {
            if self.conversations[&place].role(user).is_none() && !new.contains(&user) {
                new.push(user);
            }
        }
        if new.is_empty() {
            return Ok(false);
        }
        self.push(place, event(*user, "joined", &new), false);
        for user in new {
            self.conversations
                .get_mut(&place)
                .expect("checked")
                .enter(user, Role::Member);
        }
        Ok(true)
    }

    fn remove(&mut self, op: &Op, place: Place, role: Option<Role>) -> Result<bool, Refused> {
        let Op::Remove { user, users, .. } = op else {
            panic!("not a remove")
        };
        check_manager(role)?;
        if users.is_empty() {
            return Err(Refused::Malformed);
        }
        let mut gone = Vec::new();
        for &user in users {
            match self.conversations[&place].role(user) {
                Some(Role::Owner) => return Err(Refused::NotAllowed),
                Some(_) if !gone.contains(&user) => gone.push(user),
                _ => {}
            }
        }
        if gone.is_empty() {
            return Ok(false);
        }
        self.push(place, event(*user, "removed", &gone), false);
        for user in gone {
            self.conversations
                .get_mut(&place)
                .expect("checked")
                .exit(user);
        }
        Ok(true)
    }

    /// Every row a user may see, in position order.
    pub fn visible(&self, user: User) -> Vec<(u64, Place, u64, &ModelRow)> {
        let mut rows = Vec::new();
        for (&place, conversation) in &self.conversations {
            let Some(member) = conversation.members.get(&user) else {
                continue;
            };
            for (row, seq) in conversation.rows.iter().zip(1..) {
                if member.sees(seq) {
                    rows.push((row.position, place, seq, row));
                }
            }
        }
        rows.sort_by_key(|row| row.0);
        rows
    }
}

fn check_manager(role: Option<Role>) -> Result<(), Refused> {
    match role {
        Some(Role::Owner) => Ok(()),
        Some(_) => Err(Refused::NotAllowed),
        None => Err(Refused::NotAMember),
    }
}

fn event(by: User, kind: &str, users: &[User]) -> String {
    let users: Vec<_> = users.iter().map(|&user| name(user)).collect();
    format!("{} {kind} {}", name(by), users.join(","))
}
