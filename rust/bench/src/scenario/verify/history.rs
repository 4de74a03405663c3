//! The last check: the server's own history of every conversation, page by page.

use std::collections::VecDeque;

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::{Row as WireRow, ServerBody};

use super::checker::ConversationIndex;
use super::traffic::Traffic;
use crate::measure::now_ns;

/// Ids of requests for pages: this, and the number of the reading.
pub(crate) const FIRST_ID: u64 = 1 << 40;
const PAGE_ROWS: u32 = 200;
const AGAIN_NS: u64 = 100_000_000;

/// One conversation, read by one member.
struct Reading {
    user: usize,
    at: ConversationIndex,
    /// The last row that was read.
    after: u64,
    done: bool,
}

/// Which conversations are read, and how far.
#[derive(Default)]
pub(crate) struct History {
    readings: Vec<Reading>,
    /// To be asked for the next page: when, and which.
    asked_next: VecDeque<(u64, usize)>,
    /// Under way.
    asked: Vec<usize>,
    open: usize,
    pub rows: u64,
}

impl History {
    /// Begins to read a conversation behind row `after`.
    pub(crate) fn read(&mut self, user: usize, at: ConversationIndex, after: u64) {
        self.asked_next.push_back((0, self.readings.len()));
        self.open += 1;
        self.readings.push(Reading {
            user,
            at,
            after,
            done: false,
        });
    }

    pub(crate) fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whoever was asked has forgotten it: another session has begun.
    pub(crate) fn session_began(&mut self, user: usize) {
        let readings = &self.readings;
        let again = self
            .asked
            .extract_if(.., |asked| readings[*asked].user == user);
        self.asked_next.extend(again.map(|asked| (0, asked)));
    }
}

impl Traffic {
    /// There is no time to read on: what was not read was not checked.
    pub(crate) fn history_given_up(&mut self) {
        self.counts.failed += self.history.open as u64;
        let error = "history was not read in time";
        self.counts.first_error.get_or_insert(error.into());
    }

    /// The next page that is due to be asked for, and by whom; at most `under_way` are open. A user
    /// without a connection is passed over.
    pub(crate) fn next_page(
        &mut self,
        under_way: usize,
        is_connected: impl Fn(usize) -> bool,
    ) -> Option<(usize, ClientFrame<'_>)> {
        if self.history.asked.len() >= under_way {
            return None;
        }
        let (now, readings) = (now_ns(), &self.history.readings);
        let due = |&(at, number): &(u64, usize)| at <= now && is_connected(readings[number].user);
        let position = self.history.asked_next.iter().position(due)?;
        let (_, number) = self.history.asked_next.remove(position)?;
        self.history.asked.push(number);
        let reading = &self.history.readings[number];
        let frame = ClientFrame {
            id: FIRST_ID + number as u64,
            verb: Verb::History {
                conversation: self.checker.id(reading.at).into(),
                before: None,
                after: Some(reading.after),
                limit: Some(PAGE_ROWS),
            },
        };
        Some((reading.user, frame))
    }
}

/// Takes a page, or the error that came instead.
pub(super) fn answered(traffic: &mut Traffic, user: usize, id: u64, body: &ServerBody<'_>) {
    let number = (id - FIRST_ID) as usize;
    traffic.history.asked.retain(|&asked| asked != number);
    let (at, after) = match traffic.history.readings.get(number) {
        Some(reading) if !reading.done && reading.user == user => (reading.at, reading.after),
        _ => return,
    };
    match body {
        ServerBody::History { items, more } => page(traffic, number, (at, after), items, *more),
        ServerBody::Error {
            retryable: true, ..
        } => traffic
            .history
            .asked_next
            .push_back((now_ns() + AGAIN_NS, number)),
        other => {
            let error = || format!("history was answered with {other:?}");
            traffic.counts.first_error.get_or_insert_with(error);
            traffic.counts.failed += 1;
            traffic.history.readings[number].done = true;
            traffic.history.open -= 1;
        }
    }
}

fn page(
    traffic: &mut Traffic,
    number: usize,
    (at, mut after): (ConversationIndex, u64),
    items: &[WireRow<'_>],
    more: bool,
) {
    let user = traffic.history.readings[number].user;
    for item in items {
        let Some((there, row, _)) = traffic.read_row(user, item) else {
            continue;
        };
        if there != at {
            let detail = "in another conversation's history".into();
            traffic.checker.altered(user as u32, there, row.seq, detail);
        } else if row.seq <= after {
            let detail = format!("in history behind seq {after}");
            traffic.checker.altered(user as u32, at, row.seq, detail);
        } else {
            if row.seq > after + 1 {
                traffic
                    .checker
                    .not_stored(user as u32, at, (after + 1, row.seq - 1));
            }
            after = row.seq;
            traffic.checker.stored(user as u32, at, &row);
            traffic.history.rows += 1;
        }
    }
    let reading = &mut traffic.history.readings[number];
    // A page that does not go on would be asked for for ever.
    if more && after > reading.after {
        reading.after = after;
        traffic.history.asked_next.push_back((0, number));
        return;
    }
    reading.done = true;
    traffic.history.open -= 1;
    let head = traffic.checker.head(at);
    if after < head {
        traffic
            .checker
            .not_stored(user as u32, at, (after + 1, head));
    }
}
