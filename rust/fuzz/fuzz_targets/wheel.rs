//! Time-outs, set, cleared and swept in any order and at any pace: each comes once, in its time.
#![no_main]

use arbitrary::Arbitrary;
use imfast_engine::fuzzing::Timeouts;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

const DELAY_MAX: u32 = 65_000;

#[derive(Arbitrary, Debug)]
enum Operation {
    Set {
        slot: u8,
        delay: u16,
    },
    Clear(u8),
    /// So much time passes without a sweep.
    Pass(u8),
    Sweep,
}

fuzz_target!(|case: (u32, Vec<Operation>)| {
    let (start, operations) = case;
    let mut now = start % (u32::MAX / 2);
    let mut timeouts = Timeouts::default();
    timeouts.sweep(now);
    let (mut due, mut swept) = (BTreeMap::new(), now);
    for operation in operations {
        match operation {
            Operation::Set { slot, delay } => {
                timeouts.set(u32::from(slot), now, u32::from(delay));
                due.insert(u32::from(slot), now + u32::from(delay).clamp(1, DELAY_MAX));
            }
            Operation::Clear(slot) => {
                timeouts.clear(u32::from(slot));
                due.remove(&u32::from(slot));
            }
            Operation::Pass(units) => {
                // A sweep is late by a few units, never by a turn of the wheel, when something is set.
                if now - swept < 4 {
                    now += u32::from(units % 4);
                }
            }
            Operation::Sweep => {
                let found = timeouts.sweep(now);
                let expected: Vec<u32> = due
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(slot, _)| *slot)
                    .collect();
                assert_eq!(found, expected);
                due.retain(|_, at| *at > now);
                swept = now;
            }
        }
    }
});
