//! The engine as the worker's event loop drives it.

use crate::errors::{code_of, open_error, os_error};
#[cfg(not(feature = "simulation"))]
use crate::options::Options;
use crate::records::Records;
use crate::requests::Request;
#[cfg(not(feature = "simulation"))]
use crate::routes;
use crate::tls::TlsCredentials;
use imfast_engine::{Act, ArchivedKey, Handle, Identity};
#[cfg(not(feature = "simulation"))]
use imfast_engine::{Speaks, System};
use imfast_wire::http::Answer;
use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
#[cfg(not(feature = "simulation"))]
use std::sync::Arc;
use std::time::Instant;

/// `poll` found appends that ended.
const COMPLETIONS: u8 = 1;
/// `poll` found partitions with commands and no batch in flight.
const BATCHES: u8 = 2;
/// `poll` found control verbs.
const REQUESTS: u8 = 4;
/// `poll` found connections whose addresses are to be judged.
const ARRIVALS: u8 = 8;
/// Faults that were survived wait to be told.
const FAULTS: u8 = 16;
/// Lengths of ticks wait to be counted.
const LENGTHS: u8 = 32;
/// Acts have their answers.
const ACTED: u8 = 64;
/// So many of them are counted at a time, and none is kept beyond.
const LENGTHS_MAX: usize = 512;

/// How one append ended.
#[pyclass(frozen, get_all, module = "imfast._engine")]
pub(crate) struct Finished {
    partition: u16,
    /// None when it is durable, else why it is not.
    failure: Option<String>,
    /// Whether the partition takes no more until it is opened again.
    lost: bool,
    write_ns: u64,
    sync_ns: u64,
}

/// One worker's sockets, links and partitions. Used on one thread only.
#[pyclass(unsendable, module = "imfast._engine")]
pub(crate) struct Engine {
    inner: imfast_engine::Engine,
    failures: Vec<(u16, imfast_engine::AppendError)>,
    /// Ticks in which there was work for Python.
    pub(crate) python_ticks: u64,
    /// How long ticks took of late, in nanoseconds.
    tick_ns: Vec<u64>,
    /// Views of batch records that are held.
    pub(crate) views: usize,
}

impl Engine {
    pub(crate) fn records_mut(&mut self, partition: u16) -> Option<&mut [u8]> {
        self.inner.records_mut(partition)
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn around(inner: imfast_engine::Engine) -> Self {
        Self {
            inner,
            failures: Vec::new(),
            python_ticks: 0,
            tick_ns: Vec::new(),
            views: 0,
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn inner(&self) -> &imfast_engine::Engine {
        &self.inner
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn inner_mut(&mut self) -> &mut imfast_engine::Engine {
        &mut self.inner
    }

    /// A tick ends that began then.
    pub(crate) fn ticked(&mut self, began: Instant) {
        if self.tick_ns.len() < LENGTHS_MAX {
            self.tick_ns.push(began.elapsed().as_nanos() as u64);
        }
    }

    fn no_views(&self) -> PyResult<()> {
        if self.views > 0 {
            return Err(PyBufferError::new_err("the batch's records are still held"));
        }
        Ok(())
    }
}

/// Position, message id, heads, keys, and the last archived position.
type Restored<'py> = (u64, u64, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64);

/// An array of `count` u64, as Cython reads it.
fn u64_bytes(
    py: Python<'_>,
    values: impl Iterator<Item = u64>,
    count: usize,
) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, count * size_of::<u64>(), |out| {
        for (place, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
            *place = value.to_ne_bytes();
        }
        Ok(())
    })
}

#[pymethods]
impl Engine {
    #[cfg(not(feature = "simulation"))]
    #[new]
    fn new(options: Options, routes_fd: i32) -> PyResult<Self> {
        let table = Arc::new(routes::map(routes_fd)?);
        let inner =
            imfast_engine::Engine::new(options.into_config()?, table, System).map_err(os_error)?;
        Ok(Self {
            inner,
            failures: Vec::new(),
            python_ticks: 0,
            tick_ns: Vec::new(),
            views: 0,
        })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> i32 {
        self.inner.raw_fd()
    }

    #[cfg(not(feature = "simulation"))]
    /// Serves a listening socket for WebSocket and HTTP; the engine keeps its own descriptor.
    fn listen_http(&mut self, fd: i32) -> PyResult<u32> {
        self.inner
            .listen(routes::duplicate(fd)?, Speaks::Http)
            .map_err(os_error)
    }

    #[cfg(not(feature = "simulation"))]
    /// Serves a listening socket for framed TCP.
    fn listen_tcp(&mut self, fd: i32) -> PyResult<u32> {
        self.inner
            .listen(routes::duplicate(fd)?, Speaks::Tcp)
            .map_err(os_error)
    }

    #[cfg(not(feature = "simulation"))]
    /// Serves a listening socket for what `listen_http` does, over TLS only.
    fn listen_tls(&mut self, fd: i32) -> PyResult<u32> {
        self.inner
            .listen(routes::duplicate(fd)?, Speaks::Tls)
            .map_err(os_error)
    }

    /// Accepts TLS connections with these credentials from now on, on all listening sockets.
    fn set_tls(&mut self, credentials: TlsCredentials) -> PyResult<()> {
        self.inner
            .set_tls(&credentials.into_settings()?)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[cfg(not(feature = "simulation"))]
    /// Serves the Unix socket of this worker's links.
    fn listen_links(&mut self, fd: i32) -> PyResult<()> {
        self.inner
            .listen_links(routes::duplicate(fd)?)
            .map_err(os_error)
    }

    /// Stops accepting on what `listen_http` or `listen_tcp` returned.
    fn release(&mut self, listener: u32) {
        self.inner.release(listener);
    }

    /// Takes all that is ready, without waiting. Returns a mask of what there is to do: 1 appends
    /// ended, 2 batches can begin, 4 requests wait, 8 arrivals wait, 16 faults are to be told, 32 lengths of
    /// ticks are to be counted, 64 acts have answers.
    pub(crate) fn poll(&mut self) -> PyResult<u8> {
        let work = self.inner.poll().map_err(os_error)?;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        Ok(bit(work.completions, COMPLETIONS)
            | bit(work.batches, BATCHES)
            | bit(work.requests, REQUESTS)
            | bit(work.arrivals, ARRIVALS)
            | bit(work.faults, FAULTS)
            | bit(work.acted, ACTED)
            | bit(self.tick_ns.len() == LENGTHS_MAX, LENGTHS))
    }

    /// Ends a tick: fan-out, writes, closing.
    pub(crate) fn flush(&mut self) {
        self.inner.flush();
    }

    /// The addresses of new connections that wait for a verdict: a u64 each.
    fn arrivals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let arrivals = self.inner.arrivals();
        let count = arrivals.len();
        u64_bytes(py, arrivals, count)
    }

    /// Lets arrivals in where the verdict is 0, and sends the others away for so many
    /// milliseconds.
    #[expect(clippy::needless_pass_by_value, reason = "extracted from a sequence")]
    fn judge_arrivals(&mut self, waits: Vec<u32>) {
        self.inner.judge_arrivals(&waits);
    }

    /// The next control verb to decide about.
    fn take_request(&mut self) -> Option<Request> {
        self.inner.take_request().map(Request::from)
    }

    /// Lets a held verb through.
    fn proceed(&mut self, connection: u64) {
        self.inner.proceed(Handle::from_bits(connection));
    }

    /// Refuses a held verb with a code of the catalogue; an empty message is the code's own.
    #[pyo3(signature = (connection, code, message = "", retry_after_ms = 0))]
    fn refuse(
        &mut self,
        connection: u64,
        code: u16,
        message: &str,
        retry_after_ms: u64,
    ) -> PyResult<()> {
        let code = code_of(code)?;
        self.inner
            .refuse(Handle::from_bits(connection), code, message, retry_after_ms);
        Ok(())
    }

    /// Answers a `control` request. `known`: whoever asked may keep the connection.
    #[pyo3(signature = (connection, status, content_type, body, headers, known = false))]
    #[expect(clippy::needless_pass_by_value, reason = "extracted from a sequence")]
    fn respond(
        &mut self,
        connection: u64,
        status: u16,
        content_type: &str,
        body: &[u8],
        headers: Vec<(String, String)>,
        known: bool,
    ) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(a, b)| (&**a, &**b)).collect();
        let answer = Answer {
            status,
            content_type,
            headers: &headers,
            body,
        };
        self.inner
            .respond(Handle::from_bits(connection), &answer, known);
    }

    /// Carries out a verb for somebody who has no connection here; `take_acted` has the answer under
    /// the number returned.
    #[pyo3(signature = (tenant, user, verb, body, device = "", by_server = false))]
    fn act(
        &mut self,
        tenant: &str,
        user: &str,
        verb: &str,
        body: &[u8],
        device: &str,
        by_server: bool,
    ) -> u64 {
        self.inner.act(&Act {
            tenant,
            user,
            device,
            by_server,
            verb,
            body,
        })
    }

    /// Answers of acts: number, code (0: done), when to try again, and the answer as JSON or the
    /// error's message.
    fn take_acted<'py>(&mut self, py: Python<'py>) -> Vec<(u64, u16, u64, Bound<'py, PyBytes>)> {
        let acted = self.inner.take_acted().into_iter();
        acted
            .map(|acted| {
                let content = PyBytes::new(py, &acted.content);
                (acted.number, acted.code, acted.retry_after_ms, content)
            })
            .collect()
    }

    /// The sessions of a user here: name, device, transport, and what names the token.
    fn sessions(&mut self, tenant: &str, user: &str) -> Vec<(String, String, &'static str, u64)> {
        let sessions = self.inner.sessions(tenant, user).into_iter();
        sessions
            .map(|one| (one.session, one.device, one.transport, one.credential))
            .collect()
    }

    /// Ends a user's sessions with a code: all, or one, or those that stand on one token. Returns
    /// how many there were.
    #[pyo3(signature = (tenant, user, code, session = None, credential = 0))]
    fn disconnect(
        &mut self,
        tenant: &str,
        user: &str,
        code: u16,
        session: Option<&str>,
        credential: u64,
    ) -> PyResult<usize> {
        let code = code_of(code)?;
        Ok(self
            .inner
            .disconnect((tenant, user), session, credential, code))
    }

    /// Begins the session of a connection whose token was accepted.
    #[pyo3(signature = (connection, tenant, user, expires_at_ms, credential = 0))]
    fn connected(
        &mut self,
        connection: u64,
        tenant: String,
        user: String,
        expires_at_ms: u64,
        credential: u64,
    ) {
        let identity = Identity {
            tenant,
            user,
            expires_at_ms,
            credential,
        };
        self.inner
            .connected(Handle::from_bits(connection), &identity);
    }

    /// A new token of the running session was accepted.
    #[pyo3(signature = (connection, expires_at_ms, credential = 0))]
    fn refreshed(&mut self, connection: u64, expires_at_ms: u64, credential: u64) {
        self.inner
            .refreshed(Handle::from_bits(connection), expires_at_ms, credential);
    }

    /// Answers a connection that asked for a ticket.
    fn ticketed(&mut self, connection: u64, ticket: &str, expires_in_ms: u64) {
        self.inner
            .ticketed(Handle::from_bits(connection), ticket, expires_in_ms);
    }

    /// Opens an owned partition's log and archive; returns the log's epoch and last position, and
    /// why the archive was moved out of the way, if it was. `restored` and a replay follow.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted from a path-like object"
    )]
    fn open_partition(
        &mut self,
        partition: u16,
        directory: PathBuf,
        fsync: bool,
    ) -> PyResult<(u64, u64, Option<String>)> {
        self.no_views()?;
        let opened = self
            .inner
            .open_partition(partition, &directory, fsync)
            .map_err(|e| open_error(&e))?;
        Ok((opened.epoch, opened.last_position, opened.put_aside))
    }

    /// The next logged batch: its time and number of records; None at the end.
    fn replay_next(&mut self, partition: u16) -> PyResult<Option<(u64, usize)>> {
        self.no_views()?;
        self.inner
            .replay_next(partition)
            .map_err(|e| open_error(&e))
    }

    /// What the sequencer of a partition that was just opened goes on from: position, message id,
    /// heads as one u64 for each conversation, idempotency keys as 64 bytes each, and what
    /// the archive has.
    fn restored<'py>(&mut self, py: Python<'py>, partition: u16) -> PyResult<Restored<'py>> {
        let restored = self.inner.restored(partition);
        let restored =
            restored.ok_or_else(|| PyValueError::new_err("the partition is not open"))?;
        let heads = PyBytes::new_with(py, restored.heads.len() * 8, |out| {
            for (place, head) in out.as_chunks_mut().0.iter_mut().zip(&restored.heads) {
                *place = head.to_ne_bytes();
            }
            Ok(())
        })?;
        let keys = PyBytes::new_with(py, restored.keys.len() * ArchivedKey::BYTES, |out| {
            for (place, key) in out.as_chunks_mut().0.iter_mut().zip(&restored.keys) {
                *place = key.to_bytes();
            }
            Ok(())
        })?;
        Ok((
            restored.position,
            restored.message_id,
            heads,
            keys,
            restored.archived,
        ))
    }

    /// Takes the numbering of a replayed batch. `keys_from` is the position of the oldest key that
    /// the sequencer remembers now. Returns up to where it may forget keys.
    fn replay_commit(&mut self, partition: u16, keys_from: u64) -> PyResult<u64> {
        self.no_views()?;
        self.inner
            .replay_commit(partition, keys_from)
            .map_err(|e| open_error(&e))
    }

    /// Partitions that can begin a batch.
    fn wanting_batches(&self) -> Vec<u16> {
        self.inner.wanting_batches()
    }

    /// Begins a batch: its time and number of records; None when there is nothing to do.
    fn begin(&mut self, partition: u16) -> PyResult<Option<(u64, usize)>> {
        self.no_views()?;
        self.inner
            .begin(partition)
            .map_err(|e| PyRuntimeError::new_err(e.to_string()))
    }

    /// The records to number.
    fn records(slf: Bound<'_, Self>, partition: u16) -> Records {
        Records {
            engine: slf.unbind(),
            partition,
        }
    }

    /// Gives the numbered batch to the log. False: nothing to log, deliver at once.
    fn append(&mut self, partition: u16) -> PyResult<bool> {
        self.no_views()?;
        self.inner
            .append(partition)
            .map_err(|e| PyRuntimeError::new_err(e.to_string()))
    }

    /// Appends that ended since the last call.
    fn take_finished(&mut self) -> Vec<Finished> {
        let finished = self.inner.take_finished();
        let mut out = Vec::with_capacity(finished.len());
        for one in finished {
            let lost = one.failure.as_ref().is_some_and(imfast_engine::is_lost);
            out.push(Finished {
                partition: one.partition,
                failure: one.failure.as_ref().map(ToString::to_string),
                lost,
                write_ns: one.write_ns,
                sync_ns: one.sync_ns,
            });
            if let Some(error) = one.failure {
                self.failures.push((one.partition, error));
            }
        }
        out
    }

    /// Answers and delivers a batch that is durable, or had nothing to log; the others as for
    /// `replay_commit`.
    fn deliver(&mut self, partition: u16, keys_from: u64) -> PyResult<u64> {
        self.no_views()?;
        self.inner
            .deliver(partition, keys_from)
            .map_err(|e| PyRuntimeError::new_err(e.to_string()))
    }

    /// Closes a partition whose fold cannot go on, and answers all who wait for it.
    fn abandon(&mut self, partition: u16) -> PyResult<()> {
        self.no_views()?;
        self.inner.abandon(partition);
        Ok(())
    }

    /// Totals of the faults that were survived, by kind; kinds that never happened are left out.
    fn take_faults<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (name, count) in self.inner.take_faults() {
            out.set_item(name, count)?;
        }
        Ok(out)
    }

    /// How long the last ticks took, at most 512 of them since the last call: a u64 of nanoseconds each.
    fn take_tick_ns<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let lengths = u64_bytes(py, self.tick_ns.iter().copied(), self.tick_ns.len())?;
        self.tick_ns.clear();
        Ok(lengths)
    }

    /// Answers a batch that did not become durable, and undoes it.
    fn fail(&mut self, partition: u16) -> PyResult<()> {
        self.no_views()?;
        let at = self.failures.iter().position(|(of, _)| *of == partition);
        let at = at.ok_or_else(|| PyValueError::new_err("no append of this partition failed"))?;
        let (_, error) = self.failures.swap_remove(at);
        self.inner.fail(partition, &error);
        Ok(())
    }

    /// What was committed behind `after`, a JSON object a line, for at most about `bytes_max`; up to
    /// where that reaches, and the committed position. None while the partition does not serve.
    fn outbox_page<'py>(
        &self,
        py: Python<'py>,
        partition: u16,
        after: u64,
        bytes_max: usize,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, u64, u64)>> {
        let Some(page) = self.inner.outbox_page(partition, after, bytes_max)? else {
            return Ok(None);
        };
        let effects = PyBytes::new(py, &page.effects);
        Ok(Some((effects, page.through, page.committed)))
    }

    /// Shows the supervisor a sign of life while nothing is polled.
    fn beat(&mut self) {
        self.inner.beat();
    }

    /// Stops accepting.
    fn drain(&mut self) {
        self.inner.drain();
    }

    /// Sends up to `count` clients away; returns how many are left.
    fn send_away(&mut self, count: usize, reconnect_within_ms: u64) -> usize {
        self.inner.send_away(count, reconnect_within_ms)
    }

    /// Whether a drained engine has nothing left to do.
    fn drained(&self) -> bool {
        self.inner.drained()
    }

    /// Whether a drained engine has no client left.
    fn vacated(&self) -> bool {
        self.inner.vacated()
    }

    /// Counters and present numbers by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (name, value) in self.inner.stats() {
            out.set_item(name, value)?;
        }
        out.set_item("python_ticks", self.python_ticks)?;
        Ok(out)
    }
}
