//! `mixed`: requests of several kinds, by `--mix`, of connections that are in groups of
//! `--members`. A request is done when it has its answer; deliveries are counted beside, by the
//! kind and the sender that each message carries.

mod tally;

use serde_json::{Map, Value, json};

use imfast_wire::frames::client::{ClientFrame, Target, Verb};

use super::groups;
use super::loops::{Phase, Phases};
use super::message::{Messages, Stamp};
use super::mix::{KINDS, Kind, Mix};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::measure::{burn, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::pool::Pool;
use crate::result::Outcome;
use crate::transport::Transport;
use tally::Tally;

/// Paced requests made before the next look at what arrived.
const REQUESTS_PER_TURN: usize = 256;

pub(crate) struct Mixed;

impl Scenario for Mixed {
    /// The conversation of each group.
    type Prepared = Vec<String>;

    fn block(options: &Options) -> usize {
        options.members
    }

    fn prepare<T: Transport>(stage: &mut Stage<'_, T>) -> Result<Vec<String>, Failure> {
        if !T::GROUPS || !T::ANSWERS {
            return Err(Failure::Said("this needs groups and answers".into()));
        }
        let mut made = Vec::new();
        for (number, members) in stage.users.chunks_exact(stage.options.members).enumerate() {
            let others: Vec<&str> = members.iter().skip(1).map(|user| &*user.name).collect();
            let creator = number * stage.options.members;
            let group = groups::create(stage.transport, &mut stage.pool, creator, &others)?;
            made.push(group);
        }
        if made.is_empty() {
            return Err(Failure::Said("fewer connections than --members".into()));
        }
        Ok(made)
    }

    fn run<T: Transport>(stage: Stage<'_, T>, groups: Vec<String>) -> Result<Outcome, Failure> {
        let mix = Mix::parse(&stage.options.mix)?;
        run(stage, &groups, mix)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        let mut kinds = Map::new();
        for (_, name) in KINDS {
            let prefix = format!("{name}.");
            let own = |field: &String| field.starts_with(&prefix);
            let names: Vec<String> = fields.keys().filter(|field| own(field)).cloned().collect();
            let mut kind = Map::new();
            for field in names {
                if let (Some(value), Some(short)) =
                    (fields.remove(&field), field.strip_prefix(&prefix))
                {
                    kind.insert(short.into(), value);
                }
            }
            if !kind.is_empty() {
                for rate in ["answered", "delivered"] {
                    let value = outcome.rate(&format!("{prefix}{rate}"));
                    kind.insert(format!("{rate}_per_second"), json!(value));
                }
                kinds.insert(name.into(), Value::Object(kind));
            }
        }
        fields.insert("kinds".into(), Value::Object(kinds));
        let cpu_us = outcome.reading.server_cpu_seconds * 1e6;
        let handled = (outcome.sum("answered") + outcome.sum("delivered")).max(1);
        for (name, value) in [
            ("requests_per_second", outcome.rate("answered")),
            ("delivered_per_second", outcome.rate("delivered")),
            ("server_cpu_us_per_request", outcome.per(cpu_us, "answered")),
            ("server_cpu_us_per_frame", cpu_us / handled as f64),
        ] {
            fields.insert(name.into(), json!(value));
        }
        // Who hung up meanwhile misses what is ephemeral, and has again what it had not told.
        if outcome.sum("reconnects") == 0 {
            let missing = outcome.sum("expected") - outcome.sum("received");
            fields.insert("lost".into(), json!(missing));
        }
    }
}

/// Who asks, and what for.
struct Asker<'a> {
    options: &'a Options,
    groups: &'a [String],
    names: Vec<&'a str>,
    messages: Messages,
    mix: Mix,
}

pub(super) fn run<T: Transport>(
    mut stage: Stage<'_, T>,
    groups: &[String],
    mix: Mix,
) -> Result<Outcome, Failure> {
    let (transport, options) = (stage.transport, stage.options);
    let users = std::rc::Rc::clone(&stage.users);
    let connections = groups.len() * options.members;
    let rate = options.rate.map(|rate| stage.share_of(rate));
    let mut tally = Tally::new(connections, options, stage.first);
    let reconnects = mix.has(Kind::Reconnect);
    let mut asker = Asker {
        options,
        groups,
        names: users.iter().map(|user| &*user.name).collect(),
        messages: Messages::new(options),
        mix,
    };
    let pool = &mut stage.pool;
    let mut phases = Phases::new(options, stage.start_ns, connections);
    let mut pace = rate.map(|rate| Pace::new(stage.start_ns, rate));
    let mut lag = Latencies::new();
    let mut turn = Turn(stage.start_ns);
    let mut events = Vec::new();
    let mut first_turn = true;
    while phases.phase != Phase::Over {
        let now = now_ns();
        phases.received(now, tally.received());
        let settled = pool.ready() == pool.len() && tally.is_settled(reconnects);
        if phases.advance(now, settled) {
            match phases.phase {
                Phase::Measured => tally.begin(now),
                Phase::Drain => {
                    tally.end(now);
                    phases.note_pace(pace.as_ref());
                }
                _ => {}
            }
        }
        if let Some(pace) = pace.as_mut().filter(|_| phases.sending()) {
            let due = std::iter::from_fn(|| pace.take(now_ns())).take(REQUESTS_PER_TURN);
            for (_, at_ns) in due {
                let index = turn.next(connections, |index| pool.is_ready(index));
                ask(pool, &mut tally, &mut asker, index, at_ns)?;
                lag.record(now_ns() - at_ns);
            }
        } else if phases.sending() && first_turn {
            for index in 0..connections {
                fill(pool, &mut tally, &mut asker, index)?;
            }
            first_turn = false;
        }
        let until = pace
            .as_ref()
            .filter(|_| phases.sending())
            .map_or(u64::MAX, Pace::next_ns);
        pool.wait(phases.wake_ns().min(until).max(now), &mut events)?;
        for event in &events {
            let Some(index) = event.index.filter(|index| *index < connections) else {
                pool.handle(*event, |_| ())?;
                continue;
            };
            let (was_ready, now) = (pool.is_ready(index), now_ns());
            let handled = pool.handle(*event, |frame| tally.take(transport, index, frame, now));
            match handled {
                // One that hung up may be told so about its old socket.
                Err(Failure::Closed(_)) if !was_ready => pool.redial(index, tally.sync(index))?,
                handled => {
                    handled?;
                }
            }
            if !was_ready && pool.is_ready(index) {
                tally.answered(index, tally::RECONNECT_ID, now);
            }
            if pace.is_none() && phases.sending() {
                fill(pool, &mut tally, &mut asker, index)?;
            }
        }
    }
    let mut outcome = stage.outcome();
    outcome.reading = phases
        .reading
        .ok_or_else(|| Failure::Said("no measured time".into()))?;
    outcome.connections = connections as u64;
    outcome.per_second = phases.per_second;
    outcome.distribution("send_lag", lag);
    tally.report(&mut outcome)?;
    Ok(outcome)
}

/// Makes requests until the window of `index` is full.
fn fill<T: Transport>(
    pool: &mut Pool<T>,
    tally: &mut Tally,
    asker: &mut Asker<'_>,
    index: usize,
) -> Result<(), Failure> {
    while pool.is_ready(index) && tally.under_way(index) < asker.options.window {
        ask(pool, tally, asker, index, now_ns())?;
    }
    Ok(())
}

/// Makes the next request, of connection `index`, which was to be made at `at_ns`.
fn ask<T: Transport>(
    pool: &mut Pool<T>,
    tally: &mut Tally,
    asker: &mut Asker<'_>,
    index: usize,
    at_ns: u64,
) -> Result<(), Failure> {
    burn(asker.options.burn);
    let kind = asker.mix.next();
    let id = tally.asked(index, kind, at_ns);
    let (members, group) = (asker.options.members, index / asker.options.members);
    let conversation = &*asker.groups[group];
    let next = group * members + (index + 1) % members;
    let stamp = Stamp {
        at_ns,
        sender: tally.sender(index),
        kind: kind.number() as u8,
    };
    asker.messages.ephemeral = asker.options.ephemeral || kind == Kind::Ephemeral;
    let frame = match kind {
        Kind::Direct | Kind::Ephemeral => {
            let to = Target::User(asker.names[next].into());
            asker.messages.next(id, to, stamp)
        }
        Kind::Group => asker
            .messages
            .next(id, Target::Group(conversation.into()), stamp),
        Kind::History => ClientFrame {
            id,
            verb: Verb::History {
                conversation: conversation.into(),
                before: None,
                after: None,
                limit: None,
            },
        },
        Kind::Read => ClientFrame {
            id,
            verb: Verb::Read {
                conversation: conversation.into(),
                seq: tally.newest(group),
            },
        },
        Kind::Reconnect => return pool.redial(index, tally.sync(index)),
    };
    pool.send(index, &frame)
}

/// Whose turn it is: anybody's, so that no connection has always the same kind of request.
struct Turn(u64);

impl Turn {
    /// A connection that is ready, if there is one.
    fn next(&mut self, connections: usize, is_ready: impl Fn(usize) -> bool) -> usize {
        // Knuth's multiplier of a linear congruential generator (MMIX).
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let start = (self.0 >> 33) as usize % connections;
        let ring = (start..connections).chain(0..start);
        ring.into_iter()
            .find(|index| is_ready(*index))
            .unwrap_or(start)
    }
}
