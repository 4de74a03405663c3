//! Why a run gives no result.

use core::fmt;

use rustix::io::Errno;

/// A run that failed. Most have nobody to handle them but who reads the message.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A system call, and what it was for.
    System(&'static str, Errno),
    /// The server ended a connection; scenarios that expect it go on.
    Closed(Closed),
    /// Anything else, as a sentence.
    Said(String),
}

/// How the server ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The WebSocket close code; none when the connection ended without one.
    pub code: Option<u16>,
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(what, errno) => write!(f, "{what}: {errno}"),
            Self::Closed(closed) => closed.fmt(f),
            Self::Said(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "the server closed with {code}: {}", self.reason),
            None => write!(f, "the server closed a connection: {}", self.reason),
        }
    }
}

impl Failure {
    /// The connection ended without a word.
    pub(crate) fn ended(reason: &str) -> Self {
        Self::Closed(Closed {
            code: None,
            reason: reason.into(),
        })
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

/// Names the system call that failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: &'static str) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, what: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure::System(what, errno))
    }
}
