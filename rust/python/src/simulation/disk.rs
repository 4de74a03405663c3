//! Faults of simulated disks by name and number.

use imfast_engine::World;
use imfast_engine::sim::{Fault, Operation, Tear};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Cuts the power of a disk: 0 loses all that was not synced, 1 keeps it, others choose by seed.
pub(super) fn crash(world: &World, partition: u16, tear: u64) {
    let tear = match tear {
        0 => Tear::Lost,
        1 => Tear::Kept,
        seed => Tear::Seeded(seed),
    };
    world.replace_disk(partition, world.disk(partition).crash(tear));
}

/// A positive `fault` is an error number. A negative one is the bytes of a short write, or the error
/// of a sync that did its work.
pub(super) fn fault(
    world: &World,
    partition: u16,
    operation: &str,
    skip: u32,
    fault: i32,
) -> PyResult<()> {
    let operation = match operation {
        "create" => Operation::Create,
        "write" => Operation::Write,
        "sync" => Operation::Sync,
        "sync_dir" => Operation::SyncDir,
        "truncate" => Operation::Truncate,
        "rename" => Operation::Rename,
        "remove" => Operation::Remove,
        _ => return Err(PyValueError::new_err("no such operation")),
    };
    let fault = match (operation, fault) {
        (_, 1..) => Fault::Error(fault),
        (Operation::Sync, _) => Fault::Late(-fault),
        _ => Fault::Short(fault.unsigned_abs() as usize),
    };
    world.disk(partition).inject(operation, skip, fault);
    Ok(())
}
