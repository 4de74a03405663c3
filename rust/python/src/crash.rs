//! Crash reports from Python.

use crate::routes::duplicate;
use imfast_engine::crash;
use pyo3::prelude::*;
use std::path::PathBuf;

/// From now on a panic writes a report into `directory`, and a fatal signal the last events to
/// `fd`, in front of what its present handler writes. `header` must be free of secrets.
#[pyfunction]
pub(crate) fn install_crash_reports(
    directory: PathBuf,
    name: String,
    header: String,
    fd: i32,
) -> PyResult<()> {
    crash::install(directory, name, header);
    Ok(crash::write_events_on_fatal_signals(duplicate(fd)?)?)
}

/// Writes a report about a fault in Python code, once for each place. Returns its path, or None
/// where this place has one.
#[pyfunction]
pub(crate) fn write_crash_report(
    kind: &str,
    place: &str,
    what: &str,
    trace: &str,
) -> PyResult<Option<PathBuf>> {
    Ok(crash::write(kind, place, what, trace)?)
}

/// Where and why the last panic was, and its report.
#[pyfunction]
pub(crate) fn last_panic() -> Option<String> {
    crash::last_panic()
}
