//! The load generator behind `imfast bench`.

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyModule;

/// How a process of Python starts [`run_load_generator`] again with the arguments that follow.
const AGAIN: &str =
    "import sys; from imfast._engine import run_load_generator as run; sys.exit(run(sys.argv[1:]))";

/// Runs the load generator with the arguments of its command line; returns its exit status.
///
/// It prints JSON lines to file descriptor 1 and handles no signals: run it in a process of its own.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "what Python passes is converted into a value"
)]
pub(crate) fn run_load_generator(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    let python: OsString = PyModule::import(py, "sys")?
        .getattr("executable")?
        .extract()?;
    let command = [python, "-c".into(), AGAIN.into()];
    Ok(py.detach(|| imfast_bench::run(&command, &arguments)))
}
