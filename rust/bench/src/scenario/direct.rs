//! `direct`: connection 2k and 2k+1 send to each other.
//!
//! The sender gets its own messages too; those are counted, and no part of the rest.
//!
//! A message is done when its sender has the answer and its receiver has the message. Messages of
//! one sender are numbered, answered and delivered in their order, so the n-th answer and the
//! n-th delivery belong to the n-th send.

use std::collections::VecDeque;
use std::rc::Rc;

use imfast_wire::frames::client::Target;
use imfast_wire::frames::server::ServerBody;
use serde_json::{Map, Value, json};

use super::loops::{Phase, Phases};
use super::message::{Messages, Stamp};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::measure::{burn, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::pool::{Pool, User};
use crate::result::Outcome;
use crate::transport::{Kind, Transport};

/// Paced messages sent before the next look at what arrived.
const SENDS_PER_TURN: usize = 256;

/// One connection's own messages.
#[derive(Default)]
struct Sender {
    sent: u64,
    answered: u64,
    delivered: u64,
    /// When those that are not done were to be sent; the first is number `forgotten`.
    intended: VecDeque<u64>,
    forgotten: u64,
}

impl Sender {
    /// Messages that are both answered and delivered.
    fn done(&self) -> u64 {
        self.answered.min(self.delivered)
    }

    /// When message `number`, counted from 0, was to be sent.
    fn intended_ns(&self, number: u64) -> Option<u64> {
        let index = number.checked_sub(self.forgotten)?;
        self.intended.get(index as usize).copied()
    }

    fn forget_done(&mut self) {
        while self.forgotten < self.done() && self.intended.pop_front().is_some() {
            self.forgotten += 1;
        }
    }
}

/// Everything that is counted.
struct Tally<'a> {
    users: &'a [User],
    /// The sender's own session gets no copy.
    ephemeral: bool,
    senders: Vec<Sender>,
    sent: u64,
    answered: u64,
    delivered: u64,
    failed: u64,
    /// Deliveries of a sender's message to itself.
    own: u64,
    surplus: u64,
    /// That all connections read.
    bytes: u64,
    first_error: Option<String>,
    measure_ns: std::ops::Range<u64>,
    delivery: Latencies,
    answer: Latencies,
}

pub(crate) struct Direct;

impl Scenario for Direct {
    type Prepared = ();

    fn block(_: &Options) -> usize {
        2
    }

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        run(stage)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        fields.insert(
            "messages_per_second".into(),
            json!(outcome.rate("messages")),
        );
        let bytes = outcome.sum("received_bytes") as f64;
        let cpu_us = outcome.reading.server_cpu_seconds * 1e6;
        for (name, value) in [
            ("received_bytes_per_message", bytes),
            ("server_cpu_us_per_message", cpu_us),
        ] {
            fields.insert(name.into(), json!(outcome.per(value, "messages")));
        }
    }
}

fn run<T: Transport>(mut stage: Stage<'_, T>) -> Result<Outcome, Failure> {
    let (transport, options) = (stage.transport, stage.options);
    let pairs = stage.pool.len() / 2;
    let users = Rc::clone(&stage.users);
    let users = users.get(..pairs * 2).unwrap_or_default();
    if pairs == 0 {
        return Err(Failure::Said("direct needs two connections".into()));
    }
    let mut tally = Tally::new(users, options.ephemeral);
    let mut messages = Messages::new(options);
    let mut phases = Phases::new(options, stage.start_ns, pairs * 2);
    let rate = options.rate.map(|rate| stage.share_of(rate));
    let mut pace = rate.map(|rate| Pace::new(stage.start_ns, rate));
    let pool = &mut stage.pool;
    let (mut from, mut to) = ((0, 0, 0), (0, 0, 0));
    let mut lag = Latencies::new();
    let mut events = Vec::new();
    let mut every: Vec<usize> = (0..pairs * 2).collect();
    while phases.phase != Phase::Over {
        let now = now_ns();
        phases.received(now, tally.delivered);
        let mark = (tally.answered, tally.delivered, tally.bytes);
        if phases.advance(now, tally.is_settled()) {
            match phases.phase {
                Phase::Measured => {
                    from = mark;
                    tally.measure_ns = now..u64::MAX;
                }
                Phase::Drain => {
                    to = mark;
                    tally.measure_ns.end = now;
                    phases.note_pace(pace.as_ref());
                }
                _ => {}
            }
        }
        if let Some(pace) = pace.as_mut().filter(|_| phases.sending()) {
            // So that what arrives meanwhile does not wait for a generator that is late.
            for (number, at_ns) in std::iter::from_fn(|| pace.take(now_ns())).take(SENDS_PER_TURN) {
                let index = (number % (pairs as u64 * 2)) as usize;
                burn(options.burn);
                let mut batch = pool.batch(index);
                batch.add(&messages.next(tally.sent + 1, peer(users, index), Stamp::default()));
                batch.send()?;
                tally.sent(index, at_ns);
                lag.record(now_ns() - at_ns);
            }
        } else if phases.sending() {
            // The first turn has everybody, later ones those for whom something arrived.
            for index in every.drain(..) {
                refill(pool, &mut tally, &mut messages, options, users, index)?;
            }
        }
        let until = pace.as_ref().map_or(u64::MAX, Pace::next_ns);
        pool.wait(phases.wake_ns().min(until).max(now), &mut events)?;
        for event in &events {
            let Some(index) = event.index.filter(|index| *index < pairs * 2) else {
                continue;
            };
            let (tally, now) = (&mut tally, now_ns());
            let bytes = pool.handle(*event, |frame| tally.take(transport, index, frame, now))?;
            tally.bytes += bytes as u64;
            if pace.is_none() && phases.sending() {
                for one in [index, index ^ 1] {
                    refill(pool, tally, &mut messages, options, users, one)?;
                }
            }
            for one in [index, index ^ 1] {
                tally.senders[one].forget_done();
            }
        }
    }
    let reading = phases
        .reading
        .ok_or_else(|| Failure::Said("no measured time".into()))?;
    let (answered, delivered) = (to.0 - from.0, to.1 - from.1);
    let unseen = |seen: u64| (tally.sent - tally.failed) as i64 - seen as i64;
    let mut outcome = stage.outcome();
    outcome.reading = reading;
    outcome.per_second = phases.per_second;
    outcome.connections = pairs as u64 * 2;
    outcome.count("messages", answered.min(delivered));
    outcome.count("received_bytes", to.2 - from.2);
    outcome.count("answered", answered);
    outcome.count("delivered", delivered);
    outcome.count("surplus", tally.surplus);
    outcome.count("failed", tally.failed);
    for (name, value) in [
        ("lost", unseen(tally.delivered)),
        ("unanswered", tally.sent as i64 - tally.answered as i64),
        (
            "own_unseen",
            if options.ephemeral {
                0
            } else {
                unseen(tally.own)
            },
        ),
    ] {
        outcome.sums.insert(name.into(), value);
    }
    outcome.first_error = tally.first_error;
    // An answer that was an error shifts the deliveries behind it against their sends.
    if tally.failed == 0 && T::DELIVERS {
        outcome.distribution("latency", tally.delivery);
        outcome.distribution("answer_latency", tally.answer);
    } else if tally.failed == 0 {
        outcome.distribution("latency", tally.answer);
    }
    outcome.distribution("send_lag", lag);
    Ok(outcome)
}

fn peer(users: &[User], index: usize) -> Target<'_> {
    Target::User((&*users[index ^ 1].name).into())
}

/// Sends what the window of `index` has room for; in a batch, only once all of it is free.
fn refill<T: Transport>(
    pool: &mut Pool<T>,
    tally: &mut Tally<'_>,
    messages: &mut Messages,
    options: &Options,
    users: &[User],
    index: usize,
) -> Result<(), Failure> {
    let sender = &tally.senders[index];
    let room = options.window.saturating_sub(sender.sent - sender.done());
    if room == 0 || (options.batch && room < options.window) {
        return Ok(());
    }
    let now = now_ns();
    let mut batch = pool.batch(index);
    for left in (0..room).rev() {
        burn(options.burn);
        batch.add(&messages.next(tally.sent + 1, peer(users, index), Stamp::default()));
        tally.sent(index, now);
        if !options.batch || left == 0 {
            batch.send()?;
        }
    }
    Ok(())
}

impl<'a> Tally<'a> {
    fn new(users: &'a [User], ephemeral: bool) -> Self {
        let connections = users.len();
        Self {
            users,
            ephemeral,
            senders: (0..connections).map(|_| Sender::default()).collect(),
            sent: 0,
            answered: 0,
            delivered: 0,
            failed: 0,
            own: 0,
            surplus: 0,
            bytes: 0,
            first_error: None,
            measure_ns: u64::MAX..u64::MAX,
            delivery: Latencies::new(),
            answer: Latencies::new(),
        }
    }

    fn is_settled(&self) -> bool {
        self.answered >= self.sent
            && self.delivered + self.failed >= self.sent
            && (self.ephemeral || self.own + self.failed >= self.sent)
    }

    fn sent(&mut self, index: usize, intended_ns: u64) {
        self.sent += 1;
        let sender = &mut self.senders[index];
        sender.sent += 1;
        sender.intended.push_back(intended_ns);
    }

    #[inline]
    fn take<T: Transport>(&mut self, transport: T, index: usize, frame: &[u8], now_ns: u64) {
        if transport.kind(frame) == Kind::Message {
            if transport.author(frame) == self.users[index].name.as_bytes() {
                self.own += 1;
                return;
            }
            let sender = &mut self.senders[index ^ 1];
            if sender.delivered >= sender.sent {
                self.surplus += 1;
                return;
            }
            if let Some(at) = sender.intended_ns(sender.delivered)
                && self.measure_ns.contains(&at)
            {
                self.delivery.record(now_ns.saturating_sub(at));
            }
            sender.delivered += 1;
            self.delivered += 1;
            if !T::ANSWERS {
                sender.answered += 1;
                self.answered += 1;
            }
            if !T::ECHOES {
                self.own += 1;
            }
            return;
        }
        let mut rows = Vec::new();
        match transport.decode(frame, &mut rows) {
            Ok(decoded) if decoded.id == 0 => {}
            Ok(decoded) => {
                let sender = &mut self.senders[index];
                if let Some(at) = sender.intended_ns(sender.answered)
                    && self.measure_ns.contains(&at)
                {
                    self.answer.record(now_ns.saturating_sub(at));
                }
                sender.answered += 1;
                self.answered += 1;
                let is_error = matches!(decoded.body, ServerBody::Error { .. });
                if !T::DELIVERS && !is_error {
                    sender.delivered += 1;
                    self.delivered += 1;
                    self.own += 1;
                }
                if let ServerBody::Error { name, message, .. } = decoded.body {
                    // It will not be delivered: the window must not wait for it.
                    sender.delivered += 1;
                    self.failed += 1;
                    self.first_error
                        .get_or_insert_with(|| format!("{name}: {message}"));
                }
            }
            Err(error) => {
                self.first_error.get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::proto;
    use imfast_wire::frames::row::write_row_prefix;
    use imfast_wire::frames::server::{Row, ServerFrame};

    use super::*;
    use crate::transport::Tcp;

    fn users() -> Vec<User> {
        let user = |name: &str| User {
            name: name.into(),
            token: String::new(),
            only_sends: false,
        };
        vec![user("ann"), user("bob")]
    }

    fn push(from: &str) -> Vec<u8> {
        let mut row = Vec::new();
        write_row_prefix(&mut row, "d.x", 1, 1, from, 1);
        let mut out = Vec::new();
        let body = ServerBody::Row(Row::Message(&row));
        proto::encode_server(&ServerFrame::push(body), &mut out);
        out
    }

    fn answer(id: u8) -> Vec<u8> {
        vec![0x08, id, 0x22, 0]
    }

    #[test]
    fn a_message_is_done_when_it_is_answered_and_delivered() {
        let users = users();
        let mut tally = Tally::new(&users, false);
        tally.measure_ns = 0..u64::MAX;
        tally.sent(0, 100);
        tally.sent(0, 200);
        tally.take(Tcp, 0, &answer(1), 150);
        assert_eq!(tally.senders[0].done(), 0);
        tally.take(Tcp, 1, &push("ann"), 175);
        assert_eq!(tally.senders[0].done(), 1);
        tally.senders[0].forget_done();
        tally.take(Tcp, 0, &push("ann"), 180);
        tally.take(Tcp, 1, &push("ann"), 1_200);
        assert!(!tally.is_settled());
        tally.take(Tcp, 0, &answer(2), 1_300);
        assert!(!tally.is_settled());
        tally.take(Tcp, 0, &push("ann"), 1_400);
        assert!(tally.is_settled());
        // 75 and 1,000 ns after the intended times.
        let fields = tally.delivery.fields();
        assert_eq!(
            (fields["count"].as_u64(), fields["max_us"].as_f64()),
            (Some(2), Some(1.0))
        );
    }

    #[test]
    fn a_delivery_that_nobody_sent_is_counted_as_surplus() {
        let users = users();
        let mut tally = Tally::new(&users, false);
        tally.sent(0, 1);
        tally.take(Tcp, 1, &push("ann"), 2);
        tally.take(Tcp, 1, &push("ann"), 3);
        assert_eq!((tally.delivered, tally.surplus), (1, 1));
    }
}
