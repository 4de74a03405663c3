//! `fanout`: the first connections send to a group of all others, which count what arrives.
//!
//! Of several processes the first one has all publishers, and every one has subscribers.

use imfast_wire::frames::client::Target;
use imfast_wire::frames::server::ServerBody;
use serde_json::{Map, Value, json};

use super::groups;
use super::loops::{Phase, Phases};
use super::message::{Messages, Stamp};
use super::{Scenario, Stage};
use crate::board::Board;
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::measure::{burn, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::pool::Pool;
use crate::result::Outcome;
use crate::transport::{Kind, Transport};

/// How often publishers look at what other processes have received.
const LOOK_NS: u64 = 200_000;

pub(crate) struct FanOut;

impl Scenario for FanOut {
    /// The group's conversation; empty where there is no publisher.
    type Prepared = String;

    fn apart(options: &Options) -> usize {
        options.publishers
    }

    fn senders(options: &Options) -> usize {
        options.publishers
    }

    fn prepare<T: Transport>(stage: &mut Stage<'_, T>) -> Result<String, Failure> {
        if stage.options.share.is_some_and(|index| index > 0) {
            return Ok(String::new());
        }
        if !T::GROUPS {
            return Ok("topic".into());
        }
        let members = stage.everybody.iter().skip(1).map(|user| &*user.name);
        let members: Vec<&str> = members.collect();
        groups::create(stage.transport, &mut stage.pool, 0, &members)
    }

    fn run<T: Transport>(stage: Stage<'_, T>, group: String) -> Result<Outcome, Failure> {
        let silent = 0;
        run(stage, &group, silent).map(|(outcome, _)| outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        let (bytes, segments) = (outcome.sum("wire_bytes"), outcome.sum("segments"));
        let cpu_us = outcome.reading.server_cpu_seconds * 1e6;
        let expected = (outcome.sum("sent") - outcome.sum("failed")) * outcome.sum("subscribers");
        for (name, value) in [
            ("delivered_per_second", outcome.rate("delivered")),
            ("acked_per_second", outcome.rate("acked")),
            (
                "wire_bytes_per_frame",
                outcome.per(bytes as f64, "delivered"),
            ),
            (
                "frames_per_send",
                outcome.sum("delivered") as f64 / segments.max(1) as f64,
            ),
            (
                "server_cpu_us_per_delivery",
                outcome.per(cpu_us, "delivered"),
            ),
        ] {
            fields.insert(name.into(), json!(value));
        }
        fields.insert("lost".into(), json!(expected - outcome.sum("received")));
    }
}

/// What arrived.
struct Arrivals {
    publishers: usize,
    /// Connections before the first subscriber.
    apart: usize,
    /// Messages at subscribers.
    total: u64,
    /// That subscribers read, framing and other frames included.
    bytes: u64,
    /// Requests of each publisher that have their answer.
    answered: Vec<u64>,
    acked: u64,
    failed: u64,
    first_error: Option<String>,
    latencies: Latencies,
    measure_from_ns: u64,
}

/// Publishes to `group`, which is empty where there is no publisher, and counts. The `silent`
/// connections behind the publishers are left alone, and counted nowhere.
pub(super) fn run<'a, T: Transport>(
    mut stage: Stage<'a, T>,
    group: &str,
    silent: usize,
) -> Result<(Outcome, Stage<'a, T>), Failure> {
    let (transport, options) = (stage.transport, stage.options);
    let publishers = if group.is_empty() {
        0
    } else {
        options.publishers
    };
    let board = stage.board.take();
    let pool = &mut stage.pool;
    let apart = if group.is_empty() {
        0
    } else {
        publishers + silent
    };
    let subscribers = (pool.len() - apart) as u64;
    let mut messages = Messages::new(options);
    let mut arrivals = Arrivals::new(publishers, apart);
    let mut phases = Phases::new(options, stage.start_ns, pool.len());
    let open_loop = options.rate.is_some();
    let mut pace = options
        .rate
        .filter(|_| publishers > 0)
        .map(|rate| Pace::new(stage.start_ns, rate));
    let (mut events, mut sent) = (Vec::new(), vec![0u64; publishers]);
    let (mut from, mut to) = (Mark::default(), Mark::default());
    let mut lag = Latencies::new();
    while phases.phase != Phase::Over {
        let now = now_ns();
        phases.received(now, arrivals.total);
        let all_sent: u64 = sent.iter().sum();
        let everywhere = arrivals.everywhere(subscribers);
        if let Some(board) = &board {
            board.tell(everywhere)?;
        }
        let settled = if publishers > 0 {
            let delivered = everywhere.saturating_add(arrivals.failed) >= all_sent;
            delivered && arrivals.acked + arrivals.failed >= all_sent
        } else {
            let last = board.as_ref().map_or(Ok(None), Board::last)?;
            last.is_some_and(|last| everywhere >= last)
        };
        if phases.advance(now, settled) {
            match phases.phase {
                Phase::Measured => {
                    from = Mark::of(&arrivals, pool)?;
                    arrivals.measure_from_ns = now;
                }
                Phase::Drain => {
                    to = Mark::of(&arrivals, pool)?;
                    phases.note_pace(pace.as_ref());
                }
                _ => {}
            }
        }
        if publishers > 0 && !phases.sending() && arrivals.acked + arrivals.failed >= all_sent {
            // What failed is delivered to nobody.
            if let Some(board) = &board {
                board.tell_last(arrivals.acked)?;
            }
        }
        let mut look_ns = u64::MAX;
        if phases.sending() {
            if let Some(pace) = &mut pace {
                while let Some((number, at_ns)) = pace.take(now) {
                    let index = (number % publishers as u64) as usize;
                    send(
                        pool,
                        &mut messages,
                        group,
                        options,
                        &mut sent,
                        (index, 1),
                        at_ns,
                    )?;
                    lag.record(now_ns() - at_ns);
                }
                look_ns = pace.next_ns();
            } else if publishers > 0 {
                let done = match &board {
                    Some(board) => board.least()?,
                    None => everywhere,
                };
                if board.is_some() {
                    look_ns = now + LOOK_NS;
                }
                let under_way = all_sent.saturating_sub(done.saturating_add(arrivals.failed));
                let mut left = (options.window * publishers as u64).saturating_sub(under_way);
                for index in 0..publishers {
                    let room = options
                        .window
                        .saturating_sub(sent[index] - arrivals.answered[index]);
                    let count = room.min(left);
                    left -= count;
                    send(
                        pool,
                        &mut messages,
                        group,
                        options,
                        &mut sent,
                        (index, count),
                        now,
                    )?;
                }
            }
        }
        if !T::ANSWERS {
            arrivals.answered.clone_from(&sent);
            arrivals.acked = sent.iter().sum();
        }
        pool.wait(phases.wake_ns().min(look_ns).max(now), &mut events)?;
        for event in &events {
            let at = event.index.unwrap_or(0);
            let now = if open_loop { now_ns() } else { 0 };
            let bytes = pool.handle(*event, |frame| arrivals.take(transport, at, frame, now))?;
            if at >= apart {
                arrivals.bytes += bytes as u64;
            }
        }
    }
    let mut outcome = stage.outcome();
    outcome.reading = phases
        .reading
        .ok_or_else(|| Failure::Said("no measured time".into()))?;
    outcome.per_second = phases.per_second;
    for (name, value) in [
        ("subscribers", subscribers),
        ("delivered", to.delivered - from.delivered),
        ("acked", to.acked - from.acked),
        ("wire_bytes", to.bytes - from.bytes),
        ("segments", to.segments - from.segments),
        ("sent", sent.iter().sum()),
        ("received", arrivals.total),
        ("failed", arrivals.failed),
    ] {
        outcome.count(name, value);
    }
    outcome.first_error = arrivals.first_error;
    outcome.distribution("latency", arrivals.latencies);
    outcome.distribution("send_lag", lag);
    Ok((outcome, stage))
}

/// Counts at one moment.
#[derive(Default)]
struct Mark {
    delivered: u64,
    acked: u64,
    bytes: u64,
    /// Segments that the subscribers received, of all time.
    segments: u64,
}

impl Mark {
    fn of<T: Transport>(arrivals: &Arrivals, pool: &Pool<T>) -> Result<Self, Failure> {
        let segments = (arrivals.apart..pool.len()).map(|index| pool.segments_received(index));
        Ok(Self {
            delivered: arrivals.total,
            acked: arrivals.acked,
            bytes: arrivals.bytes,
            segments: segments.sum::<Result<u64, Failure>>()?,
        })
    }
}

/// Sends `count` messages of publisher `index`, which were to be sent `at_ns`.
fn send<T: Transport>(
    pool: &mut Pool<T>,
    messages: &mut Messages,
    group: &str,
    options: &Options,
    sent: &mut [u64],
    (index, count): (usize, u64),
    at_ns: u64,
) -> Result<(), Failure> {
    let stamp = Stamp {
        at_ns,
        ..Stamp::default()
    };
    let mut batch = pool.batch(index);
    for left in (0..count).rev() {
        sent[index] += 1;
        burn(options.burn);
        batch.add(&messages.next(sent[index], Target::Group(group.into()), stamp));
        if !options.batch || left == 0 {
            batch.send()?;
        }
    }
    Ok(())
}

impl Arrivals {
    fn new(publishers: usize, apart: usize) -> Self {
        Self {
            publishers,
            apart,
            total: 0,
            bytes: 0,
            answered: vec![0; publishers],
            acked: 0,
            failed: 0,
            first_error: None,
            latencies: Latencies::new(),
            measure_from_ns: u64::MAX,
        }
    }

    /// Messages that all of the subscribers here have, on average.
    fn everywhere(&self, subscribers: u64) -> u64 {
        self.total.checked_div(subscribers).unwrap_or(u64::MAX)
    }

    /// Takes a frame; `now_ns` 0: a closed loop, which has no latencies.
    #[inline]
    fn take<T: Transport>(&mut self, transport: T, at: usize, frame: &[u8], now_ns: u64) {
        if transport.kind(frame) == Kind::Message {
            if at >= self.apart {
                self.total += 1;
                if now_ns != 0 {
                    self.record(transport.text(frame), now_ns);
                }
            }
        } else if at < self.publishers {
            self.answer(transport, at, frame);
        }
    }

    fn record(&mut self, text: &[u8], now_ns: u64) {
        if let Some(stamp) = Stamp::read(text)
            && stamp.at_ns >= self.measure_from_ns
        {
            self.latencies.record(now_ns.saturating_sub(stamp.at_ns));
        }
    }

    fn answer<T: Transport>(&mut self, transport: T, at: usize, frame: &[u8]) {
        let mut rows = Vec::new();
        match transport.decode(frame, &mut rows).map(|frame| frame.body) {
            Ok(ServerBody::Sent { .. }) => self.acked += 1,
            Ok(ServerBody::Error { name, message, .. }) => {
                self.failed += 1;
                self.first_error
                    .get_or_insert_with(|| format!("{name}: {message}"));
            }
            Ok(_) => return,
            Err(error) => {
                self.first_error.get_or_insert(error);
                return;
            }
        }
        self.answered[at] += 1;
    }
}
