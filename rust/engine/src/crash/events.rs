//! The last things that happened in this process, in a ring. Numbers only, so that nothing a
//! client sent can get into a report. One process is one worker, so there is one ring; it is made
//! of atomics because a signal handler reads it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many are remembered.
const LENGTH: usize = 128;

/// What happened. Per batch, connection or link; nothing that happens per message is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// Slot, generation.
    ConnectionOpened = 1,
    /// Slot.
    ConnectionClosed = 2,
    /// Partition, commands.
    BatchBegun = 3,
    /// Partition, position of its first command.
    BatchAppended = 4,
    /// Partition, position.
    BatchDelivered = 5,
    /// Partition.
    BatchFailed = 6,
    /// Partition, epoch.
    PartitionOpened = 7,
    /// Partition.
    PartitionClosed = 8,
    /// Worker.
    LinkDialled = 9,
    /// Worker (255: unknown), reason as a number of `links::link::Broken`.
    LinkBroken = 10,
    /// Kind, as a number of `faults::Fault`.
    Fault = 11,
    /// Connections.
    DrainBegun = 12,
}

const NAMES: [&str; 13] = [
    "?",
    "connection opened",
    "connection closed",
    "batch begun",
    "batch appended",
    "batch delivered",
    "batch failed",
    "partition opened",
    "partition closed",
    "link dialled",
    "link broken",
    "fault",
    "drain begun",
];

struct Entry {
    /// Milliseconds since the engine's start, then the event in the lowest byte; 0 for none.
    stamp: AtomicU64,
    first: AtomicU64,
    second: AtomicU64,
}

static RING: [Entry; LENGTH] = [const {
    Entry {
        stamp: AtomicU64::new(0),
        first: AtomicU64::new(0),
        second: AtomicU64::new(0),
    }
}; LENGTH];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Remembers an event; the numbers are those that its variant names.
pub(crate) fn note(event: Event, now_ms: u64, first: u64, second: u64) {
    let at = NEXT.fetch_add(1, Ordering::Relaxed) % LENGTH;
    let entry = &RING[at];
    entry.first.store(first, Ordering::Relaxed);
    entry.second.store(second, Ordering::Relaxed);
    entry
        .stamp
        .store(now_ms << 8 | event as u64, Ordering::Relaxed);
}

/// Calls `each` with what is remembered, the oldest first: its time, name and numbers. Neither
/// waits nor allocates: a signal handler calls it too.
pub(crate) fn each_recent(mut each: impl FnMut(u64, &'static str, u64, u64)) {
    let next = NEXT.load(Ordering::Relaxed);
    for step in 0..LENGTH {
        let entry = &RING[(next + step) % LENGTH];
        let stamp = entry.stamp.load(Ordering::Relaxed);
        let Some(name) = NAMES.get((stamp & 0xff) as usize).filter(|_| stamp != 0) else {
            continue;
        };
        each(
            stamp >> 8,
            name,
            entry.first.load(Ordering::Relaxed),
            entry.second.load(Ordering::Relaxed),
        );
    }
}

/// What is remembered as lines of text, the oldest first.
pub fn recent() -> String {
    use std::fmt::Write;
    let mut out = String::new();
    each_recent(|ms, name, first, second| {
        let _ = writeln!(out, "{ms} ms: {name} {first} {second}");
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_events_in_their_order() {
        // Numbers that no other test of this process notes.
        for number in 0..2 * LENGTH as u64 {
            note(Event::DrainBegun, number, u64::MAX, number);
        }
        let mine: Vec<u64> = recent()
            .lines()
            .filter_map(|line| line.split_once(&format!("drain begun {} ", u64::MAX)))
            .map(|(_, number)| number.parse().expect("a number"))
            .collect();
        assert!(mine.is_sorted(), "{mine:?}");
        assert_eq!(mine.last(), Some(&(2 * LENGTH as u64 - 1)));
        assert!(mine.len() <= LENGTH);
    }
}
