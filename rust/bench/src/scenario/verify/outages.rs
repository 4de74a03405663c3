//! How long connections were away: from the break until `caughtUp` on a later session.

use serde_json::{Value, json};

use crate::latencies::Latencies;
use crate::measure::now_ns;

pub(crate) struct Outages {
    all: Latencies,
    /// Since [`Self::take_recent`] was called, in nanoseconds.
    recent: Vec<u64>,
    /// When each was served the last time, in nanoseconds; 0: never.
    served_ns: Vec<u64>,
    served_count: usize,
}

impl Outages {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            all: Latencies::new(),
            recent: Vec::new(),
            served_ns: vec![0; connections],
            served_count: 0,
        }
    }

    /// A connection has caught up; `away_ns` is none the first time.
    pub(crate) fn served(&mut self, index: usize, away_ns: Option<u64>) {
        if let Some(away_ns) = away_ns {
            self.all.record(away_ns);
            self.recent.push(away_ns);
        }
        if std::mem::replace(&mut self.served_ns[index], now_ns()) == 0 {
            self.served_count += 1;
        }
    }

    /// How many connections were served at least once.
    pub(crate) fn served_count(&self) -> usize {
        self.served_count
    }

    /// When the connection was served the last time, in nanoseconds.
    pub(crate) fn served_ns(&self, index: usize) -> u64 {
        self.served_ns[index]
    }

    /// Those of all time.
    pub(crate) fn into_all(self) -> Latencies {
        self.all
    }

    /// Count, median and longest of those that ended since the last call.
    pub(crate) fn take_recent(&mut self) -> Value {
        let mut recent = std::mem::take(&mut self.recent);
        recent.sort_unstable();
        let ms = |ns: Option<&u64>| ns.map(|&ns| ns as f64 / 1e6);
        json!({
            "count": recent.len(),
            "median_ms": ms(recent.get(recent.len() / 2)),
            "max_ms": ms(recent.last()),
        })
    }
}
