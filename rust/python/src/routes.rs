//! The shared route table as the supervisor uses it: by descriptor, without keeping a mapping.

use imfast_engine::{RouteTable, Shown};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::collections::HashMap;

/// Maps the table that a descriptor stands for. Takes no descriptor: the supervisor looks at
/// heartbeats also when none is left.
pub(crate) fn map(fd: RawFd) -> PyResult<RouteTable> {
    with_descriptor(fd, |fd| {
        RouteTable::map(fd).map_err(|e| PyOSError::new_err(e.to_string()))
    })
}

/// An own descriptor for what the caller's stands for, close-on-exec.
pub(crate) fn duplicate(fd: RawFd) -> PyResult<OwnedFd> {
    with_descriptor(fd, |fd| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
            .map_err(|e| PyOSError::new_err((e.raw_os_error(), e.to_string())))
    })
}

fn with_descriptor<R>(fd: RawFd, work: impl FnOnce(BorrowedFd<'_>) -> PyResult<R>) -> PyResult<R> {
    if fd < 0 {
        return Err(PyOSError::new_err("negative file descriptor"));
    }
    // SAFETY: the number is not -1, and it is used only for the length of this call, in which
    // the interpreter lock keeps other Python code from closing it. A number that names no open
    // file is refused by the kernel.
    work(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Makes a route table with `buckets` buckets of 128 bytes; returns its descriptor, close-on-exec.
#[pyfunction]
pub(crate) fn create_route_table(buckets: u64) -> PyResult<RawFd> {
    let fd = RouteTable::create("imfast-routes", buckets)
        .map_err(|e| PyOSError::new_err(e.to_string()))?;
    Ok(fd.into_raw_fd())
}

/// Takes a dead worker out of every route, before its successor starts.
#[pyfunction]
pub(crate) fn clear_worker(fd: RawFd, worker: usize) -> PyResult<()> {
    map(fd)?.clear_worker(worker);
    Ok(())
}

/// A histogram: upper bounds in microseconds, counts by bucket (one more), and their sum.
type Buckets = (Vec<u64>, Vec<u64>, u64);
type Numbers = HashMap<&'static str, u64>;

/// What a worker and its predecessors have shown: counters, gauges, and histograms.
#[pyfunction]
pub(crate) fn worker_metrics(
    fd: RawFd,
    worker: usize,
) -> PyResult<(Numbers, Numbers, HashMap<&'static str, Buckets>)> {
    let shown = Shown::read(&map(fd)?.metrics(worker));
    let buckets = |(name, bounds, counts, sum)| (name, (bounds, counts, sum));
    Ok((
        shown.counters.into_iter().collect(),
        shown.gauges.into_iter().collect(),
        shown.histograms.into_iter().map(buckets).collect(),
    ))
}

/// How often a worker's engine has reported since the table was made.
#[pyfunction]
pub(crate) fn heartbeat(fd: RawFd, worker: usize) -> PyResult<u64> {
    Ok(map(fd)?.heartbeat(worker))
}
