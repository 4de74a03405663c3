"""Keeps one worker per slot alive, and stops them all in order.

Every slot has one task, `_keep`: start → watch → reap → clear its routes → back off → start. A
second task compares heartbeats. Both end when `_stopping` is set; `run` then drains. Whatever
changes between workers (who is ready, who accepts for whom) is decided in `_changed`, from the
slots' states alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from imfast.access.revocations import Revocations
from imfast.config.crash_files import keep_traces
from imfast.errors import ConfigError, WorkerFailedError
from imfast.observe.metrics import Shown
from imfast.supervisor.control import Asked, ControlError, Fatal, Faults, Ready, Report, Told
from imfast.supervisor.opened import Opened
from imfast.supervisor.relay import Relay
from imfast.supervisor.slot import Slot, Turn
from imfast.supervisor.spare import Spares
from imfast.supervisor.worker_process import WorkerProcess
from imfast.supervisor.zygote import Child, ZygoteError

__all__ = ["Supervisor", "Timing"]

log = structlog.get_logger(__name__)

FIRST_STARTS_MAX = 3
"""A worker that ends by itself this often before the server was ready once will never start."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines, in seconds. Architecture fixes them; tests shorten them."""

    poll_s: float = 0.25
    """Between two looks at the heartbeats."""
    still_s: float = 3.0
    """A ready worker whose heartbeat stands still for this long is replaced."""
    still_starting_s: float = 30.0
    """The same before its first `ready`: imports and mapping a large log do not beat."""
    tls_poll_s: float = 5.0
    """Between two looks at the files of TLS."""
    terminate_s: float = 2.0
    """From SIGTERM to SIGKILL, for a worker that has not finished within the drain time."""


class Supervisor:
    """The workers of one server."""

    def __init__(
        self,
        *,
        opened: Opened,
        first: Sequence[Child],
        on_change: Callable[[], None],
        timing: Timing | None = None,
    ) -> None:
        """Prepares; nothing starts before `run`.

        Args:
            first: workers that were started already, and told to be the first of slots 0, 1, ….
            on_change: called when all workers are ready: the first time and after each restart.
        """
        self._settings = opened.settings
        self.slots = [
            Slot(
                index=index,
                server=opened.server_name(index),
                partitions=opened.partitions(index),
            )
            for index in range(opened.settings.worker_count)
        ]
        self._relay = Relay(self.slots, Revocations(opened.settings.data_dir))
        self._opened = opened
        self._first = dict(enumerate(first))
        self._listeners = opened.listeners
        self._routes = opened.routes
        self._on_change = on_change
        self._spares = Spares(self._start, opened.settings.spare_workers)
        self._refilling: asyncio.Task[None] | None = None
        self._timing = timing or Timing()
        self._generation = 0
        """Of `_opened`: how often it was changed."""
        self._was_ready = False
        """Whether all workers have been ready at once."""
        self._failure: WorkerFailedError | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether every worker serves."""
        return not self._stopping.is_set() and all(slot.is_served for slot in self.slots)

    def shown(self, slot: Slot) -> Shown:
        """What the workers of a slot have counted, by shared memory: also of one that hangs."""
        shown = self._routes.shown(slot.index)
        # A worker that is gone has nothing present.
        return shown if slot.process is not None else dataclasses.replace(shown, gauges={})

    @property
    def is_stopping(self) -> bool:
        """Whether the server is on its way out."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begins to drain; called again, ends everything at once."""
        (self._hurry if self._stopping.is_set() else self._stopping).set()

    def reload_certificates(self) -> None:
        """Reads the files of TLS again; connections that are open stay open.

        Raises:
            ConfigError: they cannot be used, and nothing is changed; or TLS is not configured.
        """
        tls = self._opened.tls
        if tls is None:
            raise ConfigError("option tls_cert: TLS is not configured")
        tls.reload()
        log.info("tls_reloaded")
        self._tell_tls()

    async def run(self) -> None:
        """Runs until `stop` and the end of the drain.

        Raises:
            WorkerFailedError: a worker met what a restart does not cure. The others were drained.
        """
        keepers = [asyncio.create_task(self._keep(slot)) for slot in self.slots]
        watch = asyncio.create_task(self._watch_heartbeats())
        tls = asyncio.create_task(self._watch_tls())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            # A defect in one of the tasks ends the server: it must not run on half watched.
            await asyncio.wait([*keepers, watch, stopping], return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await self._drain(keepers)
        finally:
            self._signal_all(signal.SIGKILL)
            await self._close_spares()
            for task in (*keepers, watch, tls, stopping):
                task.cancel()
            results = await asyncio.gather(watch, tls, *keepers, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    log.error("supervisor_task_failed", exc_info=result)
        if self._failure is not None:
            raise self._failure

    # One worker's life

    async def _keep(self, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            status = await self._live(slot)
            lived_s = loop.time() - began
            was_ready, retired = slot.state == "ready", slot.state == "retiring"
            pid = slot.process.pid if slot.process else 0
            slot.process = None
            slot.state = "stopped" if self._stopping.is_set() else "waiting"
            self._changed()
            if self._stopping.is_set():
                return
            # Only now: a worker that is not reaped could still set its bits.
            self._routes.clear(slot.index)
            if retired and status == 0:
                log.info("worker_retired", server=slot.server, lived_s=round(lived_s, 3))
                continue
            self._died(slot, pid, status, lived_s)
            if retired:
                continue
            slot.turned(succeeded=False)
            if self._never_starts(slot, status, was_ready):
                return
            delay_s = slot.backoff.delay_s(lived_s)
            if delay_s:
                log.info("worker_restart_delayed", server=slot.server, delay_s=round(delay_s, 3))
                await self._sleep(delay_s)

    async def _live(self, slot: Slot) -> int | None:
        """Starts a worker and stays with it until it is reaped; returns its exit status."""
        slot.incarnation += 1
        slot.generation = self._generation
        slot.state = "starting"
        slot.still_s = 0.0
        slot.beats = self._routes.beats(slot.index)
        slot.faults_told = {}
        slot.report = {}
        try:
            process = await self._started(slot)
        except ZygoteError as error:
            log.error("worker_not_started", server=slot.server, error=str(error))
            return error.status
        except OSError as error:
            log.error("worker_not_started", server=slot.server, error=str(error))
            return None
        slot.process = process
        log.info("worker_started", server=slot.server, pid=process.pid)
        if self._stopping.is_set():  # told to stop while it was being started
            process.control.drain(self._settings.drain_s)
        listening = asyncio.create_task(self._listen(slot, process))
        try:
            status = await process.wait()
            # What it said last (a fatal reason) is still in the socket; its end follows.
            await asyncio.wait([listening], timeout=1.0)
        finally:
            listening.cancel()
            process.control.close()
        return status

    async def _started(self, slot: Slot) -> WorkerProcess:
        """A process that knows what it is: the first, one that was waiting, or a new one.

        Raises:
            OSError: there is none; ZygoteError where that may be the program's own fault.
        """
        if (first := self._first.pop(slot.index, None)) is not None:
            return await WorkerProcess.of(first)
        process = await self._spares.take() or await self._start()
        with suppress(OSError):  # it has ended already, which is seen by whoever waits for it
            self._opened.give(process.child, slot.index, slot.incarnation)
        return process

    async def _start(self) -> WorkerProcess:
        """Starts a worker that may become any slot's."""
        return await WorkerProcess.of(self._opened.fork())

    async def _close_spares(self) -> None:
        if self._refilling is not None:
            await self._refilling
        await self._spares.close()

    def _died(self, slot: Slot, pid: int, status: int | None, lived_s: float) -> None:
        """A worker ended without being told to: counts it, and keeps what it left."""
        signalled = -status if status is not None and status < 0 else None
        if signalled is not None:
            slot.faults["signals"] += 1
        report = None
        try:
            report = keep_traces(self._settings.data_dir, slot.server, pid, signalled)
        except OSError as error:
            log.error("crash_report_not_kept", server=slot.server, error=str(error))
        log.warning(
            "worker_died",
            server=slot.server,
            status=status,
            lived_s=round(lived_s, 3),
            report=str(report) if report else None,
        )

    async def _listen(self, slot: Slot, process: WorkerProcess) -> None:
        try:
            async for message in process.control.messages():
                if isinstance(message, Fatal) and slot.turn is not None:
                    log.error("successor_refused", server=slot.server, reason=message.text)
                elif isinstance(message, Fatal):
                    self._fail(f"worker {slot.server}: {message.text}", message)
                elif isinstance(message, Faults):
                    slot.told_faults(message.counts)
                elif isinstance(message, Report):
                    slot.reported(message.content)
                elif isinstance(message, Asked):
                    self._relay.asked(process, message.number, message.question)
                elif isinstance(message, Told):
                    self._relay.told(message.number, message.answer)
                else:
                    self._became_ready(slot, message)
        except ControlError as error:
            log.error("worker_control_broken", server=slot.server, error=str(error))
            process.send_signal(signal.SIGKILL)

    def _became_ready(self, slot: Slot, ready: Ready) -> None:
        slot.state = "ready"
        slot.still_s = 0.0  # a slow start is no silence of what runs now
        slot.epochs = ready.epochs
        if slot.process is not None and self._opened.tls is not None:
            # They may have changed since it was told what to be.
            slot.process.control.tls(self._opened.tls.document())
        log.info(
            "worker_ready", server=slot.server, partitions=ready.partitions, epochs=ready.epochs
        )
        slot.turned(succeeded=True)
        self._changed()

    def _never_starts(self, slot: Slot, status: int | None, was_ready: bool) -> bool:
        """Whether to give up: it exits by itself, again and again, before the first ready."""
        exits_by_itself = status is not None and status >= 0
        if was_ready or self._was_ready or not exits_by_itself:
            return False
        if slot.incarnation < FIRST_STARTS_MAX:
            return False
        self._fail(
            f"worker {slot.server} ended {slot.incarnation} times before it was ready, last with"
            f" exit code {status}; its reason is above",
            None,
        )
        return True

    def _fail(self, text: str, fatal: Fatal | None) -> None:
        if self._failure is None:
            self._failure = (
                WorkerFailedError(text, fatal.exit_code) if fatal else WorkerFailedError(text)
            )
        self._stopping.set()

    # Replacing workers on purpose

    async def renew(self, opened: Opened, first: Child) -> None:
        """Makes workers from something else from now on; `first` is one that was made already."""
        self._make_from(opened)
        await self._close_spares()
        await self._spares.add(first)

    def _make_from(self, opened: Opened) -> None:
        self._opened, self._settings = opened, opened.settings
        self._generation += 1

    async def replace(self, slot: Slot, otherwise: Opened | None) -> bool:
        """Replaces a worker by one made from what `renew` gave; returns whether that serves.

        Args:
            otherwise: what workers are made from again where it does not; None: there is nothing
                to go back to.
        """
        while slot.generation != self._generation and not self._stopping.is_set():
            undo = partial(self._make_from, otherwise) if otherwise else None
            if not await self._turn(slot, undo):
                return False
        return not self._stopping.is_set()

    async def _turn(self, slot: Slot, undo: Callable[[], None] | None) -> bool:
        """Has a worker that serves retire; returns whether the next one serves."""
        loop = asyncio.get_running_loop()
        succeeded: asyncio.Future[bool] = loop.create_future()
        slot.turn = Turn(succeeded, undo)
        process = slot.process
        if slot.state == "ready" and process is not None:
            # Where nobody else accepts, its clients come back to its successor, all at once.
            alone = all(other is slot or other.state != "ready" for other in self.slots)
            drain_s = 0.0 if alone else self._settings.drain_s
            slot.state = "retiring"
            self._changed()
            process.control.retire(drain_s)
            loop.call_later(drain_s + self._timing.terminate_s, self._end, slot, process)
        stopping: asyncio.Future[bool] = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([succeeded, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return succeeded.done() and succeeded.result()

    def _end(self, slot: Slot, process: WorkerProcess) -> None:
        if slot.process is process and slot.state == "retiring":
            log.warning("worker_does_not_retire", server=slot.server, pid=process.pid)
            process.send_signal(signal.SIGKILL)

    # Between workers

    def _changed(self) -> None:
        """Brings everything that depends on who is ready up to date."""
        if self._stopping.is_set():
            return
        all_ready = all(slot.state == "ready" for slot in self.slots)
        self._was_ready = self._was_ready or all_ready
        self._share_listeners()
        if all_ready:
            self._on_change()
            # Only now: a spare must not take the processor from a worker that is started.
            if self._refilling is None or self._refilling.done():
                self._refilling = asyncio.create_task(self._spares.refill())

    def _share_listeners(self) -> None:
        """Lets a sibling accept for every worker that is away, so that nobody waits for it."""
        if not self._was_ready:
            return  # at first nobody is served before all are: the ready file says when
        count = len(self.slots)
        for slot in self.slots:
            around = (self.slots[(slot.index + step) % count] for step in range(1, count))
            adopter = next((other for other in around if other.state == "ready"), None)
            wanted = None if slot.state == "ready" or adopter is None else adopter.index
            present = slot.adopter
            if present is not None and self.slots[present].state != "ready":
                present = None  # it died, and its adoptions with it
            if present is not None and slot.state != "ready":
                wanted = present  # stays where it is: a second adopter helps nobody
            if wanted != present:
                self._hand_over(slot.index, present, wanted)
            slot.adopter = wanted

    def _hand_over(self, index: int, present: int | None, wanted: int | None) -> None:
        if present is not None and (process := self.slots[present].process):
            process.control.release(index)
        if wanted is not None and (process := self.slots[wanted].process):
            process.control.adopt(index)

    async def _watch_heartbeats(self) -> None:
        timing = self._timing
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(timing.poll_s)
            now = loop.time()
            # A long gap was ours (the whole machine stood still): it proves nothing about them.
            elapsed_s = min(now - last, 2 * timing.poll_s)
            last = now
            for slot in self.slots:
                if slot.process is not None:
                    self._look_at(slot, slot.process, elapsed_s)
            self._look_at_zygote()

    def _look_at(self, slot: Slot, process: WorkerProcess, elapsed_s: float) -> None:
        beats = self._routes.beats(slot.index)
        if beats != slot.beats:
            slot.beats = beats
            slot.still_s = 0.0
            return
        slot.still_s += elapsed_s
        starting = slot.state == "starting"
        limit_s = self._timing.still_starting_s if starting else self._timing.still_s
        if slot.still_s >= limit_s:
            log.error("worker_hangs", server=slot.server, pid=process.pid, still_s=slot.still_s)
            slot.still_s = 0.0
            process.send_signal(signal.SIGKILL)

    def _look_at_zygote(self) -> None:
        try:
            status = self._opened.zygote.revive()
        except OSError as error:
            log.error("zygote_not_started", error=str(error))
            return
        if status is not None:
            log.warning("zygote_died", status=status)

    async def _watch_tls(self) -> None:
        """Takes changed files, and makes new keys for tickets when it is time."""
        loop = asyncio.get_running_loop()
        rotated = loop.time()
        while self._opened.tls is not None:
            await asyncio.sleep(self._timing.tls_poll_s)
            tls = self._opened.tls
            if tls.is_changed():
                try:
                    self.reload_certificates()
                except ConfigError as error:
                    log.error("tls_not_reloaded", error=str(error))
            if loop.time() - rotated >= self._settings.tls_ticket_s:
                rotated = loop.time()
                tls.rotate()
                self._tell_tls()

    def _tell_tls(self) -> None:
        tls = self._opened.tls
        for slot in self.slots:
            if tls is not None and slot.process is not None:
                slot.process.control.tls(tls.document())

    # The end

    async def _drain(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        drain_s = self._settings.drain_s
        log.info("draining", drain_s=drain_s)
        await self._close_spares()  # they have the listeners too
        # Whoever connects from now on is refused, not left in a queue that nobody empties.
        self._listeners.close()
        for slot in self.slots:
            if slot.process is not None:
                slot.process.control.drain(drain_s)
        if await self._finished(keepers, drain_s):
            return
        log.warning("drain_time_over")
        self._signal_all(signal.SIGTERM)
        if await self._finished(keepers, self._timing.terminate_s):
            return
        while True:  # again and again: one may be just about to be started
            self._signal_all(signal.SIGKILL)
            if not (await asyncio.wait(keepers, timeout=0.1))[1]:
                return

    async def _finished(self, keepers: Sequence[asyncio.Task[None]], timeout_s: float) -> bool:
        """Waits until all workers are gone, the time is over, or the second signal comes."""
        if self._hurry.is_set():
            return False
        finished = asyncio.create_task(asyncio.wait(keepers))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait(
            [finished, hurry], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        hurry.cancel()
        finished.cancel()
        return all(keeper.done() for keeper in keepers)

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self.slots:
            if slot.process is not None:
                slot.process.send_signal(number)

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but not into the drain."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
