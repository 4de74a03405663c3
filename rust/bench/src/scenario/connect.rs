//! `connect`: opening connections is the work.

use serde_json::{Map, Value, json};

use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::latencies::Latencies;
use crate::result::Outcome;
use crate::transport::Transport;

pub(crate) struct Connect;

impl Scenario for Connect {
    type Prepared = ();
    const OPENING_IS_WORK: bool = true;

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(mut stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let mut outcome = stage.outcome();
        outcome.count("opened", stage.pool.ready() as u64);
        outcome.count("elsewhere", stage.pool.opened.elsewhere);
        let latencies = std::mem::replace(&mut stage.pool.opened.latencies, Latencies::new());
        outcome.distribution("latency", latencies);
        Ok(outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        fields.insert("connects_per_second".into(), json!(outcome.rate("opened")));
        let cost = outcome.per(outcome.reading.server_cpu_seconds * 1e6, "opened");
        fields.insert("server_cpu_us_per_connect".into(), json!(cost));
    }
}
