//! The sends of a run: a body of the wanted size, which begins with the time at which it was to
//! be sent, and a key that is never used twice.

use std::fmt::Write as _;

use imfast_wire::frames::client::{Body, ClientFrame, Send, Target, Verb};

use crate::options::Options;

/// Hexadecimal digits of a time at the start of a body; shorter bodies have none.
const STAMP_BYTES: usize = 16;

/// When a message was to be sent, in nanoseconds of the monotonic clock, by its text.
#[inline]
pub(crate) fn stamp_ns(text: &[u8]) -> Option<u64> {
    let digits: &[u8; STAMP_BYTES] = text.first_chunk()?;
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

/// Makes sends.
pub(crate) struct Messages {
    body: String,
    ephemeral: bool,
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
            ephemeral: options.ephemeral,
            run,
            made: 0,
        }
    }

    /// The next send to `to`, as request `id`, which was to be sent at `at_ns`.
    pub(crate) fn next<'a>(&'a mut self, id: u64, to: Target<'a>, at_ns: u64) -> ClientFrame<'a> {
        self.made += 1;
        if self.body.len() >= STAMP_BYTES {
            self.body
                .replace_range(..STAMP_BYTES, &format!("{at_ns:016x}"));
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
    fn a_body_has_its_size_and_tells_when_it_was_to_be_sent() {
        let mut options = Options::for_tests("fanout");
        for (bytes, stamp) in [
            (128, Some(0xfeed_beef)),
            (16, Some(0xfeed_beef)),
            (15, None),
        ] {
            options.body_bytes = bytes;
            let mut messages = Messages::new(&options);
            let frame = messages.next(1, Target::User("ann".into()), 0xfeed_beef);
            let Verb::Send(Send {
                body: Body::Text(text),
                ..
            }) = frame.verb
            else {
                panic!("a send");
            };
            assert_eq!((text.len(), stamp_ns(text.as_bytes())), (bytes, stamp));
        }
    }
}
