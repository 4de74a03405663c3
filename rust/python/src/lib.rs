//! `imfast._engine`: the native module. One small file a Python class; this file is the export list.

mod build_info;

#[pyo3::pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::build_info::build_info;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", crate::build_info::VERSION)
    }
}
