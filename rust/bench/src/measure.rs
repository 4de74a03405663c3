//! Clocks, and CPU time of ourselves and of the server.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

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
    server_split: Split,
    machine_busy_seconds: f64,
}

/// What a [`Meter`] read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    pub seconds: f64,
    /// Of one core, by this thread; by the busiest of several processes.
    pub client_cpu_share: f64,
    /// Cores that all processes of the generator used.
    pub client_cores: f64,
    /// By all threads of the processes given; 0 when none were.
    pub server_cpu_seconds: f64,
    /// The same in ticks of 10 ms, in user space and in the kernel: coarse, and beside paced load
    /// wrong; their proportion is what they are for.
    pub server_user_seconds: f64,
    pub server_kernel_seconds: f64,
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
            server_split: Split::of(server_pids),
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
        let split = Split::of(self.server_pids);
        Reading {
            seconds: elapsed_ns as f64 / 1e9,
            client_cpu_share: own_ns as f64 / elapsed_ns as f64,
            client_cores: own_ns as f64 / elapsed_ns as f64,
            server_cpu_seconds: server_ns as f64 / 1e9,
            server_user_seconds: split.user - self.server_split.user,
            server_kernel_seconds: split.kernel - self.server_split.kernel,
            machine_busy_cores: machine / elapsed_ns as f64 * 1e9,
            behind_ns: 0,
        }
    }
}

impl Reading {
    /// Whether the figures of an open loop are the generator's own.
    pub(crate) fn is_saturated(&self) -> bool {
        self.client_cpu_share > SATURATED_SHARE || self.behind_ns > SATURATED_BEHIND_NS
    }

    /// Takes in what another process read at the same time, of the same server.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.client_cores += other.client_cores;
        self.client_cpu_share = self.client_cpu_share.max(other.client_cpu_share);
        self.behind_ns = self.behind_ns.max(other.behind_ns);
    }

    /// The fields that every result has.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let fields = json!({
            "seconds": self.seconds,
            "client_cpu_share": self.client_cpu_share,
            "client_cores": self.client_cores,
            "saturated": self.is_saturated(),
            "behind_ms": self.behind_ns as f64 / 1e6,
            "server_cpu_seconds": self.server_cpu_seconds,
            "server_user_cpu_seconds": self.server_user_seconds,
            "server_kernel_cpu_seconds": self.server_kernel_seconds,
            "machine_busy_cores": self.machine_busy_cores,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// Reads what [`Self::fields`] wrote; what is missing is 0.
    pub(crate) fn from_fields(fields: &Value) -> Self {
        let number = |name: &str| fields[name].as_f64().unwrap_or_default();
        Self {
            seconds: number("seconds"),
            client_cpu_share: number("client_cpu_share"),
            client_cores: number("client_cores"),
            server_cpu_seconds: number("server_cpu_seconds"),
            server_user_seconds: number("server_user_cpu_seconds"),
            server_kernel_seconds: number("server_kernel_cpu_seconds"),
            machine_busy_cores: number("machine_busy_cores"),
            behind_ns: (number("behind_ms") * 1e6) as u64,
        }
    }
}

/// CPU time of processes in user space and in the kernel.
struct Split {
    user: f64,
    kernel: f64,
}

impl Split {
    /// Fields 14 and 15 of `/proc/PID/stat` (`proc_pid_stat(5)`), the 12th and 13th behind the name.
    fn of(pids: &[u32]) -> Self {
        let mut sum = Self {
            user: 0.0,
            kernel: 0.0,
        };
        for pid in pids {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let behind_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
            let mut ticks = behind_name.split_whitespace().skip(11);
            let mut seconds = || ticks.next()?.parse::<f64>().ok();
            sum.user += seconds().unwrap_or_default() / TICKS_PER_SECOND;
            sum.kernel += seconds().unwrap_or_default() / TICKS_PER_SECOND;
        }
        sum
    }
}

/// What the kernel counts CPU time in for user space, on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

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
}
