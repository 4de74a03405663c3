//! What this binary was built from: for `imfast --version` and for bug reports.

use pyo3::{prelude::*, types::PyDict};

/// The version of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `git describe` at build time, or `unknown` when built outside a checkout.
const REVISION: &str = env!("IMFAST_REVISION");

/// A debug build checks arithmetic and is several times slower; nobody should serve or measure with one.
const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

/// Cargo features that change what is in the binary.
const FEATURES: &[&str] = if cfg!(feature = "simulation") {
    &["core-ext", "simulation"]
} else if cfg!(feature = "core-ext") {
    &["core-ext"]
} else {
    &[]
};

/// Returns `{version, revision, profile, features}`.
#[pyfunction]
pub(crate) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", VERSION)?;
    info.set_item("revision", REVISION)?;
    info.set_item("profile", PROFILE)?;
    info.set_item("features", FEATURES)?;
    Ok(info)
}
