//! Who is, or was, in a conversation, from which number to which.

use hashbrown::HashMap;

/// Above this many entries lookups go through an index instead of a scan.
const SCANNED_MAX: usize = 12;

/// The `left` of somebody who is still in.
pub(crate) const STILL_IN: u64 = u64::MAX;

/// Rights of a current member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Member,
    Admin,
    Owner,
}

impl Role {
    /// The role of a name on the wire.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner]
            .into_iter()
            .find(|role| role.name() == name)
    }

    /// Whether this role adds and removes members.
    pub fn may_manage(self) -> bool {
        self >= Self::Admin
    }

    /// The role's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// A current or past member. Numbers are seqs of the conversation, 0 for "none yet".
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) user: u32,
    /// Meaningful only while the member is in.
    pub(crate) role: Role,
    /// May not write; it outlasts leaving and coming back.
    pub(crate) muted: bool,
    /// First number seen, of the present or else the last stay.
    pub(crate) joined: u64,
    /// First number not seen any more, or [`STILL_IN`]. The event of leaving is still seen.
    pub(crate) left: u64,
    pub(crate) last_send: u64,
    pub(crate) read: u64,
    /// Earlier stays, oldest first; almost nobody has any.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in each of 100,000 members"
    )]
    earlier: Option<Box<Vec<(u64, u64)>>>,
}

impl Member {
    fn new(user: u32, role: Role, joined: u64) -> Self {
        Self {
            user,
            role,
            muted: false,
            joined,
            left: STILL_IN,
            last_send: 0,
            read: 0,
            earlier: None,
        }
    }

    /// A member with every stay, oldest first; none without a stay.
    pub(crate) fn restored(
        user: u32,
        (role, muted): (Role, bool),
        mut stays: Vec<(u64, u64)>,
    ) -> Option<Self> {
        let (joined, left) = stays.pop()?;
        Some(Self {
            muted,
            left,
            earlier: (!stays.is_empty()).then(|| Box::new(stays)),
            ..Self::new(user, role, joined)
        })
    }

    /// In the place of a member of a conversation that is open to all.
    pub(crate) fn of_all() -> &'static Self {
        static OF_ALL: Member = Member {
            user: u32::MAX,
            role: Role::Member,
            joined: 1,
            left: STILL_IN,
            last_send: 0,
            read: 0,
            muted: false,
            earlier: None,
        };
        &OF_ALL
    }

    pub(crate) fn is_in(&self) -> bool {
        self.left == STILL_IN
    }

    /// Every stay as a half-open range of numbers, ascending.
    pub(crate) fn stays(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + Clone {
        let earlier = self.earlier.as_deref().map_or(&[][..], Vec::as_slice);
        earlier
            .iter()
            .copied()
            .chain(core::iter::once((self.joined, self.left)))
    }

    pub(crate) fn leave(&mut self, event_seq: u64) {
        debug_assert!(self.is_in() && event_seq >= self.joined);
        self.left = event_seq + 1;
        self.role = Role::Member;
    }

    fn rejoin(&mut self, role: Role, seq: u64) {
        assert!(
            self.left <= seq,
            "a stay starts after the one before it ended"
        );
        self.earlier
            .get_or_insert_default()
            .push((self.joined, self.left));
        self.joined = seq;
        self.left = STILL_IN;
        self.role = role;
    }
}

/// Members in the order in which they first joined. Nobody is ever taken out, so a place in this
/// order stays valid as a page's cursor.
#[derive(Debug, Default)]
pub(crate) struct Members {
    all: Vec<Member>,
    /// User to place; kept only for more than [`SCANNED_MAX`] entries.
    index: Option<Box<HashMap<u32, u32>>>,
    current: u32,
}

impl Members {
    /// How many are in at present.
    pub(crate) fn current(&self) -> usize {
        self.current as usize
    }

    pub(crate) fn all(&self) -> &[Member] {
        &self.all
    }

    pub(crate) fn place(&self, user: u32) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&user).map(|&place| place as usize),
            None => self.all.iter().position(|member| member.user == user),
        }
    }

    pub(crate) fn find(&self, user: u32) -> Option<&Member> {
        self.place(user).map(|place| &self.all[place])
    }

    pub(crate) fn at_mut(&mut self, place: usize) -> Option<&mut Member> {
        self.all.get_mut(place)
    }

    pub(crate) fn find_mut(&mut self, user: u32) -> Option<&mut Member> {
        self.place(user).map(|place| &mut self.all[place])
    }

    /// Lets a user in from number `seq` on. Returns whether it is the user's first stay.
    pub(crate) fn join(&mut self, user: u32, role: Role, seq: u64) -> bool {
        self.current += 1;
        if let Some(member) = self.find_mut(user) {
            member.rejoin(role, seq);
            return false;
        }
        self.append(Member::new(user, role, seq));
        true
    }

    /// Adds somebody who is or was in, in the order in which they first joined.
    pub(crate) fn restore(&mut self, member: Member) {
        self.current += u32::from(member.is_in());
        self.append(member);
    }

    fn append(&mut self, member: Member) {
        let (user, place) = (member.user, self.all.len() as u32);
        self.all.push(member);
        if let Some(index) = &mut self.index {
            index.insert(user, place);
        } else if self.all.len() > SCANNED_MAX {
            let places = self
                .all
                .iter()
                .zip(0..)
                .map(|(member, place)| (member.user, place));
            self.index = Some(Box::new(places.collect()));
        }
    }

    /// Ends the stay of a current member with the event numbered `event_seq`.
    pub(crate) fn leave(&mut self, user: u32, event_seq: u64) {
        if let Some(member) = self.find_mut(user) {
            member.leave(event_seq);
            self.current -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_who_left_and_came_back_has_two_stays() {
        let mut members = Members::default();
        assert!(members.join(4, Role::Owner, 1));
        members.leave(4, 5);
        assert_eq!(members.current(), 0);
        assert!(!members.join(4, Role::Member, 9));
        let member = members.find(4).expect("joined");
        assert_eq!(member.stays().collect::<Vec<_>>(), [(1, 6), (9, STILL_IN)]);
        assert_eq!((members.current(), member.role), (1, Role::Member));
    }

    #[test]
    fn lookups_agree_below_and_above_the_size_where_the_index_starts() {
        let mut members = Members::default();
        for user in 0..3 * SCANNED_MAX as u32 {
            members.join(user * 7, Role::Member, 1);
            for known in 0..=user {
                assert_eq!(members.place(known * 7), Some(known as usize));
            }
            assert_eq!(members.place(user * 7 + 1), None);
        }
    }

    #[test]
    fn owner_and_admin_manage_and_members_do_not() {
        assert!(Role::Owner.may_manage() && Role::Admin.may_manage());
        assert!(!Role::Member.may_manage());
    }
}
