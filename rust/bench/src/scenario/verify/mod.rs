//! `verify`: many conversations through any number of crashes, and every number of each checked.
//!
//! Users send with keys, at a constant rate or in a window; what has no answer when a connection
//! breaks goes out again on the next one, under the same key. Everybody catches up by the sync
//! token. In the end all that has a number must be with every member and in the history.

mod body;
mod checker;
pub(super) mod driver;
mod findings;
mod history;
mod links;
mod outages;
mod outbox;
pub(super) mod plan;
mod random;
mod ranges;
pub(super) mod traffic;

use std::rc::Rc;

use serde_json::{Map, Value, json};

use self::driver::Driver;
use self::findings::Kind;
use self::plan::Plan;
use self::random::Random;
use self::traffic::Traffic;
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::lines;
use crate::measure::{Meter, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::result::Outcome;
use crate::transport::Transport;

const SECOND_NS: u64 = 1_000_000_000;
/// After everything has arrived, what comes too often has this long to come.
const QUIET_NS: u64 = 500_000_000;
/// Between two looks at whether everything has arrived.
const LOOK_NS: u64 = 100_000_000;
/// Messages sent before the next look at what arrived.
const SENDS_PER_TURN: usize = 256;
/// Rows that are read from history in the end: the newest of each conversation.
const HISTORY_ROWS: u64 = 2_000_000;
const PAGES_UNDER_WAY: usize = 16;

pub(crate) struct Verify;

impl Scenario for Verify {
    type Prepared = ();

    const CONNECTS_ITSELF: bool = true;

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let (options, users) = (stage.options, Rc::clone(&stage.users));
        if users.len() < 2 {
            return Err(Failure::Said("verify needs two connections".into()));
        }
        let groups = options.groups.unwrap_or(users.len() / 10);
        let plan = Plan::new(users.len(), groups, options.members);
        let traffic = Traffic::new(&users, plan, options.body_bytes);
        let mut run = Run {
            driver: Driver::new(stage.transport, options, &users, traffic)?,
            options,
            rate: options.rate.map(|rate| stage.share_of(rate)),
            progress_ns: 0,
        };
        run.driver.set_up()?;
        lines::event("begun", json!({"connections": users.len()}));
        let meter = Meter::start(&options.server_pids);
        let behind_ns = run.send()?;
        let mut reading = meter.read();
        reading.behind_ns = behind_ns;
        let drained = run.drain()?;
        run.read_history()?;
        let mut outcome = stage.outcome();
        outcome.reading = reading;
        outcome.connections = users.len() as u64;
        outcome.facts.insert("drain_seconds".into(), json!(drained));
        report(run.driver.traffic, &mut outcome);
        Ok(outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        fields.insert("wrong".into(), json!(is_wrong(outcome)));
    }
}

/// A run, and when its next line of progress is due.
struct Run<'a, T> {
    driver: Driver<T>,
    options: &'a Options,
    /// Messages a second of this process; none: closed loop.
    rate: Option<f64>,
    progress_ns: u64,
}

impl<T: Transport> Run<'_, T> {
    /// Sends for the measured time; returns how late an open loop was in the end.
    fn send(&mut self) -> Result<u64, Failure> {
        let began_ns = now_ns();
        let until_ns = began_ns + self.options.measured.as_nanos() as u64;
        let mut random = Random::new(began_ns);
        let mut pace = self.rate.map(|rate| Pace::new(began_ns, rate));
        let lists = self.driver.traffic.plan.by_user(self.driver.links.len());
        let mut touched: Vec<usize> = (0..self.driver.links.len()).collect();
        while now_ns() < until_ns {
            let mut wait_ns = until_ns;
            if let Some(pace) = &mut pace {
                let due = std::iter::from_fn(|| pace.take(now_ns()));
                for (_, at_ns) in due.take(SENDS_PER_TURN) {
                    let (conversation, user) = self.driver.traffic.plan.any(&mut random);
                    self.driver.traffic.send(user as usize, conversation, at_ns);
                    self.driver.write(user as usize);
                }
                wait_ns = wait_ns.min(pace.next_ns());
            } else {
                for user in touched {
                    self.fill(user, &lists[user], &mut random);
                }
            }
            touched = self.driver.turn(wait_ns)?;
            self.tell();
        }
        Ok(pace.map_or(0, |pace| pace.behind_ns(until_ns)))
    }

    /// Sends what the user's window has room for.
    fn fill(&mut self, user: usize, conversations: &[u32], random: &mut Random) {
        while (self.driver.traffic.outboxes[user].len() as u64) < self.options.window {
            let at = random.below(conversations.len() as u64) as usize;
            self.driver.traffic.send(user, conversations[at], now_ns());
        }
        self.driver.write(user);
    }

    /// Waits until everything is answered and everybody has everything; returns the seconds.
    fn drain(&mut self) -> Result<f64, Failure> {
        let began_ns = now_ns();
        let give_up_ns = began_ns + self.options.drain.as_nanos() as u64;
        while now_ns() < give_up_ns {
            let look_ns = now_ns() + LOOK_NS;
            while now_ns() < look_ns {
                self.driver.turn(look_ns)?;
                self.tell();
            }
            let traffic = &self.driver.traffic;
            let everybody_is_back =
                (0..self.driver.links.len()).all(|index| self.driver.links.is_served(index));
            if everybody_is_back && traffic.unanswered() == 0 && traffic.checker.outstanding() == 0
            {
                break;
            }
        }
        let took = now_ns() - began_ns;
        let quiet_ns = now_ns() + QUIET_NS;
        while now_ns() < quiet_ns {
            self.driver.turn(quiet_ns)?;
        }
        Ok(took as f64 / 1e9)
    }

    /// Reads the newest rows of every conversation, each by another member.
    fn read_history(&mut self) -> Result<(), Failure> {
        let traffic = &mut self.driver.traffic;
        let known = traffic.plan.conversations.iter().enumerate();
        let known: Vec<_> = known
            .filter_map(|(number, planned)| {
                let reader = planned.members[number % planned.members.len()];
                Some((reader as usize, planned.index?))
            })
            .collect();
        let rows = HISTORY_ROWS / known.len().max(1) as u64;
        for (user, at) in known {
            let after = traffic.checker.head(at).saturating_sub(rows);
            traffic.history.read(user, at, after);
        }
        let give_up_ns = now_ns() + self.options.drain.as_nanos() as u64;
        while !self.driver.traffic.history.is_done() {
            if now_ns() > give_up_ns {
                self.driver.traffic.history_given_up();
                return Ok(());
            }
            self.driver.ask_for_pages(PAGES_UNDER_WAY);
            self.driver.turn(now_ns() + LOOK_NS)?;
            self.tell();
        }
        Ok(())
    }

    /// Prints a line of progress each second, if it is wanted.
    fn tell(&mut self) {
        let now = now_ns();
        if !self.options.progress || now < self.progress_ns {
            return;
        }
        self.progress_ns = now + SECOND_NS;
        let links = &self.driver.links;
        let away = (0..links.len())
            .filter(|&index| !links.is_served(index))
            .count();
        let traffic = &mut self.driver.traffic;
        let counts = &traffic.counts;
        let mut line = json!({
            "at_ns": now,
            "sent": counts.sent,
            "acknowledged": counts.acknowledged,
            "delivered": traffic.checker.delivered,
            "breaks": counts.breaks,
            "away": away,
            "wrong": !traffic.checker.findings.is_empty(),
        });
        line["outages"] = traffic.outages.take_recent();
        lines::event("progress", line);
    }
}

/// Counts that must be 0.
const WRONG: [&str; 2] = ["failed", "unanswered"];

/// Whether any promise was broken, or could not be checked.
pub(super) fn is_wrong(outcome: &Outcome) -> bool {
    let names = Kind::ALL.map(Kind::name).into_iter().chain(WRONG);
    names.into_iter().any(|name| outcome.sum(name) != 0)
}

/// Ends the check, and writes what was counted into the outcome.
pub(super) fn report(mut traffic: Traffic, outcome: &mut Outcome) {
    traffic.checker.finish();
    let (counts, checker) = (&traffic.counts, &traffic.checker);
    for kind in Kind::ALL {
        outcome.count(kind.name(), checker.findings.count(kind));
    }
    for (name, value) in [
        ("sent", counts.sent),
        ("acknowledged", counts.acknowledged),
        ("duplicates", counts.duplicates),
        ("delivered", checker.delivered),
        ("again", checker.again),
        ("history_rows", traffic.history.rows),
        ("unanswered", traffic.unanswered() as u64),
        ("refused", counts.refused),
        ("failed", counts.failed),
        ("breaks", counts.breaks),
        ("attempts_failed", counts.attempts_failed),
    ] {
        outcome.count(name, value);
    }
    let facts = &mut outcome.facts;
    facts.insert("findings".into(), checker.findings.list());
    facts.insert("last_break".into(), json!(counts.last_break));
    outcome.first_error.clone_from(&counts.first_error);
    outcome.distribution("answer_latency", traffic.answer);
    outcome.distribution("latency", traffic.delivery);
    outcome.distribution("outages", traffic.outages.into_all());
}
