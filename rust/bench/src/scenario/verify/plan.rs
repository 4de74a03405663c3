//! Who talks to whom: direct conversations of neighbours, and groups across all users.

use super::checker::ConversationIndex;
use super::random::Random;

/// A conversation of the run.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Users by their index; a direct conversation has two.
    pub members: Vec<u32>,
    /// A group's id, once it is made.
    pub group: Option<String>,
    /// Known from the first answer on.
    pub index: Option<ConversationIndex>,
}

/// All conversations of a run: first the direct ones, then the groups.
#[derive(Debug)]
pub(crate) struct Plan {
    pub conversations: Vec<Planned>,
    directs: usize,
}

impl Plan {
    /// A ring of direct conversations, in which everybody has two neighbours, and `groups` groups
    /// of `members` users each, spread so that everybody is in about as many.
    pub(crate) fn new(users: usize, groups: usize, members: usize) -> Self {
        let ring = if users > 2 { users } else { users / 2 };
        let directs = (0..ring).map(|user| vec![user as u32, ((user + 1) % users) as u32]);
        let members = members.min(users);
        let step = users / members.max(1);
        let groups = (0..groups).map(|group| {
            let first = group * members.div_ceil(2);
            let member = |number: usize| ((first + group + number * step) % users) as u32;
            (0..members).map(member).collect()
        });
        let planned = |members| Planned {
            members,
            group: None,
            index: None,
        };
        Self {
            conversations: directs.chain(groups).map(planned).collect(),
            directs: ring,
        }
    }

    /// Direct conversations of these pairs, and nothing else.
    pub(crate) fn pairs(pairs: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let planned = |(one, other)| Planned {
            members: vec![one, other],
            group: None,
            index: None,
        };
        let conversations: Vec<Planned> = pairs.into_iter().map(planned).collect();
        Self {
            directs: conversations.len(),
            conversations,
        }
    }

    /// The groups, by the index of their conversation.
    pub(crate) fn groups(&self) -> std::ops::Range<u32> {
        self.directs as u32..self.conversations.len() as u32
    }

    /// A conversation and one of its members; each conversation is as likely.
    pub(crate) fn any(&self, random: &mut Random) -> (u32, u32) {
        let conversation = random.below(self.conversations.len() as u64);
        let members = &self.conversations[conversation as usize].members;
        let member = members[random.below(members.len() as u64) as usize];
        (conversation as u32, member)
    }

    /// The conversations of each user.
    pub(crate) fn by_user(&self, users: usize) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); users];
        for (conversation, planned) in self.conversations.iter().enumerate() {
            for &member in &planned.members {
                lists[member as usize].push(conversation as u32);
            }
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_two_neighbours_and_no_group_names_anybody_twice() {
        for (users, groups, members) in [(2, 1, 10), (3, 2, 2), (10, 3, 4), (200, 20, 10)] {
            let plan = Plan::new(users, groups, members);
            for planned in &plan.conversations {
                let mut sorted = planned.members.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), planned.members.len(), "{planned:?}");
                assert!(sorted.iter().all(|&user| (user as usize) < users));
            }
            assert_eq!(plan.groups().len(), groups);
            let directs = if users > 2 { 2 } else { 1 };
            for list in plan.by_user(users) {
                assert_eq!(
                    list.iter()
                        .filter(|&&one| !plan.groups().contains(&one))
                        .count(),
                    directs
                );
            }
        }
    }
}
