//! `idle`: connections that say nothing but the heartbeat, until standard input ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imfast_wire::frames::client::{ClientFrame, Verb};

use super::{Scenario, Stage};
use crate::failure::Failure;
use crate::lines;
use crate::measure::{Meter, now_ns};
use crate::result::Outcome;
use crate::transport::Transport;

const TURN_NS: u64 = 100_000_000;

pub(crate) struct Idle;

impl Scenario for Idle {
    type Prepared = ();

    fn prepare<T: Transport>(_: &mut Stage<'_, T>) -> Result<(), Failure> {
        Ok(())
    }

    fn run<T: Transport>(mut stage: Stage<'_, T>, (): ()) -> Result<Outcome, Failure> {
        let ended = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&ended);
        std::thread::spawn(move || {
            lines::wait_for_input();
            tell.store(true, Ordering::Release);
        });
        let meter = Meter::start(&stage.options.server_pids);
        let began_ns = now_ns();
        let interval_ns = stage.pool.opened.heartbeat_ms.max(1) * 1_000_000;
        let ping = ClientFrame {
            id: 0,
            verb: Verb::Ping,
        };
        let pool = &mut stage.pool;
        let (mut events, mut frames) = (Vec::new(), 0u64);
        let mut pinged = 0;
        while !ended.load(Ordering::Acquire) {
            let now = now_ns();
            // Spread over the interval: connection i pings i/N of an interval after the first.
            let due = ((now - began_ns) as f64 / interval_ns as f64 * pool.len() as f64) as usize;
            // The first ones come an interval after they connected.
            for turn in pinged..due {
                pool.send(turn % pool.len(), &ping)?;
            }
            pinged = pinged.max(due);
            pool.wait(now + TURN_NS, &mut events)?;
            for event in &events {
                pool.handle(*event, |_| frames += 1)?;
            }
        }
        let mut outcome = stage.outcome();
        outcome.reading = meter.read();
        outcome.count("pings", pinged as u64);
        outcome.count("frames_received", frames);
        Ok(outcome)
    }
}
