//! The writing side of a log without a thread: a batch is written when the world's driver says so.

use imfast_log::{Batch, Completion, Log};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Outcomes of all logs of one worker, in the order in which they came.
#[derive(Clone)]
pub(crate) struct Completions {
    queue: Rc<RefCell<Vec<Completion>>>,
    wake: Rc<Cell<bool>>,
}

impl Completions {
    pub(super) fn new(wake: Rc<Cell<bool>>) -> Self {
        Self {
            queue: Rc::default(),
            wake,
        }
    }

    pub(crate) fn waiting(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    pub(crate) fn drain(&self, into: &mut Vec<Completion>) {
        into.append(&mut self.queue.borrow_mut());
    }
}

/// A log, and the batches that were handed to it.
pub(crate) struct Writer {
    log: RefCell<Log>,
    jobs: RefCell<VecDeque<(Batch, u64)>>,
    completions: Completions,
}

impl Writer {
    pub(super) fn new(log: Log, completions: Completions) -> Self {
        Self {
            log: RefCell::new(log),
            jobs: RefCell::default(),
            completions,
        }
    }

    pub(crate) fn append(&self, batch: Batch, ticket: u64) {
        self.jobs.borrow_mut().push_back((batch, ticket));
    }

    /// Whether a batch waits to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.jobs.borrow().is_empty()
    }

    /// Writes the next batch; false without one.
    pub(crate) fn step(&self, partition: u16) -> bool {
        let Some((batch, ticket)) = self.jobs.borrow_mut().pop_front() else {
            return false;
        };
        let result = self.log.borrow_mut().append_now(&batch);
        self.completions.queue.borrow_mut().push(Completion {
            partition: u32::from(partition),
            ticket,
            result,
            payload: batch.payload,
        });
        self.completions.wake.set(true);
        true
    }
}
