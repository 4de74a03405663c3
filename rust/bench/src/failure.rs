//! Why a run gives no result.

use core::fmt;

use rustix::io::Errno;

/// A run that failed. There is nobody to handle it but who reads the message.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A system call, and what it was for.
    System(&'static str, Errno),
    /// Anything else, as a sentence.
    Said(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(what, errno) => write!(f, "{what}: {errno}"),
            Self::Said(text) => f.write_str(text),
        }
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
