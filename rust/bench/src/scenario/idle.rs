//! `idle`: connections that say nothing but the heartbeat, until standard input ends.
//!
//! A line of standard input asks for something meanwhile:
//!
//! | line | does | prints |
//! | --- | --- | --- |
//! | `ping S` | has every connection ping once, spread over S seconds | `pinged`: how many of how many `connections` were `answered`, within S and 5 more seconds |
//! | `arrivals` | tells of the messages since the last time | `arrived`: `messages`, and `latest_ns` of the monotonic clock, when the last one did |

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use imfast_wire::frames::client::{ClientFrame, Verb};
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use serde_json::json;

use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::lines;
use crate::measure::{Meter, now_ns};
use crate::pool::Pool;
use crate::result::Outcome;
use crate::transport::{Kind, Transport};

const TURN_NS: u64 = 100_000_000;

/// How long the last answers to `ping` may take.
const ANSWER_NS: u64 = 5_000_000_000;

pub(crate) struct Idle;

impl Scenario for Idle {
    type Prepared = ();

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(mut stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let wishes = listen();
        let meter = Meter::start(&stage.options.server_pids);
        let mut heart = Heart::new(&stage.pool, stage.pool.opened.heartbeat_ms * 1_000_000);
        let mut round = None::<Round>;
        let (mut events, mut rows) = (Vec::new(), Vec::new());
        let (mut frames, mut arrived) = (0u64, Arrived::default());
        loop {
            match wishes.try_recv() {
                Ok(Wish::Ping { over_ns }) => round = Some(Round::new(&stage.pool, over_ns)),
                Ok(Wish::Arrivals) => arrived.tell(),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            heart.beat(&mut stage.pool)?;
            if let Some(round) = &mut round {
                round.heart.beat(&mut stage.pool)?;
            }
            stage.pool.wait(now_ns() + TURN_NS, &mut events)?;
            for event in &events {
                let transport = stage.transport;
                stage.pool.handle(*event, |frame| {
                    frames += 1;
                    if transport.kind(frame) == Kind::Message {
                        arrived.note();
                    } else if let (Some(round), Some(index)) = (&mut round, event.index) {
                        round.heard(index, &transport.decode(frame, &mut rows));
                    }
                })?;
            }
            round = round.and_then(Round::unless_over);
        }
        let mut outcome = stage.outcome();
        outcome.reading = meter.read();
        outcome.count("pings", heart.pinged as u64);
        outcome.count("frames_received", frames);
        Ok(outcome)
    }
}

/// What a line of standard input asks for.
enum Wish {
    Ping { over_ns: u64 },
    Arrivals,
}

/// Reads standard input in a thread of its own; the channel ends with it, and at a line that is
/// none of ours.
fn listen() -> Receiver<Wish> {
    let (to, wishes) = channel();
    thread::spawn(move || {
        while let Some(line) = lines::wait_for_input() {
            let wish = match line.trim().split_once(' ') {
                Some(("ping", seconds)) => seconds.parse::<f64>().ok().map(|seconds| Wish::Ping {
                    over_ns: (seconds * 1e9) as u64,
                }),
                None if line.trim() == "arrivals" => Some(Wish::Arrivals),
                _ => None,
            };
            let Some(wish) = wish else {
                return;
            };
            if to.send(wish).is_err() {
                return;
            }
        }
    });
    wishes
}

/// Pings every connection once an interval, evenly spread over it.
struct Heart {
    began_ns: u64,
    interval_ns: u64,
    pinged: usize,
    /// Connections it pings at most; none: for ever.
    last: Option<usize>,
}

impl Heart {
    fn new<T: Transport>(pool: &Pool<T>, interval_ns: u64) -> Self {
        debug_assert!(pool.len() > 0, "no run is without connections");
        Self {
            began_ns: now_ns(),
            interval_ns: interval_ns.max(1),
            pinged: 0,
            last: None,
        }
    }

    /// Sends the pings that are due: connection i's comes i/N of an interval after the start.
    fn beat<T: Transport>(&mut self, pool: &mut Pool<T>) -> Result<(), Failure> {
        let passed = (now_ns() - self.began_ns) as f64 / self.interval_ns as f64;
        let due = (passed * pool.len() as f64) as usize;
        let due = self.last.map_or(due, |last| due.min(last));
        let ping = ClientFrame {
            id: 0,
            verb: Verb::Ping,
        };
        for turn in self.pinged..due {
            pool.send(turn % pool.len(), &ping)?;
        }
        self.pinged = self.pinged.max(due);
        Ok(())
    }
}

/// One `ping`.
struct Round {
    heart: Heart,
    answered: Vec<bool>,
}

impl Round {
    fn new<T: Transport>(pool: &Pool<T>, over_ns: u64) -> Self {
        let mut heart = Heart::new(pool, over_ns);
        heart.last = Some(pool.len());
        Self {
            heart,
            answered: vec![false; pool.len()],
        }
    }

    fn heard(&mut self, index: usize, frame: &Result<ServerFrame<'_>, String>) {
        let answers = matches!(frame, Ok(frame) if matches!(frame.body, ServerBody::Pong { .. }));
        self.answered[index] |= answers && index < self.heart.pinged;
    }

    /// Tells how it went once all are answered, or time is over.
    fn unless_over(self) -> Option<Self> {
        let all = self.answered.len();
        let passed_ns = now_ns() - self.heart.began_ns;
        let answered = self.answered.iter().filter(|answered| **answered).count();
        if answered < all && passed_ns < self.heart.interval_ns + ANSWER_NS {
            return Some(self);
        }
        let seconds = passed_ns as f64 / 1e9;
        let fields = json!({ "connections": all, "answered": answered, "seconds": seconds });
        lines::event("pinged", fields);
        None
    }
}

/// Messages since they were asked for.
#[derive(Default)]
struct Arrived {
    messages: u64,
    latest_ns: u64,
}

impl Arrived {
    fn note(&mut self) {
        self.messages += 1;
        self.latest_ns = now_ns();
    }

    fn tell(&mut self) {
        let fields = json!({ "messages": self.messages, "latest_ns": self.latest_ns });
        lines::event("arrived", fields);
        *self = Self::default();
    }
}
