//! `sink`: counts what arrives, as a fan-out does, of a sender that needs nothing from us.

use serde_json::{Map, Value, json};

use super::loops::{Phase, Phases};
use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::measure::now_ns;
use crate::result::Outcome;
use crate::transport::{Kind, Transport};

pub(crate) struct Sink;

impl Scenario for Sink {
    type Prepared = ();

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(mut stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let (transport, pool) = (stage.transport, &mut stage.pool);
        let mut phases = Phases::new(stage.options, stage.start_ns, pool.len());
        let (mut frames, mut bytes) = (0u64, 0u64);
        let (mut from, mut to) = ((0, 0), (0, 0));
        let mut events = Vec::new();
        // Nothing is open when the measured time ends.
        while matches!(phases.phase, Phase::WarmUp | Phase::Measured) {
            let now = now_ns();
            phases.received(now, frames);
            if phases.advance(now, true) {
                match phases.phase {
                    Phase::Measured => from = (frames, bytes),
                    _ => to = (frames, bytes),
                }
            }
            pool.wait(phases.wake_ns(), &mut events)?;
            for event in &events {
                let fresh = pool.handle(*event, |frame| {
                    frames += u64::from(transport.kind(frame) == Kind::Message);
                })?;
                bytes += fresh as u64;
            }
        }
        let mut outcome = stage.outcome();
        outcome.reading = phases.reading.unwrap_or_default();
        outcome.per_second = phases.per_second;
        outcome.count("frames", to.0 - from.0);
        outcome.count("bytes", to.1 - from.1);
        Ok(outcome)
    }

    fn derive(outcome: &Outcome, fields: &mut Map<String, Value>) {
        fields.insert("frames_per_second".into(), json!(outcome.rate("frames")));
    }
}
