//! Clocks, CPU time of ourselves and of the server, and distributions.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A generator that is busy for more than this share of an open loop measured itself,
const SATURATED_SHARE: f64 = 0.95;
/// and so did one that is this late when it ends.
const SATURATED_BEHIND_NS: u64 = 100_000_000;

/// CPU time from one moment to another.
pub(crate) struct Meter<'a> {
    server_pids: &'a [u32],
    began_ns: u64,
    own_ns: u64,
    server_ns: u64,
    machine_busy_seconds: f64,
}

/// What a [`Meter`] read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub seconds: f64,
    /// Of one core, by this thread.
    pub client_cpu_share: f64,
    /// By all threads of the processes given; 0 when none were.
    pub server_cpu_seconds: f64,
    /// Cores that anything on this machine kept busy, ourselves and the server included.
    pub machine_busy_cores: f64,
    /// How late an open loop was in the end.
    pub behind_ns: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(server_pids: &'a [u32]) -> Self {
        Self {
            server_pids,
            server_ns: server_cpu_ns(server_pids),
            machine_busy_seconds: machine_busy_seconds(),
            own_ns: nanoseconds(ClockId::ThreadCPUTime),
            began_ns: now_ns(),
        }
    }

    pub(crate) fn read(&self) -> Reading {
        let elapsed_ns = (now_ns() - self.began_ns).max(1);
        let own_ns = nanoseconds(ClockId::ThreadCPUTime) - self.own_ns;
        let machine = machine_busy_seconds() - self.machine_busy_seconds;
        let server_ns = server_cpu_ns(self.server_pids).saturating_sub(self.server_ns);
        Reading {
            seconds: elapsed_ns as f64 / 1e9,
            client_cpu_share: own_ns as f64 / elapsed_ns as f64,
            server_cpu_seconds: server_ns as f64 / 1e9,
            machine_busy_cores: machine / elapsed_ns as f64 * 1e9,
            behind_ns: 0,
        }
    }
}

impl Reading {
    /// The fields that every result has.
    pub(crate) fn fields(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "client_cpu_share": self.client_cpu_share,
            "saturated": self.client_cpu_share > SATURATED_SHARE
                || self.behind_ns > SATURATED_BEHIND_NS,
            "behind_ms": self.behind_ns as f64 / 1e6,
            "server_cpu_seconds": self.server_cpu_seconds,
            "machine_busy_cores": self.machine_busy_cores,
        })
    }
}

/// Time on a processor of every thread, from `schedstat`: exact, where `stat` counts ticks that
/// fall together with paced load.
fn server_cpu_ns(pids: &[u32]) -> u64 {
    pids.iter()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok())
        .flatten()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The first line of `/proc/stat` without idle and waiting for disks, in ticks of 10 ms.
fn machine_busy_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    const IDLE_AND_IOWAIT: std::ops::RangeInclusive<usize> = 3..=4;
    // User time includes guests', which come last: eight numbers are all there is to add up.
    const NUMBERS: usize = 8;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).take(NUMBERS).enumerate();
    ticks
        .filter(|(index, _)| !IDLE_AND_IOWAIT.contains(index))
        .filter_map(|(_, text)| text.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// A distribution of times, in nanoseconds, with three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        const LONGEST_NS: u64 = 600_000_000_000;
        const DIGITS: u8 = 3;
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self(histogram.expect("constant and valid bounds"))
    }

    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Microseconds, in plain fields.
    pub(crate) fn fields(&self) -> Value {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        json!({
            "count": self.0.len(),
            "mean_us": self.0.mean() / 1e3,
            "p50_us": at(0.5),
            "p90_us": at(0.9),
            "p99_us": at(0.99),
            "p999_us": at(0.999),
            "max_us": self.0.max() as f64 / 1e3,
        })
    }
}

/// Wastes time on the processor.
pub(crate) fn burn(time: Duration) {
    if !time.is_zero() {
        let until = now_ns() + time.as_nanos() as u64;
        while now_ns() < until {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_saturated_and_a_sleeping_one_is_not() {
        let own = [std::process::id()];
        let meter = Meter::start(&own);
        std::thread::sleep(Duration::from_millis(50));
        assert!(meter.read().client_cpu_share < 0.5);

        let began = meter.read().server_cpu_seconds;
        burn(Duration::from_millis(50));
        let spent = meter.read().server_cpu_seconds - began;
        // Whatever else runs on this machine takes its share of the wall time, not of ours.
        assert!(spent > 0.0, "{spent}");
    }

    #[test]
    fn quantiles_are_within_three_digits() {
        let mut latencies = Latencies::new();
        for microseconds in 1..=1000 {
            latencies.record(microseconds * 1000);
        }
        let fields = latencies.fields();
        let p99 = fields["p99_us"].as_f64().expect("a number");
        assert!((989.0..=991.0).contains(&p99), "{p99}");
        assert_eq!(fields["count"], 1000);
    }
}
