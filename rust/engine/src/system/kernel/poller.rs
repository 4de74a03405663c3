//! The engine's own epoll, nested in uvloop's: its descriptor is the one reader that the event
//! loop knows of, however many connections there are.

use super::Socket;
use crate::system::{Ready, Source};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::time::Duration;

/// An epoll with a wake-up eventfd, a periodic timer and an alarm inside.
pub(crate) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
    timer: OwnedFd,
    alarm: OwnedFd,
    buffer: Vec<epoll::Event>,
    armed: bool,
}

impl Poller {
    /// `tick` is the period of [`Source::Timer`]; one poll takes `events` descriptors at most.
    pub(crate) fn new(tick: Duration, events: usize) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let poller = Self {
            epoll,
            wake,
            timer: timer()?,
            alarm: timer()?,
            buffer: Vec::with_capacity(events),
            armed: false,
        };
        poller.add(&poller.wake, Source::Wake, false)?;
        poller.add(&poller.timer, Source::Timer, false)?;
        // By edge: it fires once and need not be read.
        epoll::add(
            &poller.epoll,
            &poller.alarm,
            epoll::EventData::new_u64(Source::Wake.to_bits()),
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        )?;
        poller.set_tick(tick)?;
        Ok(poller)
    }

    /// Sets the period of [`Source::Timer`], from now on.
    pub(crate) fn set_tick(&self, period: Duration) -> Result<(), Errno> {
        set(&self.timer, period, period)
    }

    /// Makes a poll come in so long, once; a later call takes the place of an earlier one.
    pub(crate) fn wake_in(&self, delay: Duration) -> Result<(), Errno> {
        set(&self.alarm, delay, Duration::ZERO)
    }

    /// The descriptor that the outer event loop watches.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// A second handle on the wake-up eventfd, for threads.
    pub(crate) fn waker(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.wake, 0)
    }

    pub(crate) fn add(&self, socket: &Socket, source: Source, writable: bool) -> Result<(), Errno> {
        epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(source.to_bits()),
            flags(true, writable),
        )
    }

    pub(crate) fn modify(
        &self,
        socket: &Socket,
        source: Source,
        readable: bool,
        writable: bool,
    ) -> Result<(), Errno> {
        epoll::modify(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(source.to_bits()),
            flags(readable, writable),
        )
    }

    pub(crate) fn remove(&self, socket: &Socket) -> Result<(), Errno> {
        epoll::delete(&self.epoll, socket)
    }

    /// Makes the next poll come at once, for work that lies in user space where epoll cannot see it.
    pub(crate) fn arm(&mut self) {
        if !self.armed {
            self.armed = true;
            notify(self.wake.as_fd());
        }
    }

    /// Takes what is ready now, without waiting.
    pub(crate) fn poll(&mut self, out: &mut Vec<Ready>) -> Result<(), Errno> {
        self.buffer.clear();
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.buffer),
            Some(&zero),
        )?;
        for event in &self.buffer {
            // The record is packed: copy before use.
            let (data, bits) = (event.data, event.flags);
            let source = Source::from_bits(data.u64());
            match source {
                Source::Wake => {
                    self.armed = false;
                    drain(self.wake.as_fd());
                }
                Source::Timer => drain(self.timer.as_fd()),
                _ => {}
            }
            out.push(Ready {
                source,
                readable: bits.contains(epoll::EventFlags::IN),
                writable: bits.contains(epoll::EventFlags::OUT),
                hang_up: bits.intersects(
                    epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP,
                ),
            });
        }
        Ok(())
    }
}

fn timer() -> Result<OwnedFd, Errno> {
    rustix::time::timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )
}

fn set(timer: &OwnedFd, first: Duration, period: Duration) -> Result<(), Errno> {
    let time = |duration: Duration| Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    };
    let times = Itimerspec {
        it_interval: time(period),
        it_value: time(first),
    };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(())
}

fn flags(readable: bool, writable: bool) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    if readable {
        flags |= epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
    }
    if writable {
        flags |= epoll::EventFlags::OUT;
    }
    flags
}

/// Adds one to an eventfd. It cannot fail but by overflow, and then it is readable already.
pub(super) fn notify(fd: BorrowedFd<'_>) {
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

/// Empties an eventfd or timerfd.
fn drain(fd: BorrowedFd<'_>) {
    let mut count = [0u8; 8];
    let _ = rustix::io::read(fd, &mut count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arming_twice_wakes_once() {
        let mut poller = Poller::new(Duration::from_hours(1), 8).expect("epoll");
        let mut ready = Vec::new();
        poller.arm();
        poller.arm();
        poller.poll(&mut ready).expect("poll");
        assert_eq!(
            ready.iter().map(|r| r.source).collect::<Vec<_>>(),
            [Source::Wake]
        );
        ready.clear();
        poller.poll(&mut ready).expect("poll");
        assert!(ready.is_empty(), "the wake-up was consumed");
    }

    #[test]
    fn an_alarm_wakes_once_and_a_new_period_holds_at_once() {
        let mut poller = Poller::new(Duration::from_hours(1), 8).expect("epoll");
        let woken_by = |poller: &mut Poller| {
            let mut ready: Vec<Ready> = Vec::new();
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while ready.is_empty() && std::time::Instant::now() < deadline {
                poller.poll(&mut ready).expect("poll");
            }
            ready.iter().map(|r| r.source).collect::<Vec<_>>()
        };
        poller.wake_in(Duration::from_millis(1)).expect("an alarm");
        assert_eq!(woken_by(&mut poller), [Source::Wake]);
        poller
            .set_tick(Duration::from_millis(1))
            .expect("a new period");
        assert_eq!(woken_by(&mut poller), [Source::Timer]);
    }
}
