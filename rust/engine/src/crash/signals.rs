//! The last events at a SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT, written in front of the trace
//! of whoever handled these signals before (Python's `faulthandler`).

use super::events::each_recent;
use rustix::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

const SIGNALS: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];

static OUTPUT: AtomicI32 = AtomicI32::new(-1);
/// What handled each of `SIGNALS` before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// Writes the last events to `output` when the process gets one of `SIGNALS`, then lets the
/// handler go on that was there before. Only the first call in a process counts.
///
/// # Errors
/// What `sigaction` reports.
pub fn write_events_on_fatal_signals(output: OwnedFd) -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let mut before = [no_action(); SIGNALS.len()];
    for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
        // SAFETY: `before` is valid for a `sigaction`, and none is set.
        check(unsafe { libc::sigaction(signal, null_mut(), before) })?;
    }
    // Never closed: the handler may run until the process's end.
    OUTPUT.store(output.into_raw_fd(), Ordering::Release);
    let _ = BEFORE.set(before);
    let mut action = no_action();
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    for signal in SIGNALS {
        // SAFETY: `action` is whole, and its handler calls only what is async-signal-safe:
        // atomics, `write`, `sigaction` and `raise` (signal-safety(7)).
        check(unsafe { libc::sigaction(signal, &raw const action, null_mut()) })?;
    }
    Ok(())
}

fn no_action() -> libc::sigaction {
    // SAFETY: all of its fields may be zero: integers, a set of bits, an optional function.
    unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn on_signal(signal: i32) {
    let output = OUTPUT.load(Ordering::Acquire);
    if output >= 0 {
        // SAFETY: the descriptor was given to this module, which never closes it.
        let output = unsafe { BorrowedFd::borrow_raw(output) };
        let mut line = Line::default();
        line.text("-- last events, the oldest first (ms since the start, numbers)\n");
        line.write(output);
        each_recent(|ms, name, first, second| {
            line.number(ms);
            line.text(" ms: ");
            line.text(name);
            for number in [first, second] {
                line.text(" ");
                line.number(number);
            }
            line.text("\n");
            line.write(output);
        });
        line.text("-- trace\n");
        line.write(output);
    }
    if let Some(before) = BEFORE.get() {
        for (known, action) in SIGNALS.iter().zip(before) {
            if *known == signal {
                // SAFETY: `action` is what the kernel gave for this very signal. The signal is
                // blocked until this handler returns; then that handler gets it.
                unsafe {
                    libc::sigaction(signal, action, null_mut());
                    libc::raise(signal);
                }
            }
        }
    }
}

/// A line put together without allocating.
struct Line {
    bytes: [u8; 160],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            bytes: [0; 160],
            length: 0,
        }
    }
}

impl Line {
    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[at..]).unwrap_or(""));
    }

    fn write(&mut self, output: BorrowedFd<'_>) {
        let _ = rustix::io::write(output, &self.bytes[..self.length]);
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_put_together_without_allocating_and_cut_where_it_is_full() {
        let mut line = Line::default();
        line.number(0);
        line.text(" ");
        line.number(u64::MAX);
        assert_eq!(&line.bytes[..line.length], b"0 18446744073709551615");
        for _ in 0..100 {
            line.text("abcdef");
        }
        assert_eq!(line.length, line.bytes.len());
    }
}
