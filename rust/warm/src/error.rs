//! The store's errors as `io::Error`: which of them mean damage, and where.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Damage: what is on disk is not what was written. A rebuild cures it, while the log has everything.
pub(crate) fn damaged(place: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: damaged: {what}", place.display()),
    )
}

/// The chunk or call is wrong: a mistake in this program.
pub(crate) fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The system's answer with its place. A file that is missing or too short is damage, and so is an
/// offset that no file has.
pub(crate) fn at(place: &Path, error: &io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData => damaged(place, error),
        kind => io::Error::new(kind, format!("{}: {error}", place.display())),
    }
}

/// Runs a call into the trees. They panic over some damage; that is damage like any other.
pub(crate) fn guarded<T>(
    place: &Path,
    call: impl FnOnce() -> lsm_tree::Result<T>,
) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(lsm_tree::Error::Io(error))) => Err(at(place, &error)),
        Ok(Err(error)) => Err(damaged(place, error)),
        Err(panic) => Err(damaged(place, message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}
