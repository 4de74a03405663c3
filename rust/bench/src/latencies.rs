//! Distributions of times that can be added up: over processes, over runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde_json::{Value, json};

use crate::failure::Failure;

/// A distribution of times, in nanoseconds, with three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

/// A plot's points: close together where tails are.
const QUANTILES: [f64; 30] = [
    0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8,
    0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.999_95, 0.999_99, 1.0,
];

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

    /// How many were recorded.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Adds all that `other` recorded.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Failure> {
        let added = self.0.add(&other.0);
        added.map_err(|error| Failure::Said(format!("histograms of two kinds: {error}")))
    }

    /// Microseconds, in plain fields; points of a plot; and `hdr` to add up.
    pub(crate) fn fields(&self) -> Value {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        let points: Vec<[f64; 2]> = QUANTILES.iter().map(|one| [*one, at(*one)]).collect();
        json!({
            "count": self.0.len(),
            "mean_us": self.0.mean() / 1e3,
            "p50_us": at(0.5),
            "p90_us": at(0.9),
            "p99_us": at(0.99),
            "p999_us": at(0.999),
            "max_us": self.0.max() as f64 / 1e3,
            "percentiles": points,
            "hdr": self.to_base64(),
        })
    }

    /// Nanoseconds as an HDR histogram, version 2, deflated, in Base64: what other HDR tools read.
    pub(crate) fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        // Only counts above 2^63 and failing writers fail.
        let _ = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        STANDARD.encode(bytes)
    }

    /// Reads what [`Self::to_base64`] wrote.
    pub(crate) fn from_base64(text: &str) -> Result<Self, Failure> {
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Failure::Said(format!("a histogram: {error}")))?;
        let read = Deserializer::new().deserialize(&mut &*bytes);
        read.map(Self)
            .map_err(|error| Failure::Said(format!("a histogram: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn added_histograms_tell_what_one_histogram_of_everything_tells() {
        let (mut all, mut even, mut odd) = (Latencies::new(), Latencies::new(), Latencies::new());
        for ns in (1..=1_000_000u64).step_by(7) {
            all.record(ns);
            if ns % 2 == 0 { &mut even } else { &mut odd }.record(ns);
        }
        let mut added = Latencies::from_base64(&even.to_base64()).expect("our own");
        added
            .add(&Latencies::from_base64(&odd.to_base64()).expect("our own"))
            .expect("the same bounds");
        assert_eq!(added.fields(), all.fields());
        assert!(Latencies::from_base64("bm8=").is_err());
    }
}
