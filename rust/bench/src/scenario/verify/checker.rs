//! What is promised, held against what arrives. Knows neither sockets nor clocks.
//!
//! Of each member and conversation it checks what `spec/wire.md` promises:
//!
//! - **within a session** pushes are gapless, in seq order, and nothing comes twice. A row that
//!   jumps ahead leaves a hole: filled in the same session, the late row was *reordered*; filled
//!   by a later session, it was *skipped*; never filled, it is *lost*. A row that comes twice in
//!   one session is *repeated*.
//! - **between sessions** a client comes back with its newest sync token, which may lie behind
//!   what it was pushed: rows may come again (`again`), from there on without a gap.
//! - **in the end** every member has every number up to the conversation's last one, whether it
//!   was acknowledged, shown to somebody else, or is in the history only; else it is *lost*.
//! - **a number** means the same message everywhere: in pushes to all members, in the answer to
//!   its sender, in history; else *conflicting*. **A key** has one number; else *duplicated*.

use std::collections::{HashMap, VecDeque};

use super::findings::{Finding, Findings, Kind};
use super::ranges::Ranges;

/// Who wrote a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// A message of this run: the sender's index, and which of its sends.
    Sender { user: u32, number: u32 },
    /// An event, or somebody else's message.
    Other,
}

/// A numbered row, or the answer that gave it its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub seq: u64,
    pub message_id: u64,
    pub timestamp_ms: u64,
    pub author: Author,
    /// A digest of the body; 0: not known, as in an answer.
    pub content: u32,
}

/// What is known of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    author: Author,
    /// A digest of message id and time; 0: nothing is known.
    identity: u32,
    content: u32,
}

const UNCLAIMED: Claim = Claim {
    author: Author::Other,
    identity: 0,
    content: 0,
};

/// Numbers of a conversation, counted from the newest, whose claims are kept.
const CLAIMS_KEPT: usize = 16_384;

struct Conversation {
    id: String,
    /// Those who are to see all of it.
    members: Vec<u32>,
    /// The last number that anything spoke of.
    head: u64,
    acknowledged: Ranges,
    /// Of the numbers from `first_claim` on.
    claims: VecDeque<Claim>,
    first_claim: u64,
}

/// One member's sight of one conversation.
#[derive(Default)]
struct View {
    session: u32,
    /// The first and the highest seq of this session.
    first: u64,
    last: u64,
    /// What this session jumped over.
    holes: Vec<(u64, u64)>,
    /// What earlier ones jumped over, and no later one brought so far.
    skipped: Vec<(u64, u64)>,
    /// Over all sessions.
    seen: Ranges,
}

/// Which conversation; in the order of first mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConversationIndex(u32);

/// The books of a run.
pub(crate) struct Checker {
    users: Vec<String>,
    /// Sessions of each user so far.
    sessions: Vec<u32>,
    /// Which of each user's sends have a number.
    effects: Vec<Ranges>,
    conversations: Vec<Conversation>,
    by_id: HashMap<Box<str>, ConversationIndex>,
    views: HashMap<(u32, ConversationIndex), View>,
    /// First deliveries, and deliveries of what an earlier session had shown already.
    pub delivered: u64,
    pub again: u64,
    pub findings: Findings,
}

impl Checker {
    pub(crate) fn new(users: Vec<String>) -> Self {
        Self {
            sessions: vec![0; users.len()],
            effects: vec![Ranges::default(); users.len()],
            users,
            conversations: Vec::new(),
            by_id: HashMap::new(),
            views: HashMap::new(),
            delivered: 0,
            again: 0,
            findings: Findings::default(),
        }
    }

    /// The conversation with this id.
    pub(crate) fn conversation(&mut self, id: &str) -> ConversationIndex {
        if let Some(&index) = self.by_id.get(id) {
            return index;
        }
        let index = ConversationIndex(self.conversations.len() as u32);
        self.conversations.push(Conversation {
            id: id.into(),
            members: Vec::new(),
            head: 0,
            acknowledged: Ranges::default(),
            claims: VecDeque::new(),
            first_claim: 1,
        });
        self.by_id.insert(id.into(), index);
        index
    }

    pub(crate) fn id(&self, at: ConversationIndex) -> &str {
        &self.at(at).id
    }

    /// The last number of the conversation that anything spoke of.
    pub(crate) fn head(&self, at: ConversationIndex) -> u64 {
        self.at(at).head
    }

    /// These users are to see everything of the conversation.
    pub(crate) fn expect(&mut self, at: ConversationIndex, members: &[u32]) {
        self.at_mut(at).members = members.to_vec();
    }

    /// A user has a new connection.
    pub(crate) fn session_began(&mut self, user: u32) {
        self.sessions[user as usize] += 1;
    }

    /// A row was pushed to a user; true when it never was before.
    pub(crate) fn pushed(&mut self, user: u32, at: ConversationIndex, row: &Row) -> bool {
        self.claim(user, at, row, "pushed");
        let session = self.sessions[user as usize];
        let view = self.views.entry((user, at)).or_default();
        let seq = row.seq;
        let mut found = None;
        if view.session != session {
            view.skipped.append(&mut view.holes);
            let before = view.seen.max();
            if seq > before + 1 {
                view.holes.push((before + 1, seq - 1));
            }
            (view.session, view.first, view.last) = (session, seq, seq);
        } else if seq > view.last {
            if seq > view.last + 1 {
                view.holes.push((view.last + 1, seq - 1));
            }
            view.last = seq;
        } else if fill(&mut view.holes, seq) || seq < view.first {
            let text = format!("pushed behind seq {} of the same session", view.last);
            view.first = view.first.min(seq);
            found = Some((Kind::Reordered, text));
        } else {
            let text = format!("pushed again in session {session} of this user");
            found = Some((Kind::Repeated, text));
        }
        let is_new = view.seen.insert(seq);
        if is_new && fill(&mut view.skipped, seq) {
            let text = format!("not pushed before session {session} of this user");
            found = Some((Kind::Skipped, text));
        }
        *(if is_new {
            &mut self.delivered
        } else {
            &mut self.again
        }) += 1;
        if let Some((kind, detail)) = found {
            self.find(kind, user, at, (seq, seq), detail);
        }
        is_new
    }

    /// A sender was told which number its send has.
    pub(crate) fn acknowledged(&mut self, user: u32, at: ConversationIndex, row: &Row) {
        self.claim(user, at, row, "acknowledged");
        self.at_mut(at).acknowledged.insert(row.seq);
    }

    /// The server's history has this row; `user` read it.
    pub(crate) fn stored(&mut self, user: u32, at: ConversationIndex, row: &Row) {
        self.claim(user, at, row, "in history");
    }

    /// What the server's history should have had between two rows of a page, or behind the last.
    pub(crate) fn not_stored(&mut self, user: u32, at: ConversationIndex, seqs: (u64, u64)) {
        self.find(Kind::Lost, user, at, seqs, "not in history".into());
    }

    /// A message is not what its sender wrote.
    pub(crate) fn altered(&mut self, user: u32, at: ConversationIndex, seq: u64, detail: String) {
        self.find(Kind::Conflicting, user, at, (seq, seq), detail);
    }

    /// Rows that members do not have yet.
    pub(crate) fn outstanding(&self) -> u64 {
        let of = |(index, conversation): (usize, &Conversation)| {
            let at = ConversationIndex(index as u32);
            let missing = |&user: &u32| match self.views.get(&(user, at)) {
                Some(view) => view.seen.missing_count(conversation.head),
                None => conversation.head,
            };
            conversation.members.iter().map(missing).sum::<u64>()
        };
        self.conversations.iter().enumerate().map(of).sum()
    }

    /// Nothing comes any more: what is missing now is lost.
    pub(crate) fn finish(&mut self) {
        let nothing = Ranges::default();
        let mut lost = Vec::new();
        for (index, conversation) in self.conversations.iter().enumerate() {
            let at = ConversationIndex(index as u32);
            for &user in &conversation.members {
                let seen = self
                    .views
                    .get(&(user, at))
                    .map_or(&nothing, |view| &view.seen);
                for (first, last) in seen.missing(conversation.head) {
                    let acknowledged = (first..=last)
                        .filter(|&seq| conversation.acknowledged.contains(seq))
                        .count();
                    let text = format!("never pushed to this user; {acknowledged} acknowledged");
                    lost.push((user, at, (first, last), text));
                }
            }
        }
        for (user, at, seqs, text) in lost {
            self.find(Kind::Lost, user, at, seqs, text);
        }
    }

    fn at(&self, at: ConversationIndex) -> &Conversation {
        &self.conversations[at.0 as usize]
    }

    fn at_mut(&mut self, at: ConversationIndex) -> &mut Conversation {
        &mut self.conversations[at.0 as usize]
    }

    /// Holds what is said of a number against what was said before.
    fn claim(&mut self, user: u32, at: ConversationIndex, row: &Row, way: &str) {
        let conversation = self.at_mut(at);
        conversation.head = conversation.head.max(row.seq);
        let Some(claim) = conversation.claim_of(row.seq) else {
            return;
        };
        let new = Claim {
            author: row.author,
            identity: digest(row.message_id, row.timestamp_ms),
            content: row.content,
        };
        if claim.identity == 0 {
            *claim = new;
            self.take_effect(at, row);
            return;
        }
        let before = *claim;
        if claim.content == 0 {
            claim.content = new.content;
        }
        let contents_differ =
            before.content != 0 && new.content != 0 && before.content != new.content;
        if before.identity != new.identity || before.author != new.author || contents_differ {
            let detail = format!(
                "{way} as message {}, {}; before it was {}",
                row.message_id,
                self.name_of(new.author),
                self.name_of(before.author)
            );
            self.find(Kind::Conflicting, user, at, (row.seq, row.seq), detail);
        }
    }

    /// A send got a number for the first time, or so it should be.
    fn take_effect(&mut self, at: ConversationIndex, row: &Row) {
        let Author::Sender { user, number } = row.author else {
            return;
        };
        let is_first = self
            .effects
            .get_mut(user as usize)
            .is_none_or(|effects| effects.insert(u64::from(number)));
        if is_first {
            return;
        }
        let conversation = self.at(at);
        let mut numbers = (conversation.first_claim..).zip(&conversation.claims);
        let other = numbers.find(|(seq, claim)| *seq != row.seq && claim.author == row.author);
        let detail = match other {
            Some((seq, _)) => format!("send {number} has seq {seq} already"),
            None => format!("send {number} has another seq already"),
        };
        self.find(Kind::Duplicated, user, at, (row.seq, row.seq), detail);
    }

    fn name_of(&self, author: Author) -> String {
        match author {
            Author::Sender { user, number } => {
                let name = self
                    .users
                    .get(user as usize)
                    .map_or("nobody", String::as_str);
                format!("send {number} of {name}")
            }
            Author::Other => "an event or another run's message".into(),
        }
    }

    fn find(
        &mut self,
        kind: Kind,
        user: u32,
        at: ConversationIndex,
        seqs: (u64, u64),
        detail: String,
    ) {
        let user = self.users.get(user as usize).cloned().unwrap_or_default();
        let conversation = self.at(at).id.clone();
        self.findings.add(Finding {
            kind,
            user,
            conversation,
            seqs,
            detail,
        });
    }
}

impl Conversation {
    /// What is known of a number; none when it is too old.
    fn claim_of(&mut self, seq: u64) -> Option<&mut Claim> {
        let kept = CLAIMS_KEPT as u64;
        if seq >= self.first_claim + 2 * kept {
            // Far ahead, as on a server with a past: nothing before it is of use.
            self.claims.clear();
            self.first_claim = seq;
        }
        let index = seq.checked_sub(self.first_claim)? as usize;
        while self.claims.len() <= index {
            self.claims.push_back(UNCLAIMED);
        }
        let surplus = self.claims.len().saturating_sub(CLAIMS_KEPT);
        self.claims.drain(..surplus);
        self.first_claim += surplus as u64;
        self.claims.get_mut(index.checked_sub(surplus)?)
    }
}

/// Takes `seq` out of the hole that it is in, if any.
fn fill(holes: &mut Vec<(u64, u64)>, seq: u64) -> bool {
    let Some(index) = holes
        .iter()
        .position(|&(first, last)| (first..=last).contains(&seq))
    else {
        return false;
    };
    let (first, last) = holes.swap_remove(index);
    holes.extend(
        [(first, seq - 1), (seq + 1, last)]
            .into_iter()
            .filter(|(a, b)| a <= b),
    );
    true
}

/// Never 0.
fn digest(message_id: u64, timestamp_ms: u64) -> u32 {
    let mixed = (message_id ^ timestamp_ms.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1
}

#[cfg(test)]
mod tests;
