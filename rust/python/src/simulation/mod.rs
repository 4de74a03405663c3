//! The simulated world as tests drive it. Not in any product build.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the interpreter hands arguments over by value"
)]

mod disk;
mod peer;

use crate::engine::Engine;
use crate::options::Options;
use imfast_engine::{Port, RouteTable, World, deliberate_faults as faults};
use peer::{Peer, Transport};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::sync::Arc;

/// One node: its clocks, network, disks and route table.
#[pyclass(unsendable, module = "imfast._engine")]
pub(crate) struct SimulatedWorld {
    world: World,
    routes: Arc<RouteTable>,
    route_buckets: u64,
    seed: u64,
    peers: HashMap<u32, Peer>,
    buffer: Vec<u8>,
}

fn route_table(buckets: u64, seed: u64) -> PyResult<Arc<RouteTable>> {
    let table = RouteTable::heap_with_seed(buckets, seed);
    table
        .map(Arc::new)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// What an engine left to do after a tick: directions with bytes under way, partitions whose log
/// has a batch, whether another tick is due at once, and when its timer fires, in ns.
type Left = (Vec<(u32, u8)>, Vec<u16>, bool, u64);

#[pymethods]
impl SimulatedWorld {
    #[new]
    fn new(seed: u64, partitions: u16, route_buckets: u64) -> PyResult<Self> {
        // A worker that panics is the driver's to judge, not to be printed about.
        std::panic::set_hook(Box::new(|_| {}));
        Ok(Self {
            world: World::new(seed, partitions),
            routes: route_table(route_buckets, seed)?,
            route_buckets,
            seed,
            peers: HashMap::new(),
            buffer: Vec::new(),
        })
    }

    /// Starts a worker's engine; it accepts nobody yet.
    fn engine(&self, options: Options) -> PyResult<Engine> {
        let config = options.into_config()?;
        let system = self.world.system(config.worker);
        let inner = imfast_engine::Engine::new(config, Arc::clone(&self.routes), system)
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(Engine::around(inner))
    }

    /// Lets a worker accept clients and links.
    #[staticmethod]
    fn listen(mut engine: PyRefMut<'_, Engine>) -> PyResult<()> {
        let listening = engine.inner_mut().listen_simulated();
        listening.map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The node starts anew, with an empty route table.
    fn fresh_routes(&mut self) -> PyResult<()> {
        self.routes = route_table(self.route_buckets, self.seed)?;
        Ok(())
    }

    /// A worker is overtaken: the routes that it sets and clears from now on are its own affair.
    fn lose_number(&self, mut engine: PyRefMut<'_, Engine>) -> PyResult<()> {
        let elsewhere = route_table(self.route_buckets, self.seed)?;
        engine.inner_mut().lose_number(elsewhere);
        Ok(())
    }

    /// Takes a dead worker out of every route.
    fn clear_worker(&self, worker: usize) {
        self.routes.clear_worker(worker);
    }

    /// What the last ticks and writes left to do.
    fn left(&self, engine: PyRef<'_, Engine>) -> Left {
        let inner = engine.inner();
        (
            self.world.take_touched(),
            inner.logs_waiting(),
            inner.is_ready(),
            inner.timer_due_ns(),
        )
    }

    /// Directions that got bytes or an end since the last look.
    fn touched(&self) -> Vec<(u32, u8)> {
        self.world.take_touched()
    }

    #[staticmethod]
    fn is_ready(engine: PyRef<'_, Engine>) -> bool {
        engine.inner().is_ready()
    }

    /// Lets a partition's log write its next batch.
    #[staticmethod]
    fn step_log(mut engine: PyRefMut<'_, Engine>, partition: u16) -> bool {
        engine.inner_mut().step_log(partition)
    }

    // Time

    #[getter]
    fn now_ns(&self) -> u64 {
        self.world.now_ns()
    }

    fn advance_to(&self, now_ns: u64) {
        self.world.advance_to(now_ns);
    }

    fn jump_wall(&self, ms: i64) {
        self.world.jump_wall(ms);
    }

    // Network

    /// Dials a worker as a client over "json", "proto" or "tcp"; returns the stream's number.
    fn dial(&mut self, worker: u8, transport: &str) -> PyResult<u32> {
        let (transport, port) = match transport {
            "json" => (Transport::WebSocketJson, Port::Http),
            "proto" => (Transport::WebSocketProto, Port::Http),
            "tcp" => (Transport::Tcp, Port::Tcp),
            _ => return Err(PyValueError::new_err("no such transport")),
        };
        let stream = self.world.dial(worker, port);
        let (peer, first) = Peer::new(transport);
        self.world.client_write(stream, &first);
        self.peers.insert(stream, peer);
        Ok(stream)
    }

    /// Sends a client frame, given as JSON.
    fn send(&mut self, stream: u32, frame: &[u8]) -> PyResult<()> {
        if let Some(peer) = self.peers.get(&stream) {
            let bytes = peer.encode(frame).map_err(PyRuntimeError::new_err)?;
            self.world.client_write(stream, &bytes);
        }
        Ok(())
    }

    /// The server frames that arrived, as a JSON array; and whether more may come.
    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        stream: u32,
    ) -> PyResult<(Bound<'py, PyBytes>, bool)> {
        let Some(peer) = self.peers.get_mut(&stream) else {
            return Ok((PyBytes::new(py, b"[]"), false));
        };
        let more = self.world.client_read(stream, &mut peer.buffer);
        self.buffer.clear();
        let open = peer
            .decode(&mut self.buffer)
            .map_err(PyRuntimeError::new_err)?;
        if self.buffer.is_empty() {
            self.buffer.push(b'[');
        } else {
            self.buffer[0] = b'[';
        }
        self.buffer.push(b']');
        Ok((PyBytes::new(py, &self.buffer), more && open))
    }

    /// A client goes.
    fn close(&mut self, stream: u32) {
        self.peers.remove(&stream);
        self.world.client_close(stream);
    }

    /// Bytes under way in a direction; an end counts as one.
    fn in_transit(&self, stream: u32, side: u8) -> usize {
        self.world.in_transit(stream, side)
    }

    /// Lets bytes arrive; returns the worker that may read them, None where it is a client.
    fn deliver(&self, stream: u32, side: u8, count: usize) -> Option<u8> {
        self.world.deliver(stream, side, count)
    }

    /// Breaks a stream; returns the workers at its ends.
    fn cut(&self, stream: u32) -> Vec<u8> {
        self.world.cut(stream)
    }

    /// Takes the next whole frame out of a direction of a link.
    fn lose_frame(&self, stream: u32, side: u8) -> bool {
        self.world.lose_frame(stream, side)
    }

    /// Bounds what fits between the ends of a direction.
    fn set_capacity(&self, stream: u32, side: u8, bytes: usize) {
        self.world.set_capacity(stream, side, bytes);
    }

    /// Links: number, gateway, owner.
    fn links(&self) -> Vec<(u32, u8, u8)> {
        let links = self.world.links().into_iter();
        links
            .map(|(stream, ends)| (stream, ends.gateway, ends.owner))
            .collect()
    }

    /// Reads that found bytes, on all workers.
    #[getter]
    fn reads(&self) -> u64 {
        self.world.reads()
    }

    // Disks: see disk.rs

    /// Lets a partition's disk do so many more changes; everything fails from then on.
    fn disk_stop_after(&self, partition: u16, operations: u64) {
        self.world.disk(partition).stop_after(operations);
    }

    /// The processes died: what they wrote stays.
    fn disk_kill(&self, partition: u16) {
        self.world
            .replace_disk(partition, self.world.disk(partition).kill());
    }

    /// The power went: of what was not synced, `tear` says what is left.
    fn disk_crash(&self, partition: u16, tear: u64) {
        disk::crash(&self.world, partition, tear);
    }

    /// Puts an error or a short write in place of the next operation of a kind.
    fn disk_fault(&self, partition: u16, operation: &str, skip: u32, fault: i32) -> PyResult<()> {
        disk::fault(&self.world, partition, operation, skip, fault)
    }

    /// Bounds what fits on a partition's disk, beyond what is there; None: no bound.
    fn disk_room(&self, partition: u16, bytes: Option<u64>) {
        let disk = self.world.disk(partition);
        disk.set_capacity(bytes.map(|bytes| disk.used() + bytes));
    }

    /// Whether a partition's archive cannot be written or read from now on.
    fn archive_trouble(&self, partition: u16, writes: bool, reads: bool) {
        self.world.set_archive_trouble(partition, writes, reads);
    }

    /// Forgets the faults that were not met.
    fn disk_mend(&self, partition: u16) {
        self.world.disk(partition).mend();
    }

    /// Frees a partition's lock while its holder lives, as a network file system may.
    fn disk_break_lock(&self, partition: u16, directory: std::path::PathBuf) {
        self.world
            .disk(partition)
            .break_lock(&directory.join("lock"));
    }
}

/// Injects a deliberate fault; an empty name injects none.
#[pyfunction]
pub(crate) fn inject_fault(name: &str) -> PyResult<()> {
    if faults::inject(name) {
        Ok(())
    } else {
        Err(PyValueError::new_err(format!("no such fault: {name}")))
    }
}

/// Names of the deliberate faults.
#[pyfunction]
pub(crate) fn fault_names() -> Vec<&'static str> {
    faults::NAMES.iter().map(|(name, _)| *name).collect()
}
