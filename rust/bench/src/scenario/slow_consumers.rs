//! `slow-consumers`: a fan-out some of whose subscribers stop reading once they have joined, with
//! little room in the kernel. What is measured is the others: they must not notice.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fan_out::{self, FanOut};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::measure::now_ns;
use crate::memory::{Watch, pss_bytes};
use crate::options::Options;
use crate::pool::Pool;
use crate::result::Outcome;
use crate::transport::Transport;

/// How long the end of what the stalled ones have not read is waited for.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Who gets nothing for so long has all that there is, and was not closed.
const QUIET_NS: u64 = 1_000_000_000;
/// Room for what the server's kernel still holds.
const READING_BYTES: usize = 4 << 20;

pub(crate) struct SlowConsumers;

impl Scenario for SlowConsumers {
    type Prepared = String;

    fn apart(options: &Options) -> usize {
        options.publishers + options.stalled
    }

    fn senders(options: &Options) -> usize {
        options.publishers
    }

    fn prepare<T: Transport>(stage: &mut Stage<'_, T>) -> Result<String, Failure> {
        let group = FanOut::prepare(stage)?;
        for index in stalled(&group, stage.options) {
            let bytes = stage.options.receive_buffer;
            stage.pool.set_receive_buffer(index, bytes)?;
            stage.pool.pause(index)?;
        }
        Ok(group)
    }

    fn run<T: Transport>(stage: Stage<'_, T>, group: String) -> Result<Outcome, Failure> {
        let options = stage.options;
        if group.is_empty() {
            return fan_out::run(stage, &group, 0).map(|(outcome, _)| outcome);
        }
        let watch = Watch::start(&options.server_pids);
        let before = watch.before_bytes;
        let (mut outcome, mut stage) = fan_out::run(stage, &group, options.stalled)?;
        let after = pss_bytes(&options.server_pids);
        let most = watch.finish().max(after);
        let memory = json!({ "before": before, "most": most, "after": after });
        outcome.facts.insert("server_pss_bytes".into(), memory);
        let codes = read_to_the_end(&mut stage.pool, stalled(&group, options))?;
        let closed: u64 = codes.values().sum();
        outcome.count("stalled", options.stalled as u64);
        outcome.count("stalled_closed", closed);
        outcome
            .facts
            .insert("stalled_close_codes".into(), json!(codes));
        Ok(outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        FanOut::derive(outcome, fields);
    }
}

/// The connections behind the publishers, where there are any.
fn stalled(group: &str, options: &Options) -> std::ops::Range<usize> {
    let publishers = options.publishers;
    let stalled = if group.is_empty() { 0 } else { options.stalled };
    publishers..publishers + stalled
}

/// Reads what waits for those connections; returns by which close codes they ended, and
/// `none` for those that ended without one: a full socket has no room for a close frame. Who
/// still is open is not counted.
fn read_to_the_end<T: Transport>(
    pool: &mut Pool<T>,
    stalled: std::ops::Range<usize>,
) -> Result<BTreeMap<String, u64>, Failure> {
    let mut codes = BTreeMap::new();
    for index in stalled.clone() {
        pool.set_receive_buffer(index, READING_BYTES)?;
        pool.resume(index)?;
    }
    let give_up_ns = now_ns() + PATIENCE_NS;
    let mut events = Vec::new();
    let mut left = stalled.len() as u64;
    while left > 0 && now_ns() < give_up_ns {
        pool.wait(now_ns() + QUIET_NS, &mut events)?;
        if events.iter().all(|event| event.index.is_none()) {
            break;
        }
        for event in &events {
            match (event.index, pool.handle(*event, |_| ())) {
                (Some(index), Err(Failure::Closed(closed))) if stalled.contains(&index) => {
                    let code = closed.code.map_or("none".into(), |code| code.to_string());
                    *codes.entry(code).or_default() += 1;
                    left -= 1;
                    pool.pause(index)?;
                }
                (_, Err(failure)) => return Err(failure),
                (_, Ok(_)) => {}
            }
        }
    }
    Ok(codes)
}
