//! Memory of the server's processes, watched while a run lasts.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Long enough that the watching, which makes the kernel walk page tables, costs little.
const INTERVAL: Duration = Duration::from_millis(250);

/// Proportional set size in bytes, from `/proc/PID/smaps_rollup` (`proc_pid_smaps(5)`).
pub(crate) fn pss_bytes(pids: &[u32]) -> u64 {
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum::<u64>()
        * 1024
}

/// Looks at the memory from a thread of its own.
pub(crate) struct Watch {
    pub before_bytes: u64,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(pids: &[u32]) -> Self {
        let before_bytes = pss_bytes(pids);
        let most = Arc::new(AtomicU64::new(before_bytes));
        let over = Arc::new(AtomicBool::new(false));
        let (pids, seen, done) = (pids.to_vec(), Arc::clone(&most), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                seen.fetch_max(pss_bytes(&pids), Ordering::Relaxed);
                thread::park_timeout(INTERVAL);
            }
        });
        Self {
            before_bytes,
            most,
            over,
            thread,
        }
    }

    /// The most that was seen, in bytes.
    pub(crate) fn finish(self) -> u64 {
        self.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has nothing to panic at.
        let _ = self.thread.join();
        self.most.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_freed_before_the_end_is_seen() {
        const BYTES: usize = 64 << 20;
        let own = [std::process::id()];
        let watch = Watch::start(&own);
        let filled = vec![1u8; BYTES];
        let with = pss_bytes(&own);
        let before = watch.before_bytes;
        // As long as it takes: the watching thread looks again and again.
        while watch.most.load(Ordering::Relaxed) < before + BYTES as u64 / 2 {
            thread::yield_now();
        }
        drop(std::hint::black_box(filled));
        assert!(with > before);
        assert!(watch.finish() >= before + BYTES as u64 / 2);
    }
}
