//! What is ready, in an order that the world's seed chooses.

use super::socket::{Kind, Socket};
use super::{State, World};
use crate::system::{Ready, Source};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

struct Entry {
    kind: Kind,
    source: Source,
    readable: bool,
    writable: bool,
}

/// As the kernel's: level-triggered, with a periodic timer and a wake-up inside.
pub(crate) struct Poller {
    world: World,
    entries: RefCell<Vec<Entry>>,
    wake: Rc<Cell<bool>>,
    tick_ns: Cell<u64>,
    timer_due_ns: Cell<u64>,
    /// When the alarm fires; never, if that is the end of time.
    alarm_due_ns: Cell<u64>,
    events: usize,
}

impl Poller {
    pub(super) fn new(world: World, tick: Duration, events: usize) -> Self {
        let poller = Self {
            entries: RefCell::default(),
            wake: Rc::default(),
            tick_ns: Cell::default(),
            timer_due_ns: Cell::default(),
            alarm_due_ns: Cell::new(u64::MAX),
            events,
            world,
        };
        poller.start_timer(tick);
        poller
    }

    fn start_timer(&self, period: Duration) {
        let period_ns = period.as_nanos() as u64;
        self.tick_ns.set(period_ns);
        self.timer_due_ns.set(self.world.now_ns() + period_ns);
    }

    #[expect(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
    pub(crate) fn set_tick(&self, period: Duration) -> Result<(), Errno> {
        self.start_timer(period);
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
    pub(crate) fn wake_in(&self, delay: Duration) -> Result<(), Errno> {
        let due_ns = self.world.now_ns() + delay.as_nanos() as u64;
        self.alarm_due_ns.set(due_ns);
        Ok(())
    }

    /// There is no descriptor: who drives asks [`crate::Engine::is_ready`].
    #[expect(clippy::unused_self, reason = "the kernel's has one")]
    pub(crate) fn raw_fd(&self) -> i32 {
        -1
    }

    pub(super) fn waker(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.wake)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
    pub(crate) fn add(&self, socket: &Socket, source: Source, writable: bool) -> Result<(), Errno> {
        self.entries.borrow_mut().push(Entry {
            kind: socket.kind,
            source,
            readable: true,
            writable,
        });
        Ok(())
    }

    pub(crate) fn modify(
        &self,
        socket: &Socket,
        source: Source,
        readable: bool,
        writable: bool,
    ) -> Result<(), Errno> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.iter_mut().find(|entry| entry.kind == socket.kind);
        let entry = entry.ok_or(Errno::NOENT)?;
        *entry = Entry {
            kind: socket.kind,
            source,
            readable,
            writable,
        };
        Ok(())
    }

    pub(crate) fn remove(&self, socket: &Socket) -> Result<(), Errno> {
        let mut entries = self.entries.borrow_mut();
        let at = entries.iter().position(|entry| entry.kind == socket.kind);
        entries.remove(at.ok_or(Errno::NOENT)?);
        Ok(())
    }

    pub(crate) fn arm(&mut self) {
        self.wake.set(true);
    }

    /// When the timer or the alarm fires next.
    pub(crate) fn timer_due_ns(&self) -> u64 {
        self.timer_due_ns.get().min(self.alarm_due_ns.get())
    }

    /// Whether a poll would find anything.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.world.state();
        self.wake.get()
            || state.now_ns >= self.timer_due_ns()
            || self
                .entries
                .borrow()
                .iter()
                .any(|e| look(&state, e).is_some())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the kernel's may fail")]
    pub(crate) fn poll(&mut self, out: &mut Vec<Ready>) -> Result<(), Errno> {
        let mut state = self.world.state_mut();
        let entries = self.entries.get_mut();
        // A closed descriptor leaves the kernel's epoll by itself.
        entries.retain(|entry| match entry.kind {
            Kind::End { stream, side } => state.network.is_open(stream, side),
            Kind::Listener { .. } => true,
        });
        let plain = |source| Ready {
            source,
            readable: true,
            writable: false,
            hang_up: false,
        };
        let mut found: Vec<Ready> = entries.iter().filter_map(|e| look(&state, e)).collect();
        if state.now_ns >= self.alarm_due_ns.get() {
            self.alarm_due_ns.set(u64::MAX);
            self.wake.set(true);
        }
        if self.wake.get() {
            found.push(plain(Source::Wake));
        }
        if state.now_ns >= self.timer_due_ns.get() {
            found.push(plain(Source::Timer));
        }
        for left in (1..found.len()).rev() {
            found.swap(left, state.random.below(left + 1));
        }
        found.truncate(self.events);
        for ready in found {
            match ready.source {
                Source::Wake => self.wake.set(false),
                Source::Timer => {
                    // What was missed in a pause is not made up for.
                    let (due_ns, tick_ns) = (self.timer_due_ns.get(), self.tick_ns.get());
                    let late = (state.now_ns - due_ns) / tick_ns;
                    self.timer_due_ns.set(due_ns + (late + 1) * tick_ns);
                }
                _ => {}
            }
            out.push(ready);
        }
        Ok(())
    }
}

fn look(state: &State, entry: &Entry) -> Option<Ready> {
    let (readable, writable, hang_up) = match entry.kind {
        Kind::End { stream, side } => {
            if !state.network.is_open(stream, side) {
                return None;
            }
            state.network.readiness(stream, side)
        }
        Kind::Listener { worker, port } => (state.network.has_waiting(worker, port), false, false),
    };
    let ready = Ready {
        source: entry.source,
        readable: readable && entry.readable,
        writable: writable && entry.writable,
        hang_up,
    };
    (ready.readable || ready.writable || ready.hang_up).then_some(ready)
}
