//! A request that waits until it was decided whether to serve it.

use super::{Asked, Control, What};
use std::borrow::Cow;

/// As [`Asked`], put aside.
#[derive(Debug, Clone)]
pub struct PutAside {
    asked: Asked<'static>,
    verb: Box<str>,
    /// Method, path, host and origin of what Python answers.
    control: [Box<str>; 4],
    token: Box<str>,
    key: Box<str>,
    body: Box<[u8]>,
}

impl Asked<'_> {
    /// Copies it, for when it was decided whether to serve it.
    pub fn put_aside(&self) -> PutAside {
        let (mut verb, mut control) = ("", [""; 4]);
        let what = match &self.what {
            What::Verb(name) => {
                verb = name;
                What::Verb("")
            }
            What::Events { sync, ticket } => What::Events {
                sync: Cow::Owned(sync.as_ref().to_owned()),
                ticket: Cow::Owned(ticket.as_ref().to_owned()),
            },
            What::Ready => What::Ready,
            What::Control(asked) => {
                control = [asked.method, asked.path, asked.host, asked.origin];
                What::Control(Control::default())
            }
        };
        PutAside {
            asked: Asked {
                what,
                answering: self.answering,
                token: "",
                key: "",
                device: Cow::Owned(self.device.as_ref().to_owned()),
                body: &[],
                client: None,
            },
            verb: verb.into(),
            control: control.map(Into::into),
            token: self.token.into(),
            key: self.key.into(),
            body: self.body.into(),
        }
    }
}

impl PutAside {
    /// What was put aside.
    pub fn asked(&self) -> Asked<'_> {
        let mut asked = self.asked.clone();
        match &mut asked.what {
            What::Verb(verb) => *verb = &self.verb,
            What::Control(control) => {
                let [method, path, host, origin] = &self.control;
                *control = Control {
                    method,
                    path,
                    host,
                    origin,
                };
            }
            What::Events { .. } | What::Ready => {}
        }
        Asked {
            token: &self.token,
            key: &self.key,
            body: &self.body,
            ..asked
        }
    }
}
