//! What a message of a run says: who sends it, which of its sends it is, and when it was to go.
//!
//! A retry must say the same, so the time is that of the first attempt.

use std::fmt::Write as _;

/// What a body carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells runs on one server apart.
    pub run: u32,
    /// The sender's index.
    pub user: u32,
    /// Which of its sends.
    pub number: u32,
    /// Nanoseconds of the generator's monotonic clock.
    pub intended_ns: u64,
}

const BEGIN: &str = "imfast-verify";

impl Mark {
    /// Appends the body, filled up to `bytes` where the mark leaves room.
    pub(crate) fn write(&self, bytes: usize, out: &mut String) {
        let start = out.len();
        // Writing into a string cannot fail.
        let _ = write!(
            out,
            "{BEGIN} {:x} {:x} {:x} {:x} ",
            self.run, self.user, self.number, self.intended_ns
        );
        while out.len() - start < bytes {
            out.push('x');
        }
    }

    /// Reads a body; none when no run wrote it.
    pub(crate) fn read(body: &str) -> Option<Self> {
        let mut parts = body.split(' ');
        if parts.next()? != BEGIN {
            return None;
        }
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let mark = Self {
            run: number()? as u32,
            user: number()? as u32,
            number: number()? as u32,
            intended_ns: number()?,
        };
        Some(mark)
    }
}

/// A digest of a body; never 0. FNV-1a, 64 bits folded to 32.
pub(crate) fn digest(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_from_its_body() {
        let mark = Mark {
            run: 0xdead_beef,
            user: 17,
            number: 4_000_000_000,
            intended_ns: u64::MAX,
        };
        for bytes in [0, 128] {
            let mut body = String::new();
            mark.write(bytes, &mut body);
            assert!(body.len() >= bytes);
            assert_eq!(Mark::read(&body), Some(mark));
        }
        assert_eq!(Mark::read("xxxxxxxx"), None);
        assert_eq!(Mark::read("imfast-verify 1 2"), None);
        assert_ne!(digest(b"ab"), digest(b"ba"));
    }
}
