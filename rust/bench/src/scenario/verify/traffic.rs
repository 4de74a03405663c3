//! What is sent and what comes of it: the link between connections and the checker.

use std::fmt::Write as _;
use std::ops::Range;
use std::rc::Rc;

use imfast_wire::frames::client::{Body, ClientFrame, Group, Send, Target, Verb};
use imfast_wire::frames::row::{BodyView, EventView, MessageView};
use imfast_wire::frames::server::{Row as WireRow, ServerBody, ServerFrame};

use super::body::{Mark, digest};
use super::checker::{Author, Checker, ConversationIndex, Row};
use super::history::{self, History};
use super::links::Listener;
use super::outages::Outages;
use super::outbox::Outbox;
use super::plan::Plan;
use super::random::Random;
use crate::latencies::Latencies;
use crate::measure::now_ns;
use crate::pool::User;

/// Ids of requests: 1 is for what needs no answer, history has its own from
/// [`history::FIRST_ID`] on.
const FIRST_ID: u64 = 2;
/// A refused request is tried again after a random part of this, at least.
const AGAIN_NS: u64 = 50_000_000;

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Of the plan.
    pub conversation: u32,
    pub intended_ns: u64,
    /// Makes the group instead of sending to it.
    pub creates: bool,
}

/// Everything that a run counts.
#[derive(Default)]
pub(crate) struct Counts {
    pub sent: u64,
    pub acknowledged: u64,
    /// Answers that gave a retry its first result.
    pub duplicates: u64,
    /// Errors that may be retried, and were.
    pub refused: u64,
    /// Requests with an error that may not be retried.
    pub failed: u64,
    pub first_error: Option<String>,
    /// Connections that broke after they had been served, and what the last one said.
    pub breaks: u64,
    pub last_break: Option<String>,
    /// Attempts that failed.
    pub attempts_failed: u64,
}

pub(crate) struct Traffic {
    users: Rc<[User]>,
    pub plan: Plan,
    run: u32,
    body_bytes: usize,
    pub outboxes: Vec<Outbox<Request>>,
    pub checker: Checker,
    pub counts: Counts,
    /// From the intended time of a send to its answer.
    pub answer: Latencies,
    /// From there to its push to others than the sender, once for each of `timed`.
    pub delivery: Latencies,
    /// Whose latencies are recorded.
    pub timed: Range<usize>,
    pub outages: Outages,
    pub history: History,
    /// Users whose outbox has something to be written again later.
    pub delayed: Vec<usize>,
    random: Random,
    text: String,
}

impl Traffic {
    pub(crate) fn new(users: &Rc<[User]>, plan: Plan, body_bytes: usize) -> Self {
        let names = users.iter().map(|user| user.name.clone()).collect();
        let seed = now_ns() ^ u64::from(std::process::id()) << 32;
        let mut random = Random::new(seed);
        Self {
            users: Rc::clone(users),
            plan,
            run: random.next() as u32,
            body_bytes,
            outboxes: users.iter().map(|_| Outbox::default()).collect(),
            checker: Checker::new(names),
            counts: Counts::default(),
            answer: Latencies::new(),
            delivery: Latencies::new(),
            timed: 0..users.len(),
            outages: Outages::new(users.len()),
            history: History::default(),
            delayed: Vec::new(),
            random,
            text: String::new(),
        }
    }

    /// Puts a message into its sender's outbox.
    pub(crate) fn send(&mut self, user: usize, conversation: u32, intended_ns: u64) {
        self.counts.sent += 1;
        self.outboxes[user].push(Request {
            conversation,
            intended_ns,
            creates: false,
        });
    }

    /// Puts the making of a group into its first member's outbox; returns that member.
    pub(crate) fn create(&mut self, conversation: u32) -> usize {
        let user = self.plan.conversations[conversation as usize].members[0] as usize;
        self.outboxes[user].push(Request {
            conversation,
            intended_ns: now_ns(),
            creates: true,
        });
        user
    }

    /// Requests without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.outboxes.iter().map(Outbox::len).sum()
    }

    /// Hands the next request of a user that is to be written now to `write`.
    pub(crate) fn next(&mut self, user: usize, write: impl FnOnce(&ClientFrame<'_>)) -> bool {
        let Some((number, &request)) = self.outboxes[user].next(now_ns()) else {
            return false;
        };
        let planned = &self.plan.conversations[request.conversation as usize];
        let members = planned.members.iter().map(|&member| member as usize);
        let verb = if request.creates {
            Verb::Group(Group::Create {
                key: format!("{:x}-{:x}", self.run, request.conversation).into(),
                title: "".into(),
                members: members
                    .map(|member| (&*self.users[member].name).into())
                    .collect(),
                open: false,
            })
        } else {
            let mark = Mark {
                run: self.run,
                user: user as u32,
                number: number as u32,
                intended_ns: request.intended_ns,
            };
            self.text.clear();
            mark.write(self.body_bytes, &mut self.text);
            let peer = members
                .clone()
                .find(|&member| member != user)
                .unwrap_or(user);
            let mut key = String::new();
            // Writing into a string cannot fail.
            let _ = write!(key, "{:x}-{user:x}-{number:x}", self.run);
            Verb::Send(Send {
                to: match &planned.group {
                    Some(group) => Target::Group((&**group).into()),
                    None => Target::User((&*self.users[peer].name).into()),
                },
                key: key.into(),
                body: Body::Text((&*self.text).into()),
                ttl_ms: 0,
                silent: false,
                ephemeral: false,
                headers: Vec::new(),
            })
        };
        write(&ClientFrame {
            id: number + FIRST_ID,
            verb,
        });
        true
    }

    fn answered(&mut self, user: usize, id: u64, body: &ServerBody<'_>, now_ns: u64) {
        let Some(number) = id.checked_sub(FIRST_ID) else {
            return;
        };
        match body {
            ServerBody::Sent {
                conversation,
                seq,
                message_id,
                timestamp_ms,
                duplicate,
                ..
            } => {
                let Some(request) = self.outboxes[user].answered(number) else {
                    return;
                };
                self.counts.acknowledged += 1;
                self.counts.duplicates += u64::from(*duplicate);
                self.answer
                    .record(now_ns.saturating_sub(request.intended_ns));
                let row = Row {
                    seq: *seq,
                    message_id: *message_id,
                    timestamp_ms: *timestamp_ms,
                    author: Author::Sender {
                        user: user as u32,
                        number: number as u32,
                    },
                    content: 0,
                };
                let at = self.bind(user, request.conversation, conversation, *seq);
                self.checker.acknowledged(user as u32, at, &row);
            }
            ServerBody::Group { conversation, .. } => {
                if let Some(request) = self.outboxes[user].answered(number) {
                    let planned = &mut self.plan.conversations[request.conversation as usize];
                    planned.group = Some(conversation.as_ref().into());
                    self.bind(user, request.conversation, conversation, 1);
                }
            }
            ServerBody::Error {
                name,
                message,
                retryable,
                retry_after_ms,
                ..
            } => {
                if *retryable {
                    self.counts.refused += 1;
                    let pause = (retry_after_ms * 1_000_000).max(AGAIN_NS / 2);
                    let at = now_ns + pause + self.random.below(AGAIN_NS);
                    self.outboxes[user].refused(number, at);
                    self.delayed.push(user);
                } else if self.outboxes[user].answered(number).is_some() {
                    self.counts.failed += 1;
                }
                let error = || format!("{name}: {message}");
                self.counts.first_error.get_or_insert_with(error);
            }
            _ => {}
        }
    }

    /// The conversation that the server says a planned one is.
    fn bind(&mut self, user: usize, planned: u32, id: &str, seq: u64) -> ConversationIndex {
        let at = self.checker.conversation(id);
        let planned = &mut self.plan.conversations[planned as usize];
        match planned.index {
            None => {
                planned.index = Some(at);
                self.checker.expect(at, &planned.members);
            }
            Some(before) if before != at => {
                let detail = format!("answered as {id}");
                self.checker.altered(user as u32, before, seq, detail);
            }
            Some(_) => {}
        }
        at
    }

    /// Reads a row that a user was pushed, or found in history; returns its mark.
    pub(super) fn read_row(
        &mut self,
        user: usize,
        row: &WireRow<'_>,
    ) -> Option<(ConversationIndex, Row, Option<Mark>)> {
        let (conversation, row, mark, from) = match row {
            WireRow::Message(bytes) => {
                let view = MessageView::parse(bytes).ok()?;
                let body = match view.body {
                    Some(BodyView::Text(text) | BodyView::Json(text)) => text,
                    _ => "",
                };
                let mark = Mark::read(body).filter(|mark| mark.run == self.run);
                let author = match mark {
                    Some(Mark { user, number, .. }) => Author::Sender { user, number },
                    None => Author::Other,
                };
                let row = Row {
                    seq: view.seq,
                    message_id: view.message_id,
                    timestamp_ms: view.timestamp_ms,
                    author,
                    content: digest(body.as_bytes()),
                };
                (view.conversation, row, mark, view.from)
            }
            WireRow::Event(bytes) => {
                let view = EventView::parse(bytes).ok()?;
                let row = Row {
                    seq: view.seq,
                    message_id: view.message_id,
                    timestamp_ms: view.timestamp_ms,
                    author: Author::Other,
                    content: digest(view.kind.as_bytes()),
                };
                (view.conversation, row, None, "")
            }
        };
        let at = self.checker.conversation(conversation);
        if let Some(mark) = &mark {
            let author = self.users.get(mark.user as usize);
            if author.is_none_or(|author| author.name != from) {
                let detail = format!("pushed as from {from}, written by another");
                self.checker.altered(user as u32, at, row.seq, detail);
            }
        }
        Some((at, row, mark))
    }
}

impl Listener for Traffic {
    fn connected(&mut self, index: usize) {
        self.checker.session_began(index as u32);
        self.outboxes[index].session_began();
        self.history.session_began(index);
    }

    fn frame(&mut self, index: usize, frame: &ServerFrame<'_>, now_ns: u64) {
        match &frame.body {
            ServerBody::Row(row) if frame.id == 0 => {
                let Some((at, row, mark)) = self.read_row(index, row) else {
                    self.counts
                        .first_error
                        .get_or_insert("an unreadable row".into());
                    self.counts.failed += 1;
                    return;
                };
                let is_new = self.checker.pushed(index as u32, at, &row);
                if let Some(mark) = mark.filter(|mark| {
                    is_new && mark.user as usize != index && self.timed.contains(&index)
                }) {
                    self.delivery
                        .record(now_ns.saturating_sub(mark.intended_ns));
                }
            }
            body if frame.id >= history::FIRST_ID => history::answered(self, index, frame.id, body),
            ServerBody::Error { name, message, .. } if frame.id == 0 => {
                let error = || format!("{name}: {message}");
                self.counts.first_error.get_or_insert_with(error);
            }
            body => self.answered(index, frame.id, body, now_ns),
        }
    }

    fn served(&mut self, index: usize, away_ns: Option<u64>) {
        self.outages.served(index, away_ns);
    }

    fn broken(&mut self, _: usize, served: bool, why: &str) {
        if served {
            self.counts.breaks += 1;
            self.counts.last_break = Some(why.into());
        } else {
            self.counts.attempts_failed += 1;
        }
    }
}
