//! The log of one partition, read for `imfast data`: nothing is locked, changed or created.

use std::ops::ControlFlow;
use std::path::PathBuf;

use imfast_log::{LogError, StdFs};
use imfast_partition::Command;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{DataDamagedError, DataFormatError, open_error};

/// What `verify_log` found.
#[pyclass(frozen, get_all)]
pub(crate) struct LogReport {
    segments: u64,
    batches: u64,
    commands: u64,
    first_position: u64,
    last_position: u64,
    /// (file, byte, what is wrong, what an operator can do)
    damage: Vec<(PathBuf, u64, String, &'static str)>,
    /// (file, byte, bytes): half a batch at the end.
    torn: Option<(PathBuf, u64, u64)>,
    ignored: Vec<PathBuf>,
    /// (partition, layout generation) of the headers.
    layouts: Vec<(u32, u64)>,
}

/// Reads a whole log and lists all damage.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned paths")]
pub(crate) fn verify_log(py: Python<'_>, directory: PathBuf) -> PyResult<LogReport> {
    let report = py
        .detach(|| imfast_log::verify(&StdFs, &directory))
        .map_err(|error| log_error(&error))?;
    Ok(LogReport {
        segments: report.segments,
        batches: report.batches,
        commands: report.commands,
        first_position: report.first_position,
        last_position: report.last_position,
        damage: report
            .damage
            .into_iter()
            .map(|found| {
                let cure = found.cure();
                (found.file, found.offset, found.what.to_string(), cure)
            })
            .collect(),
        torn: report.torn.map(|cut| (cut.file, cut.offset, cut.bytes)),
        ignored: report.ignored,
        layouts: report.layouts.into_iter().collect(),
    })
}

/// What `verify_archive` found.
#[pyclass(frozen, get_all)]
pub(crate) struct ArchiveReport {
    /// Up to where it has everything.
    position: u64,
    rows: u64,
    keys: u64,
    bytes: u64,
    /// (file or directory, what is wrong)
    damage: Vec<(PathBuf, String)>,
}

/// Reads a whole archive and lists all damage; None where there is no archive yet.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned paths")]
pub(crate) fn verify_archive(
    py: Python<'_>,
    directory: PathBuf,
) -> PyResult<Option<ArchiveReport>> {
    let report = py.detach(|| imfast_engine::verify_archive(&directory))?;
    Ok(report.map(|report| ArchiveReport {
        position: report.reached.position,
        rows: report.rows,
        keys: report.keys,
        bytes: report.bytes,
        damage: report.damage,
    }))
}

/// A command with where it stands.
#[pyclass(frozen, get_all)]
pub(crate) struct LoggedCommand {
    position: u64,
    epoch: u64,
    time_ms: u64,
    kind: &'static str,
    tenant: Py<PyBytes>,
    user: String,
    key: Py<PyBytes>,
    conversation: String,
    message_id: u64,
    /// The kind's own message, as in `spec/log.proto`.
    body: Py<PyBytes>,
}

/// Reads at most `commands_max` commands from a position on.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned paths")]
pub(crate) fn read_log(
    py: Python<'_>,
    directory: PathBuf,
    from_position: u64,
    commands_max: usize,
) -> PyResult<Vec<LoggedCommand>> {
    let mut found = Vec::new();
    let mut unreadable = None;
    imfast_log::walk(&StdFs, &directory, from_position, |batch| {
        for (position, bytes) in (batch.first_position..).zip(batch.commands()) {
            if position < from_position {
                continue;
            }
            if found.len() == commands_max {
                return ControlFlow::Break(());
            }
            let Ok(command) = Command::parse(bytes) else {
                unreadable = Some(position);
                return ControlFlow::Break(());
            };
            found.push(LoggedCommand {
                position,
                epoch: batch.epoch,
                time_ms: batch.time_ms,
                kind: command.kind_name(),
                tenant: PyBytes::new(py, command.tenant).unbind(),
                user: command.user.into(),
                key: PyBytes::new(py, command.key).unbind(),
                conversation: command.conversation.into(),
                message_id: command.message_id,
                body: PyBytes::new(py, command.body).unbind(),
            });
        }
        ControlFlow::Continue(())
    })
    .map_err(|error| log_error(&error))?;
    match unreadable {
        Some(position) => Err(DataDamagedError::new_err(format!(
            "{}: the command at position {position} cannot be read",
            directory.display()
        ))),
        None => Ok(found),
    }
}

/// Copies an archive that may be written meanwhile, durably; returns (position, bytes), or None
/// where there is no archive. `generation` replaces that of the layout.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned paths")]
#[pyo3(signature = (source, target, generation=None))]
pub(crate) fn copy_archive(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    generation: Option<u32>,
) -> PyResult<Option<(u64, u64)>> {
    let copied = py.detach(|| {
        let copied = imfast_engine::copy_archive(&source, &target)?;
        if let (Some(_), Some(generation)) = (copied, generation) {
            imfast_engine::set_generation(&target, generation)?;
        }
        Ok(copied)
    });
    let copied = copied.map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidData => DataDamagedError::new_err(error.to_string()),
        _ => PyOSError::new_err(error.to_string()),
    })?;
    Ok(copied.map(|copied| (copied.reached.position, copied.bytes)))
}

/// Copies a log that may be written meanwhile, durably; returns (segments, bytes, first position,
/// last position).
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned paths")]
#[pyo3(signature = (source, target, generation=None))]
pub(crate) fn copy_log(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    generation: Option<u64>,
) -> PyResult<(u64, u64, u64, u64)> {
    let copied = py
        .detach(|| imfast_log::copy(&StdFs, &source, &target, generation))
        .map_err(|error| log_error(&error))?;
    Ok((
        copied.segments,
        copied.bytes,
        copied.first_position,
        copied.last_position,
    ))
}

/// Makes the partitions of another layout; returns how many (conversations, messages and events,
/// members, keys) were brought over and found again.
#[pyfunction]
pub(crate) fn reshard(
    py: Python<'_>,
    sources: Vec<PathBuf>,
    generation: u32,
    targets: Vec<PathBuf>,
    new_generation: u32,
    hash_secret: [u8; 16],
) -> PyResult<(u64, u64, u64, u64)> {
    let layout = |directories, generation| imfast_engine::ReshardLayout {
        directories,
        generation,
        hash_secret,
    };
    let (from, to) = (layout(sources, generation), layout(targets, new_generation));
    let done = py
        .detach(|| imfast_engine::reshard(&from, &to))
        .map_err(|error| open_error(&error))?;
    let digest = done.digest;
    Ok((digest.conversations, digest.rows, digest.members, done.keys))
}

fn log_error(error: &LogError) -> PyErr {
    let text = error.to_string();
    match error {
        LogError::Damaged(_) => DataDamagedError::new_err(text),
        LogError::NewerFormat { .. } | LogError::Foreign { .. } => DataFormatError::new_err(text),
        _ => PyOSError::new_err(text),
    }
}
