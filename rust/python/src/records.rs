//! The records of a batch, lent to the sequencer through the buffer protocol.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature of a protocol method"
)]
use crate::engine::Engine;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// Writable, contiguous bytes: 64 for each record. Only to be used between `begin` and `append`,
/// or `replay_next` and `replay_commit`, of its partition; the engine refuses those calls while a
/// buffer is held.
#[pyclass(unsendable, module = "imfast._engine")]
pub(crate) struct Records {
    pub(crate) engine: Py<Engine>,
    pub(crate) partition: u16,
}

#[pymethods]
impl Records {
    /// # Safety
    /// Called by the interpreter with a view to fill.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        let (pointer, length) = {
            let this = slf.borrow();
            let mut engine = this.engine.bind(py).borrow_mut();
            let bytes = engine
                .records_mut(this.partition)
                .ok_or_else(|| PyBufferError::new_err("no batch waits for numbering"))?;
            (bytes.as_mut_ptr(), bytes.len())
        };
        // SAFETY: `view` is the interpreter's. The memory belongs to the partition's batch; it
        // neither moves nor ends before `__releasebuffer__`, because the engine counts the views
        // and refuses whatever would end the batch while there is one. `slf` keeps the engine
        // alive for as long as the view lives.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                pointer.cast(),
                length as isize,
                0,
                flags,
            )
        };
        if filled != 0 {
            return Err(PyErr::fetch(py));
        }
        slf.borrow().engine.bind(py).borrow_mut().views += 1;
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter for a view that it got above.
    unsafe fn __releasebuffer__(slf: Bound<'_, Self>, _view: *mut ffi::Py_buffer) {
        slf.borrow().engine.bind(slf.py()).borrow_mut().views -= 1;
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.engine)
    }
}
