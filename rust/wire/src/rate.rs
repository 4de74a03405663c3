//! Token buckets of one number each: the rule of `core_ext/token_bucket.h`, to which
//! `spec/vectors/token_buckets.json` holds both.

/// How fast buckets fill, and how much one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    depth_ns: u64,
}

/// When a bucket will be full again, in nanoseconds of its caller's clock; 0 is a full one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket(u64);

impl Rate {
    /// `burst` tokens at most, and `per_second` come back; none of either: no limit.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval_ns =
            (1_000_000_000 + u64::from(per_second) / 2).checked_div(u64::from(per_second))?;
        let interval_ns = interval_ns.max(1);
        (burst > 0).then_some(Self {
            interval_ns,
            depth_ns: interval_ns * u64::from(burst),
        })
    }

    /// Takes `cost` tokens, or none: then the milliseconds until there are enough, at least 1. A
    /// cost above the burst counts as the burst.
    #[inline]
    pub fn take(self, bucket: &mut Bucket, now_ns: u64, cost: u32) -> Result<(), u32> {
        let cost_ns = (u64::from(cost) * self.interval_ns).min(self.depth_ns);
        // A clock that went back takes nobody more than a whole bucket.
        let missing_ns = bucket.0.saturating_sub(now_ns).min(self.depth_ns) + cost_ns;
        if missing_ns <= self.depth_ns {
            bucket.0 = now_ns + missing_ns;
            return Ok(());
        }
        let wait_ms = (missing_ns - self.depth_ns).div_ceil(1_000_000);
        Err(u32::try_from(wait_ms).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn shared_vectors() {
        let text = include_str!("../../../spec/vectors/token_buckets.json");
        let cases: Vec<Value> = serde_json::from_str(text).expect("JSON");
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().expect("a number"),
            other => other.as_u64().expect("a number"),
        };
        for case in &cases {
            let setting = |name: &str| number(&case[name]) as u32;
            let rate = Rate::new(setting("perSecond"), setting("burst")).expect("a rate");
            let mut buckets = std::collections::HashMap::<u64, Bucket>::new();
            for step in case["steps"].as_array().expect("steps") {
                let bucket = buckets.entry(number(&step["key"])).or_default();
                let got = rate.take(bucket, number(&step["nowNs"]), number(&step["cost"]) as u32);
                let wait_ms = number(&step["waitMs"]) as u32;
                let expected = if wait_ms == 0 { Ok(()) } else { Err(wait_ms) };
                assert_eq!(got, expected, "{}: {step}", case["name"]);
            }
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!((Rate::new(0, 5), Rate::new(5, 0)), (None, None));
    }

    #[test]
    fn the_wait_is_long_enough_and_no_longer() {
        for (per_second, burst) in [(1, 1), (3, 7), (999, 5), (1_000_000, 100)] {
            let rate = Rate::new(per_second, burst).expect("a rate");
            let mut bucket = Bucket::default();
            let wait_ms = loop {
                if let Err(wait_ms) = rate.take(&mut bucket, 77, 1) {
                    break u64::from(wait_ms);
                }
            };
            let before = (wait_ms - 1) * 1_000_000;
            assert!(rate.take(&mut bucket, 77 + before, 1).is_err());
            assert!(rate.take(&mut bucket, 77 + wait_ms * 1_000_000, 1).is_ok());
        }
    }
}
