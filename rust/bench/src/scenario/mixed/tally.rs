//! What was asked, answered and delivered, by kind.

use std::collections::VecDeque;

use imfast_wire::frames::server::ServerBody;

use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::options::Options;
use crate::result::Outcome;
use crate::scenario::message::Stamp;
use crate::scenario::mix::{KINDS, Kind};
use crate::transport::{Kind as FrameKind, Transport};

/// The request that a connection makes by hanging up.
pub(super) const RECONNECT_ID: u64 = 0;

/// What one connection has under way.
#[derive(Default)]
struct Seat {
    asked: u64,
    /// Requests without an answer: id, kind, when they were to be made.
    open: VecDeque<(u64, Kind, u64)>,
    /// The last sync token; empty: none yet.
    sync: String,
}

/// Counts of one kind.
struct Line {
    asked: u64,
    answered: u64,
    failed: u64,
    delivered: u64,
    answer: Latencies,
    delivery: Latencies,
    /// Of all this when the measured time began, and when it ended.
    from: (u64, u64, u64),
    to: (u64, u64, u64),
}

pub(super) struct Tally {
    seats: Vec<Seat>,
    lines: [Line; KINDS.len()],
    /// The highest number seen in each group.
    newest: Vec<u64>,
    members: usize,
    /// Of connection 0 among those of all processes.
    first: usize,
    /// Deliveries that are to come of what was asked, and that came, of all time.
    expected: u64,
    received: u64,
    own: u64,
    unreadable: u64,
    /// Requests that hanging up left without an answer.
    abandoned: u64,
    first_error: Option<String>,
    measure_ns: std::ops::Range<u64>,
}

impl Tally {
    pub(super) fn new(connections: usize, options: &Options, first: usize) -> Self {
        Self {
            seats: (0..connections).map(|_| Seat::default()).collect(),
            lines: std::array::from_fn(|_| Line::new()),
            newest: vec![1; connections / options.members],
            members: options.members,
            first,
            expected: 0,
            received: 0,
            own: 0,
            unreadable: 0,
            abandoned: 0,
            first_error: None,
            measure_ns: u64::MAX..u64::MAX,
        }
    }

    /// Messages that arrived at somebody else than their sender.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Requests of `index` without an answer.
    pub(super) fn under_way(&self, index: usize) -> u64 {
        self.seats[index].open.len() as u64
    }

    /// What `index` calls itself in its messages.
    pub(super) fn sender(&self, index: usize) -> u32 {
        (self.first + index) as u32
    }

    /// The newest number that any member of the group was told.
    pub(super) fn newest(&self, group: usize) -> u64 {
        self.newest[group]
    }

    /// With what `index` connects again.
    pub(super) fn sync(&self, index: usize) -> &str {
        &self.seats[index].sync
    }

    /// Whether everything has come, or, where connections hang up, every answer.
    pub(super) fn is_settled(&self, reconnects: bool) -> bool {
        let answered = self.seats.iter().all(|seat| seat.open.is_empty());
        answered && (reconnects || self.received >= self.expected)
    }

    pub(super) fn begin(&mut self, now_ns: u64) {
        self.measure_ns = now_ns..u64::MAX;
        for line in &mut self.lines {
            line.from = line.now();
        }
    }

    pub(super) fn end(&mut self, now_ns: u64) {
        self.measure_ns.end = now_ns;
        for line in &mut self.lines {
            line.to = line.now();
        }
    }

    /// Notes a request; returns its id.
    pub(super) fn asked(&mut self, index: usize, kind: Kind, at_ns: u64) -> u64 {
        let seat = &mut self.seats[index];
        self.lines[kind.number()].asked += 1;
        if kind == Kind::Reconnect {
            // Nobody will answer what was asked on the old connection.
            self.abandoned += seat.open.len() as u64;
            seat.open.clear();
            seat.open.push_back((RECONNECT_ID, kind, at_ns));
            return RECONNECT_ID;
        }
        seat.asked += 1;
        seat.open.push_back((seat.asked, kind, at_ns));
        self.expected += kind.deliveries(self.members as u64);
        seat.asked
    }

    /// Notes an answer; returns what was asked.
    pub(super) fn answered(&mut self, index: usize, id: u64, now_ns: u64) -> Option<Kind> {
        let open = &mut self.seats[index].open;
        let place = open.iter().position(|(asked, _, _)| *asked == id)?;
        let (_, kind, at_ns) = open.remove(place)?;
        let line = &mut self.lines[kind.number()];
        line.answered += 1;
        if self.measure_ns.contains(&at_ns) {
            line.answer.record(now_ns.saturating_sub(at_ns));
        }
        Some(kind)
    }

    /// Takes a frame that `index` was sent.
    #[inline]
    pub(super) fn take<T: Transport>(
        &mut self,
        transport: T,
        index: usize,
        frame: &[u8],
        now_ns: u64,
    ) {
        if transport.kind(frame) == FrameKind::Message {
            self.delivered(index, transport.text(frame), now_ns);
        } else {
            self.other(transport, index, frame, now_ns);
        }
    }

    #[inline]
    fn delivered(&mut self, index: usize, text: &[u8], now_ns: u64) {
        let stamp = Stamp::read(text);
        let line = stamp.and_then(|stamp| self.lines.get_mut(stamp.kind as usize));
        let (Some(stamp), Some(line)) = (stamp, line) else {
            self.unreadable += 1;
            return;
        };
        if stamp.sender == (self.first + index) as u32 {
            self.own += 1;
            return;
        }
        self.received += 1;
        line.delivered += 1;
        if self.measure_ns.contains(&stamp.at_ns) {
            line.delivery.record(now_ns.saturating_sub(stamp.at_ns));
        }
    }

    fn other<T: Transport>(&mut self, transport: T, index: usize, frame: &[u8], now_ns: u64) {
        let mut rows = Vec::new();
        let decoded = match transport.decode(frame, &mut rows) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.first_error.get_or_insert(error);
                return;
            }
        };
        match &decoded.body {
            ServerBody::Checkpoint { token } | ServerBody::CaughtUp { token } => {
                self.seats[index].sync = token.to_string();
            }
            ServerBody::Sent {
                seq, conversation, ..
            } if conversation.starts_with("g.") => {
                let newest = &mut self.newest[index / self.members];
                *newest = (*newest).max(*seq);
            }
            _ => {}
        }
        if decoded.id == RECONNECT_ID {
            return;
        }
        let Some(kind) = self.answered(index, decoded.id, now_ns) else {
            return;
        };
        if let ServerBody::Error { name, message, .. } = decoded.body {
            self.lines[kind.number()].failed += 1;
            self.expected -= kind.deliveries(self.members as u64);
            self.first_error
                .get_or_insert_with(|| format!("{name}: {message}"));
        }
    }

    /// Puts everything into the outcome: sums, and for each kind `kind.name`.
    pub(super) fn report(self, outcome: &mut Outcome) -> Result<(), Failure> {
        let (mut all, mut answers) = (Latencies::new(), Latencies::new());
        let (mut answered, mut delivered, mut failed) = (0, 0, 0);
        for (line, (_, name)) in self.lines.into_iter().zip(KINDS) {
            if line.asked == 0 {
                continue;
            }
            let measured = (
                line.to.0 - line.from.0,
                line.to.1 - line.from.1,
                line.to.2 - line.from.2,
            );
            outcome.count(&format!("{name}.asked"), measured.0);
            outcome.count(&format!("{name}.answered"), measured.1);
            outcome.count(&format!("{name}.delivered"), measured.2);
            outcome.count(&format!("{name}.failed"), line.failed);
            answered += measured.1;
            delivered += measured.2;
            failed += line.failed;
            all.add(&line.delivery)?;
            answers.add(&line.answer)?;
            outcome.distribution(&format!("{name}.latency"), line.delivery);
            outcome.distribution(&format!("{name}.answer_latency"), line.answer);
            if name == "reconnect" {
                outcome.count("reconnects", line.asked);
            }
        }
        outcome.distribution("latency", all);
        outcome.distribution("answer_latency", answers);
        let unanswered: usize = self.seats.iter().map(|seat| seat.open.len()).sum();
        outcome.sums.entry("reconnects".into()).or_default();
        for (name, value) in [
            ("answered", answered),
            ("delivered", delivered),
            ("failed", failed),
            ("expected", self.expected),
            ("received", self.received),
            ("own", self.own),
            ("unreadable", self.unreadable),
            ("abandoned", self.abandoned),
            ("unanswered", unanswered as u64),
        ] {
            outcome.count(name, value);
        }
        outcome.first_error = self.first_error;
        Ok(())
    }
}

impl Line {
    fn new() -> Self {
        Self {
            asked: 0,
            answered: 0,
            failed: 0,
            delivered: 0,
            answer: Latencies::new(),
            delivery: Latencies::new(),
            from: (0, 0, 0),
            to: (0, 0, 0),
        }
    }

    fn now(&self) -> (u64, u64, u64) {
        (self.asked, self.answered, self.delivered)
    }
}
