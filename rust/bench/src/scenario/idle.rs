//! `idle`: connections that say nothing but the heartbeat, until standard input ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imfast_wire::frames::client::{ClientFrame, Verb};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::lines;
use crate::measure::now_ns;
use crate::pool::Pool;
use crate::transport::Transport;

const TURN_NS: u64 = 100_000_000;

pub(crate) fn run<T: Transport>(mut pool: Pool<T>, heartbeat_ms: u64) -> Result<Value, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&ended);
    std::thread::spawn(move || {
        lines::wait_for_input();
        tell.store(true, Ordering::Release);
    });
    let began_ns = now_ns();
    let interval_ns = heartbeat_ms.max(1) * 1_000_000;
    let ping = ClientFrame {
        id: 0,
        verb: Verb::Ping,
    };
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
    Ok(json!({
        "connections": pool.len(),
        "seconds": (now_ns() - began_ns) as f64 / 1e9,
        "pings": pinged,
        "frames_received": frames,
    }))
}
