//! `storm`: all connections end at once and come back, with what they missed to catch up.
//!
//! Bystanders stay connected, send to each other at a constant rate all the while, and one message
//! to each of the others while those are away. What came back is checked as `verify` does it.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::verify::driver::Driver;
use super::verify::plan::Plan;
use super::verify::traffic::Traffic;
use super::verify::{is_wrong, report};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::lines;
use crate::measure::{Meter, now_ns};
use crate::options::Options;
use crate::pace::Pace;
use crate::result::Outcome;
use crate::transport::Transport;

/// Of the bystanders together, when `--rate` says nothing else, in messages a second.
const RATE: f64 = 200.0;
const LOOK_NS: u64 = 50_000_000;

pub(crate) struct Storm;

impl Scenario for Storm {
    type Prepared = ();

    const CONNECTS_ITSELF: bool = true;

    fn apart(options: &Options) -> usize {
        options.bystanders
    }

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let (options, users) = (stage.options, Rc::clone(&stage.users));
        if options.processes > 1 {
            return Err(Failure::Said("storm is one process".into()));
        }
        let bystanders = options.bystanders & !1;
        if bystanders == 0 || users.len() <= bystanders {
            return Err(Failure::Said(
                "storm needs two bystanders, and others".into(),
            ));
        }
        let pairs = (0..bystanders as u32).step_by(2).map(|one| (one, one + 1));
        let missing = (bystanders..users.len()).map(|one| ((one % bystanders) as u32, one as u32));
        let mut traffic = Traffic::new(
            &users,
            Plan::pairs(pairs.chain(missing)),
            options.body_bytes,
        );
        traffic.timed = 0..bystanders;
        let mut run = Run {
            driver: Driver::new(stage.transport, options, &users, traffic)?,
            bystanders,
            pace: Pace::new(now_ns(), options.rate.unwrap_or(RATE)),
        };
        run.driver.set_up()?;
        lines::event("begun", json!({"connections": users.len()}));
        run.pace = Pace::new(now_ns(), options.rate.unwrap_or(RATE));
        let calm_ns = now_ns() + options.warmup.as_nanos() as u64;
        run.until(calm_ns, |_| false)?;
        let calm = std::mem::replace(&mut run.driver.traffic.delivery, Latencies::new());

        let failed_before = run.driver.traffic.counts.attempts_failed;
        let meter = Meter::start(&options.server_pids);
        let began_ns = if options.by_server {
            run.wait_for_breaks(options)?
        } else {
            run.drop_all(options)?
        };
        let back = run.wait_for_all(options, began_ns)?;
        let reading = meter.read();
        let storm = std::mem::replace(&mut run.driver.traffic.delivery, Latencies::new());
        let everything = now_ns() + options.drain.as_nanos() as u64;
        run.settle(everything)?;

        let mut outcome = stage.outcome();
        outcome.reading = reading;
        outcome.connections = users.len() as u64;
        outcome.count("returned", back.len());
        let attempts = run.driver.traffic.counts.attempts_failed - failed_before;
        report(run.driver.traffic, &mut outcome);
        outcome.count("attempts_failed", attempts);
        outcome.distribution("bystanders_calm", calm);
        outcome.distribution("bystanders_storm", storm);
        outcome.distribution("back", back);
        Ok(outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        let cpu_us = outcome.reading.server_cpu_seconds * 1e6;
        let each = outcome.per(cpu_us, "returned");
        fields.insert("server_cpu_us_per_return".into(), json!(each));
        fields.insert("wrong".into(), json!(is_wrong(outcome)));
    }
}

struct Run<T> {
    driver: Driver<T>,
    bystanders: usize,
    pace: Pace,
}

impl<T: Transport> Run<T> {
    /// Lets the bystanders send until then, or until `reached` is true.
    fn until(&mut self, until_ns: u64, reached: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        while now_ns() < until_ns && !reached(self) {
            while let Some((number, at_ns)) = self.pace.take(now_ns()) {
                let user = number as usize % self.bystanders;
                self.driver.traffic.send(user, (user / 2) as u32, at_ns);
                self.driver.write(user);
            }
            self.driver.turn(until_ns.min(self.pace.next_ns()))?;
        }
        Ok(())
    }

    /// Ends all but the bystanders' connections, lets messages for them come in, and has them
    /// dialled again; returns when that was.
    fn drop_all(&mut self, options: &Options) -> Result<u64, Failure> {
        let away_ns = now_ns() + options.away.as_nanos() as u64;
        for index in self.bystanders..self.driver.links.len() {
            self.driver.links.drop_connection(index);
        }
        let first = (self.bystanders / 2) as u32;
        for (number, user) in (self.bystanders..self.driver.links.len()).enumerate() {
            let sender = user % self.bystanders;
            self.driver
                .traffic
                .send(sender, first + number as u32, now_ns());
        }
        for sender in 0..self.bystanders {
            self.driver.write(sender);
        }
        self.until(away_ns, |_| false)?;
        let give_up_ns = now_ns() + options.drain.as_nanos() as u64;
        self.until(give_up_ns, |run| {
            run.driver.traffic.unanswered() <= run.bystanders
        })?;
        let began_ns = now_ns();
        for index in self.bystanders..self.driver.links.len() {
            self.driver.links.dial(index);
        }
        Ok(began_ns)
    }

    /// Waits until the server ends connections; returns when that was.
    fn wait_for_breaks(&mut self, options: &Options) -> Result<u64, Failure> {
        let before = self.driver.traffic.counts.breaks;
        lines::event("armed", json!({}));
        let give_up_ns = now_ns() + options.measured.as_nanos() as u64;
        self.until(give_up_ns, |run| run.driver.traffic.counts.breaks > before)?;
        if self.driver.traffic.counts.breaks == before {
            return Err(Failure::Said("the server ended no connection".into()));
        }
        Ok(now_ns())
    }

    /// Waits until everybody is served; returns how long that took each, of those who were away.
    fn wait_for_all(&mut self, options: &Options, began_ns: u64) -> Result<Latencies, Failure> {
        let give_up_ns = began_ns + options.drain.as_nanos() as u64;
        let all = self.driver.links.len();
        while now_ns() < give_up_ns && !(0..all).all(|index| self.driver.links.is_served(index)) {
            self.until(now_ns() + LOOK_NS, |_| false)?;
        }
        let mut back = Latencies::new();
        for index in 0..all {
            let at_ns = self.driver.traffic.outages.served_ns(index);
            if self.driver.links.is_served(index) && at_ns > began_ns {
                back.record(at_ns - began_ns);
            }
        }
        Ok(back)
    }

    /// Waits until everything has arrived.
    fn settle(&mut self, until_ns: u64) -> Result<(), Failure> {
        while now_ns() < until_ns {
            self.driver.turn(now_ns() + LOOK_NS)?;
            let traffic = &self.driver.traffic;
            if traffic.unanswered() == 0 && traffic.checker.outstanding() == 0 {
                break;
            }
        }
        Ok(())
    }
}
