//! The echo endpoint of `imfast dev-echo`.

use crate::routes::duplicate;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::fd::RawFd;
use std::net::TcpListener;

/// Echoes WebSocket messages on the listening socket `fd` until a signal handler raises.
#[pyfunction]
pub(crate) fn serve_echo(py: Python<'_>, fd: RawFd) -> PyResult<()> {
    let listener = TcpListener::from(duplicate(fd)?);
    let mut raised = Ok(());
    let served = py.detach(|| {
        imfast_engine::serve_echo(&listener, || {
            raised = check_signals();
            raised.is_err()
        })
    });
    raised?;
    served.map_err(|error| PyOSError::new_err(error.to_string()))
}

fn check_signals() -> PyResult<()> {
    Python::attach(|py| {
        py.check_signals()?;
        Ok(())
    })
}
