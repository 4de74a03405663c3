//! The result line: the fields that every scenario's has.
//!
//! | field | meaning |
//! | --- | --- |
//! | `event` | `"result"` |
//! | `scenario`, `transport` | their names |
//! | `options` | what was asked, by the names of the command line |
//! | `connections` | of all processes |
//! | `servers` | worker → connections on it |
//! | `seconds` | measured time |
//! | `saturated` | the generator had no time left: the figures are its own, not the server's |
//! | `client_cpu_share` | of one core, by the generator's busiest process |
//! | `client_cores` | that all processes of the generator used |
//! | `behind_ms` | how late an open loop was in the end |
//! | `server_cpu_seconds` | of the processes of `--server-pids`, exact |
//! | `server_user_cpu_seconds`, `server_kernel_cpu_seconds` | the same, split, in ticks of 10 ms |
//! | `machine_busy_cores` | that anything on this machine used |
//! | `per_second` | what arrived in every second of the measured time, in messages a second |
//! | `first_error` | of those that `failed` counts |
//! | `latency`, `answer_latency`, `send_lag` | distributions, where the scenario has them |
//!
//! A distribution has `count`, `mean_us`, `p50_us`, `p90_us`, `p99_us`, `p999_us`, `max_us`;
//! `percentiles`, pairs of quantile and microseconds for a plot; and `hdr`, a deflated HDR
//! histogram, version 2, of nanoseconds, in Base64, to be added to others.
//!
//! Each scenario adds its counts, and in `derive` what follows from them.
//!
//! With `--progress` a line comes each second: `event` (`"progress"`), `seconds` since the measured
//! time began (below 0: warm-up), `received` since the start, `per_second`, `connections`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::measure::Reading;
use crate::options::Options;
use crate::scenario;

/// What one process counted, or several together.
#[derive(Default)]
pub(crate) struct Outcome {
    pub reading: Reading,
    pub connections: u64,
    pub servers: BTreeMap<String, u64>,
    /// Counts by the names that the result has for them; those of several processes add up.
    pub sums: BTreeMap<String, i64>,
    /// Distributions by their names.
    pub latencies: BTreeMap<String, Latencies>,
    pub per_second: Vec<f64>,
    pub first_error: Option<String>,
    /// Fields of which one process knows everything.
    pub facts: Map<String, Value>,
}

impl Outcome {
    /// The sum of that name; 0 if there is none.
    pub(crate) fn sum(&self, name: &str) -> i64 {
        self.sums.get(name).copied().unwrap_or(0)
    }

    /// Sets a sum.
    pub(crate) fn count(&mut self, name: &str, value: u64) {
        self.sums.insert(name.into(), value as i64);
    }

    /// Sets a distribution, if anything was recorded.
    pub(crate) fn distribution(&mut self, name: &str, latencies: Latencies) {
        if latencies.len() > 0 {
            self.latencies.insert(name.into(), latencies);
        }
    }

    /// How many of `name` there were in each second of the measured time.
    pub(crate) fn rate(&self, name: &str) -> f64 {
        self.sum(name) as f64 / self.reading.seconds
    }

    /// `value` for each of `name`.
    pub(crate) fn per(&self, value: f64, name: &str) -> f64 {
        value / self.sum(name).max(1) as f64
    }

    /// Takes in what another process counted at the same time.
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), Failure> {
        self.reading.merge(&other.reading);
        self.connections += other.connections;
        for (server, connections) in other.servers {
            *self.servers.entry(server).or_default() += connections;
        }
        for (name, value) in other.sums {
            *self.sums.entry(name).or_default() += value;
        }
        for (name, latencies) in other.latencies {
            if let Some(ours) = self.latencies.get_mut(&name) {
                ours.add(&latencies)?;
            } else {
                self.latencies.insert(name, latencies);
            }
        }
        for (second, rate) in other.per_second.into_iter().enumerate() {
            match self.per_second.get_mut(second) {
                Some(ours) => *ours += rate,
                None => self.per_second.push(rate),
            }
        }
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
        for (name, fact) in other.facts {
            match (self.facts.get_mut(&name), fact) {
                (Some(Value::Array(ours)), Value::Array(theirs)) => ours.extend(theirs),
                (Some(_), _) => {}
                (None, fact) => {
                    self.facts.insert(name, fact);
                }
            }
        }
        Ok(())
    }

    /// All of it as one object, for another process.
    pub(crate) fn to_share(&self) -> Value {
        let latencies = self.latencies.iter();
        let latencies: BTreeMap<_, _> = latencies.map(|(at, one)| (at, one.to_base64())).collect();
        json!({
            "reading": self.reading.fields(),
            "connections": self.connections,
            "servers": self.servers,
            "sums": self.sums,
            "latencies": latencies,
            "per_second": self.per_second,
            "first_error": self.first_error,
            "facts": self.facts,
        })
    }

    /// Reads what [`Self::to_share`] wrote.
    pub(crate) fn from_share(share: &Value) -> Result<Self, Failure> {
        let entries = |name: &str| share[name].as_object().into_iter().flatten();
        let mut outcome = Self {
            reading: Reading::from_fields(&share["reading"]),
            connections: share["connections"].as_u64().unwrap_or_default(),
            per_second: share["per_second"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect(),
            first_error: share["first_error"].as_str().map(Into::into),
            facts: entries("facts")
                .map(|(name, fact)| (name.clone(), fact.clone()))
                .collect(),
            ..Self::default()
        };
        for (server, connections) in entries("servers") {
            let connections = connections.as_u64().unwrap_or_default();
            outcome.servers.insert(server.clone(), connections);
        }
        for (name, value) in entries("sums") {
            let value = value.as_i64().unwrap_or_default();
            outcome.sums.insert(name.clone(), value);
        }
        for (name, text) in entries("latencies") {
            let latencies = Latencies::from_base64(text.as_str().unwrap_or_default())?;
            outcome.latencies.insert(name.clone(), latencies);
        }
        Ok(outcome)
    }
}

/// The result line, without its `event`.
pub(crate) fn line(outcome: &Outcome, options: &Options) -> Map<String, Value> {
    let mut fields = outcome.reading.fields();
    for (name, value) in &outcome.sums {
        fields.insert(name.clone(), json!(value));
    }
    for (name, latencies) in &outcome.latencies {
        fields.insert(name.clone(), latencies.fields());
    }
    fields.extend(outcome.facts.clone());
    fields.insert("scenario".into(), json!(options.scenario));
    fields.insert("transport".into(), json!(options.transport));
    fields.insert("options".into(), options.fields());
    fields.insert("connections".into(), json!(outcome.connections));
    fields.insert("servers".into(), json!(outcome.servers));
    fields.insert("per_second".into(), json!(outcome.per_second));
    fields.insert("first_error".into(), json!(outcome.first_error));
    scenario::derive(options.scenario, outcome, &mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(delivered: u64, latency_ns: u64, rate: f64) -> Outcome {
        let mut outcome = Outcome {
            connections: 10,
            per_second: vec![rate, rate],
            ..Outcome::default()
        };
        outcome.reading.seconds = 2.0;
        outcome.count("delivered", delivered);
        let mut latencies = Latencies::new();
        latencies.record(latency_ns);
        outcome.distribution("latency", latencies);
        *outcome.servers.entry("n1.w0".into()).or_default() += 10;
        outcome
    }

    #[test]
    fn what_two_processes_counted_adds_up_across_a_pipe() {
        let mut both = counted(300, 1_000, 150.0);
        let mut late = counted(500, 9_000, 250.0);
        late.reading.behind_ns = 1_000_000_000;
        late.first_error = Some("slow".into());
        let share = serde_json::to_string(&late.to_share()).expect("JSON");
        let share = serde_json::from_str(&share).expect("JSON");
        both.merge(Outcome::from_share(&share).expect("our own"))
            .expect("histograms of one kind");
        assert_eq!((both.connections, both.sum("delivered")), (20, 800));
        assert_eq!(both.per_second, [400.0, 400.0]);
        assert_eq!(both.servers["n1.w0"], 20);
        assert_eq!(both.first_error.as_deref(), Some("slow"));
        assert!(both.reading.is_saturated(), "one of them is");
        assert!((both.rate("delivered") - 400.0).abs() < 1e-9);
        let latency = both.latencies["latency"].fields();
        assert_eq!(latency["count"], 2);
    }
}
