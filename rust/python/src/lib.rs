//! `imfast._engine`: the native module. One small file a Python class; this file is the export list.

mod build_info;
mod crash;
mod data;
mod dev_echo;
mod engine;
mod errors;
mod load_generator;
mod options;
mod records;
mod requests;
mod routes;
#[cfg(feature = "simulation")]
mod simulation;
mod ticker;
mod tls;

#[pyo3::pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::build_info::build_info;
    #[pymodule_export]
    use crate::crash::{install_crash_reports, last_panic, write_crash_report};
    #[pymodule_export]
    use crate::data::{
        ArchiveReport, LogReport, LoggedCommand, copy_archive, copy_log, read_log, reshard,
        verify_archive, verify_log,
    };
    #[pymodule_export]
    use crate::dev_echo::serve_echo;
    #[pymodule_export]
    use crate::engine::{Engine, Finished};
    #[pymodule_export]
    use crate::load_generator::run_load_generator;
    #[pymodule_export]
    use crate::records::Records;
    #[pymodule_export]
    use crate::requests::Request;
    #[pymodule_export]
    use crate::routes::{clear_worker, create_route_table, heartbeat, worker_metrics};
    #[pymodule_export]
    use crate::ticker::Ticker;

    #[pymodule_export]
    use crate::tls::check_tls;

    #[cfg(feature = "simulation")]
    #[pymodule_export]
    use crate::simulation::{SimulatedWorld, fault_names, inject_fault};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", crate::build_info::VERSION)?;
        module.add(
            "PanicException",
            module.py().get_type::<pyo3::panic::PanicException>(),
        )?;
        module.add(
            "DataDamagedError",
            module.py().get_type::<crate::errors::DataDamagedError>(),
        )?;
        module.add(
            "DataFormatError",
            module.py().get_type::<crate::errors::DataFormatError>(),
        )
    }
}
