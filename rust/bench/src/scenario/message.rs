//! The sends of a run: a body of the wanted size, and a key that is never used twice.

use std::fmt::Write as _;

use imfast_wire::frames::client::{Body, ClientFrame, Send, Target, Verb};

use crate::options::Options;

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

    /// The next send to `to`, as request `id`.
    pub(crate) fn next<'a>(&'a mut self, id: u64, to: Target<'a>) -> ClientFrame<'a> {
        self.made += 1;
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
