//! An epoll of connections with one timer in it.

use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::failure::{Doing as _, Failure};

const EVENTS_PER_WAIT: usize = 1024;
const TIMER: u64 = u64::MAX;

/// One readiness report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// Index of the connection; none: the timer.
    pub index: Option<usize>,
    pub writable: bool,
    /// Also set when the peer closed or the socket failed: a read tells which.
    pub readable: bool,
}

pub(crate) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to, until it expires.
    set_ns: Option<u64>,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Failure> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing("epoll_create")?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .doing("timerfd_create")?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, epoll::EventFlags::IN).doing("epoll_ctl")?;
        Ok(Self {
            epoll,
            timer,
            set_ns: None,
            events: Vec::with_capacity(EVENTS_PER_WAIT),
        })
    }

    pub(crate) fn add(&self, fd: impl AsFd, index: usize, writable: bool) -> Result<(), Failure> {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, fd, data, flags(writable)).doing("epoll_ctl")
    }

    /// Takes a socket out that stays open.
    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<(), Failure> {
        epoll::delete(&self.epoll, fd).doing("epoll_ctl")
    }

    pub(crate) fn modify(
        &self,
        fd: impl AsFd,
        index: usize,
        writable: bool,
    ) -> Result<(), Failure> {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, fd, data, flags(writable)).doing("epoll_ctl")
    }

    /// Waits for readiness or, at the latest, until `at_ns` of the monotonic clock. The timer has
    /// the clock's precision; epoll's own timeout has a millisecond.
    pub(crate) fn wait(&mut self, at_ns: u64) -> Result<&[epoll::Event], Failure> {
        if self.set_ns != Some(at_ns) {
            self.set(at_ns)?;
        }
        self.events.clear();
        let into = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, into, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure::System("epoll_wait", errno)),
        }
        if self.events.iter().any(|event| event.data.u64() == TIMER) {
            self.set_ns = None;
        }
        Ok(&self.events)
    }

    /// Setting it anew also takes back an expiry that nobody has read.
    fn set(&mut self, at_ns: u64) -> Result<(), Failure> {
        let since_start = Duration::from_nanos(at_ns.max(1));
        let timer = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: since_start.as_secs() as i64,
                tv_nsec: i64::from(since_start.subsec_nanos()),
            },
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer)
            .doing("timerfd_settime")?;
        self.set_ns = Some(at_ns);
        Ok(())
    }
}

/// What one event says.
pub(crate) fn ready(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let data = event.data.u64();
    Ready {
        index: (data != TIMER).then_some(data as usize),
        writable: flags.contains(epoll::EventFlags::OUT),
        readable: flags
            .intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR),
    }
}

fn flags(writable: bool) -> epoll::EventFlags {
    if writable {
        epoll::EventFlags::IN | epoll::EventFlags::OUT
    } else {
        epoll::EventFlags::IN
    }
}
