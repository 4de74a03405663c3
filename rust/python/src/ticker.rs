//! What the event loop calls whenever the engine has something: Python runs only where it is needed.

use crate::engine::Engine;
use pyo3::prelude::*;
use std::time::Instant;

/// Reader callback of an engine's descriptor. It polls; where the poll finds work for Python it
/// calls `work` with the poll's mask, else it ends the tick itself. Reads and writes of sockets,
/// pings, time-outs and beats thus run no Python code. It measures how long ticks take.
#[pyclass(frozen, module = "imfast._engine")]
pub(crate) struct Ticker {
    engine: Py<Engine>,
    work: Py<PyAny>,
}

#[pymethods]
impl Ticker {
    /// `work` ends its tick with `Engine.flush`.
    #[new]
    fn new(engine: Py<Engine>, work: Py<PyAny>) -> Self {
        Self { engine, work }
    }

    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let began = Instant::now();
        let found = {
            let mut engine = self.engine.bind(py).try_borrow_mut()?;
            let found = engine.poll()?;
            if found == 0 {
                engine.flush();
                engine.ticked(began);
                return Ok(());
            }
            engine.python_ticks += 1;
            found
        };
        // The engine is free again: Python calls it.
        self.work.call1(py, (found,))?;
        self.engine.bind(py).try_borrow_mut()?.ticked(began);
        Ok(())
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.engine)?;
        visit.call(&self.work)
    }
}
