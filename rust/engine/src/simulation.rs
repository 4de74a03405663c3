//! What drives an engine in a simulated world: readiness without a descriptor, and logs that write
//! when told to. Only with the feature `simulation`, which no product build has.

use crate::accept::Speaks;
use crate::engine::Engine;
use crate::owner::Storage;
use crate::system::Port;
use imfast_routes::RouteTable;
use std::sync::Arc;

impl Engine {
    /// Serves the simulated listeners of this worker.
    ///
    /// # Errors
    /// None; the signature is the kernel's.
    pub fn listen_simulated(&mut self) -> Result<(), rustix::io::Errno> {
        let system = self.system.clone();
        self.listen(system.listener(Port::Http), Speaks::Http)?;
        self.listen(system.listener(Port::Tcp), Speaks::Tcp)?;
        self.listen_links(system.listener(Port::Links))
    }

    /// Sets its own routes in `elsewhere` from now on: a successor has this worker's number, and a
    /// node has room for one of that number.
    pub fn lose_number(&mut self, elsewhere: Arc<RouteTable>) {
        let worker = self.config.worker.into();
        self.route_writer = imfast_routes::RouteWriter::new(elsewhere, worker);
    }

    /// Whether a poll would find anything.
    pub fn is_ready(&self) -> bool {
        self.io.poller.is_ready()
    }

    /// When the engine's timer fires next, in the world's nanoseconds.
    pub fn timer_due_ns(&self) -> u64 {
        self.io.poller.timer_due_ns()
    }

    /// Partitions whose log has a batch to write.
    pub fn logs_waiting(&self) -> Vec<u16> {
        let mut waiting = Vec::new();
        for (partition, owned) in self.owned.iter().enumerate() {
            if let Some(owned) = owned
                && let Storage::Serving(writer) = &owned.storage
                && writer.is_waiting()
            {
                waiting.push(partition as u16);
            }
        }
        waiting
    }

    /// Lets a partition's log write its next batch; false without one.
    pub fn step_log(&mut self, partition: u16) -> bool {
        match self.owned.get(partition as usize) {
            Some(Some(owned)) => match &owned.storage {
                Storage::Serving(writer) => writer.step(partition),
                _ => false,
            },
            _ => false,
        }
    }
}
