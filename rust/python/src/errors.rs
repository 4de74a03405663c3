//! How the engine's errors look to Python, and the catalogue's codes as numbers.

use imfast_engine::OpenError;
use imfast_wire::frames::codes;
use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    _engine,
    DataDamagedError,
    PyRuntimeError,
    "A log is damaged; the text has file, offset and cure."
);
create_exception!(
    _engine,
    DataFormatError,
    PyRuntimeError,
    "A log is of a newer version or another layout."
);

pub(crate) fn open_error(error: &OpenError) -> PyErr {
    let text = error.to_string();
    if error.is_damage() {
        DataDamagedError::new_err(text)
    } else if error.is_foreign() {
        DataFormatError::new_err(text)
    } else {
        PyOSError::new_err(text)
    }
}

pub(crate) fn code_of(number: u16) -> PyResult<&'static codes::Code> {
    codes::ALL
        .iter()
        .find(|entry| entry.number == number)
        .copied()
        .ok_or_else(|| PyValueError::new_err(format!("no such code: {number}")))
}

pub(crate) fn os_error(errno: rustix::io::Errno) -> PyErr {
    PyOSError::new_err((errno.raw_os_error(), errno.to_string()))
}
