//! Turns of a run: what the sockets bring, what is due, and requests that may go out.

use std::rc::Rc;

use super::links::Links;
use super::traffic::Traffic;
use crate::failure::Failure;
use crate::measure::now_ns;
use crate::options::Options;
use crate::poller::Ready;
use crate::pool::User;
use crate::transport::Transport;

/// Nobody waits longer than this for the first connections and groups.
const SETUP_NS: u64 = 60_000_000_000;
const TURN_NS: u64 = 50_000_000;

/// Connections that come back, and the traffic on them.
pub(crate) struct Driver<T> {
    pub links: Links<T>,
    pub traffic: Traffic,
    events: Vec<Ready>,
}

impl<T: Transport> Driver<T> {
    pub(crate) fn new(
        transport: T,
        options: &Options,
        users: &Rc<[User]>,
        traffic: Traffic,
    ) -> Result<Self, Failure> {
        Ok(Self {
            links: Links::new(transport, options, Rc::clone(users))?,
            traffic,
            events: Vec::new(),
        })
    }

    /// Connects everybody and makes the groups.
    pub(crate) fn set_up(&mut self) -> Result<(), Failure> {
        for index in 0..self.links.len() {
            self.links.dial(index);
        }
        self.until("connections", |driver| {
            driver.traffic.outages.served_count() == driver.links.len()
        })?;
        for group in self.traffic.plan.groups() {
            let user = self.traffic.create(group);
            self.write(user);
        }
        self.until("groups", |driver| driver.traffic.unanswered() == 0)
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let give_up_ns = now_ns() + SETUP_NS;
        while !reached(self) {
            if now_ns() > give_up_ns {
                let error = self
                    .traffic
                    .counts
                    .first_error
                    .as_deref()
                    .unwrap_or("no error");
                return Err(Failure::Said(format!("stuck at {what}; {error}")));
            }
            self.turn(now_ns() + TURN_NS)?;
        }
        Ok(())
    }

    /// One turn, that waits until `until_ns` at the latest. Whoever something arrived for may
    /// write; returns them.
    pub(crate) fn turn(&mut self, until_ns: u64) -> Result<Vec<usize>, Failure> {
        let until_ns = until_ns.min(now_ns() + TURN_NS);
        let mut events = std::mem::take(&mut self.events);
        self.links.wait(until_ns, &mut events)?;
        let mut touched = Vec::with_capacity(events.len());
        for event in &events {
            touched.extend(self.links.take(*event, &mut self.traffic));
        }
        self.events = events;
        self.links.tend(&mut self.traffic);
        for &index in &touched {
            self.write(index);
        }
        let now = now_ns();
        for index in std::mem::take(&mut self.traffic.delayed) {
            let Some(due_ns) = self.traffic.outboxes[index].due_ns() else {
                continue;
            };
            if due_ns <= now {
                self.write(index);
            }
            if self.traffic.outboxes[index].due_ns().is_some() {
                self.traffic.delayed.push(index);
            }
        }
        self.traffic.delayed.sort_unstable();
        self.traffic.delayed.dedup();
        Ok(touched)
    }

    /// Writes what the user's outbox has for now, if there is a connection for it.
    pub(crate) fn write(&mut self, index: usize) {
        while self.links.is_connected(index) {
            let links = &mut self.links;
            if !self.traffic.next(index, |frame| links.write(index, frame)) {
                break;
            }
        }
    }

    /// Asks for pages of history, at most `under_way` at once.
    pub(crate) fn ask_for_pages(&mut self, under_way: usize) {
        loop {
            let links = &self.links;
            let Some((user, frame)) = self
                .traffic
                .next_page(under_way, |user| links.is_connected(user))
            else {
                break;
            };
            self.links.write(user, &frame);
        }
    }
}
