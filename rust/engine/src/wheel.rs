//! Time-outs of connections: two bytes each, swept once per unit.
//!
//! A mark holds the unit (modulo 65,535, plus one) in which the connection is due; 0 means never.
//! A sweep reads the marks in one pass, a million of them in well under a millisecond, so an
//! idle connection needs neither a timer object nor a place in a heap.

/// Longest delay, in units, that a mark can tell from "already due".
pub(crate) const MAX_DELAY: u32 = 65_000;

/// Units that a mark tells apart.
const TURN: u32 = u16::MAX as u32;

/// Units from the one that has mark `first` until the next one that has mark `due`.
fn distance(first: u16, due: u16) -> u32 {
    let (first, due) = (u32::from(first), u32::from(due));
    if due >= first {
        due - first
    } else {
        due + TURN - first
    }
}

/// Due times by slot. One unit is whatever the caller sweeps by.
#[derive(Default)]
pub(crate) struct Wheel {
    due: Vec<u16>,
    swept: u32,
}

fn mark(unit: u32) -> u16 {
    (unit % TURN) as u16 + 1
}

impl Wheel {
    /// Sets when `slot` is due: `delay` units from `now`, at least one, at most [`MAX_DELAY`].
    pub(crate) fn set(&mut self, slot: u32, now: u32, delay: u32) {
        let slot = slot as usize;
        if slot >= self.due.len() {
            self.due.resize(slot + 1, 0);
        }
        // While a sweep is late, a mark tells less from "already due": rather early than at once.
        let due = (now + delay.clamp(1, MAX_DELAY)).min(self.swept + TURN - 1);
        self.due[slot] = mark(due);
    }

    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(mark) = self.due.get_mut(slot as usize) {
            *mark = 0;
        }
    }

    /// Takes every slot that became due since the last sweep, up to and including unit `now`.
    pub(crate) fn sweep(&mut self, now: u32, out: &mut Vec<u32>) {
        // After a pause longer than a turn of the wheel one turn finds everything.
        let from = self.swept.max(now.saturating_sub(TURN - 1));
        let (first, span) = (mark(from + 1), now.saturating_sub(from));
        if span == 0 {
            return;
        }
        for (slot, due) in self.due.iter_mut().enumerate() {
            if *due != 0 && distance(first, *due) < span {
                *due = 0;
                out.push(slot as u32);
            }
        }
        self.swept = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.sweep(now, &mut out);
        out
    }

    #[test]
    fn a_slot_is_due_once_and_not_before_its_time() {
        let mut wheel = Wheel::default();
        wheel.set(7, 0, 3);
        assert_eq!(due(&mut wheel, 2), [0; 0]);
        assert_eq!(due(&mut wheel, 3), [7]);
        assert_eq!(due(&mut wheel, 300), [0; 0]);
    }

    #[test]
    fn the_longest_delay_survives_the_turn_of_the_wheel() {
        for start in [0, 100, 1000, TURN - 1, TURN, 3 * TURN] {
            let mut wheel = Wheel::default();
            due(&mut wheel, start);
            wheel.set(1, start, MAX_DELAY);
            assert_eq!(due(&mut wheel, start + MAX_DELAY - 1), [0; 0]);
            assert_eq!(due(&mut wheel, start + MAX_DELAY), [1]);
        }
    }

    #[test]
    fn the_longest_heartbeat_is_not_cut_short() {
        let longest = (imfast_wire::frames::limits::HEARTBEAT_MS.max / 1000) as u32;
        let mut wheel = Wheel::default();
        wheel.set(1, 0, longest);
        assert_eq!(due(&mut wheel, longest - 1), [0; 0]);
        assert_eq!(due(&mut wheel, longest), [1]);
    }

    #[test]
    fn what_is_set_while_a_sweep_is_late_is_not_due_at_once() {
        for late in [1, 4, 5, 6, 30, 200, 535] {
            let mut wheel = Wheel::default();
            due(&mut wheel, 1000);
            let now = 1000 + late;
            wheel.set(1, now, MAX_DELAY);
            assert_eq!(due(&mut wheel, now), [0; 0], "{late} units late");
            assert_eq!(due(&mut wheel, now + MAX_DELAY), [1], "{late} units late");
        }
    }

    #[test]
    fn a_late_sweep_finds_all_that_came_due_meanwhile() {
        let mut wheel = Wheel::default();
        wheel.set(1, 0, 1);
        wheel.set(2, 0, 200);
        wheel.set(3, 0, 5);
        wheel.clear(3);
        let mut found = due(&mut wheel, 5000);
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
    }
}
