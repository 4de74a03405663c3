//! The sends of a run: a body of the wanted size, which begins with a stamp, and a
//! key that is never used twice.

use std::fmt::Write as _;

use imfast_wire::frames::client::{Body, ClientFrame, Send, Target, Verb};

use crate::options::Options;

/// What a body begins with, in hexadecimal digits; bodies without room for it have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    /// When it was to be sent, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// The sender's connection, and what kind of message it is, where a scenario tells them apart.
    pub sender: u32,
    pub kind: u8,
}

/// Digits of the three fields.
const STAMP_BYTES: usize = 16 + 8 + 2;

impl Stamp {
    /// Reads the stamp at the start of a message's text.
    #[inline]
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let digits: &[u8; STAMP_BYTES] = text.first_chunk()?;
        let (at, rest) = digits.split_at(16);
        let (sender, kind) = rest.split_at(8);
        Some(Self {
            at_ns: number(at)?,
            sender: number(sender)? as u32,
            kind: number(kind)? as u8,
        })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

/// Makes sends.
pub(crate) struct Messages {
    body: String,
    /// What the body begins with.
    stamp: Option<Stamp>,
    /// Whether messages are ephemeral.
    pub ephemeral: bool,
    /// Begins every key; none: sends have no keys.
    run: Option<String>,
    made: u64,
}

impl Messages {
    pub(crate) fn new(options: &Options) -> Self {
        let run = options
            .keys
            .then(|| format!("{:x}", crate::measure::now_ns()));
        Self {
            body: "x".repeat(options.body_bytes),
            stamp: None,
            ephemeral: options.ephemeral,
            run,
            made: 0,
        }
    }

    /// The next send to `to`, as request `id`.
    pub(crate) fn next<'a>(&'a mut self, id: u64, to: Target<'a>, stamp: Stamp) -> ClientFrame<'a> {
        self.made += 1;
        if self.body.len() >= STAMP_BYTES && self.stamp != Some(stamp) {
            self.stamp = Some(stamp);
            let Stamp {
                at_ns,
                sender,
                kind,
            } = stamp;
            let digits = format!("{at_ns:016x}{sender:08x}{kind:02x}");
            self.body.replace_range(..STAMP_BYTES, &digits);
        }
        let mut key = String::new();
        if let Some(run) = &self.run {
            key.push_str(run);
            // Writing into a string cannot fail.
            let _ = write!(key, "-{:x}", self.made);
        }
        ClientFrame {
            id,
            verb: Verb::Send(Send {
                to,
                key: key.into(),
                body: Body::Text((&*self.body).into()),
                ttl_ms: 0,
                silent: false,
                ephemeral: self.ephemeral,
                headers: Vec::new(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_and_begins_with_its_stamp() {
        let mut options = Options::for_tests("fanout");
        let stamp = Stamp {
            at_ns: 0xfeed_beef,
            sender: 19_999,
            kind: 3,
        };
        for (bytes, found) in [(128, Some(stamp)), (26, Some(stamp)), (25, None)] {
            options.body_bytes = bytes;
            let mut messages = Messages::new(&options);
            let frame = messages.next(1, Target::User("ann".into()), stamp);
            let Verb::Send(Send {
                body: Body::Text(text),
                ..
            }) = frame.verb
            else {
                panic!("a send");
            };
            assert_eq!((text.len(), Stamp::read(text.as_bytes())), (bytes, found));
        }
    }
}
