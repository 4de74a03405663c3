"""Keeps a process alive for every consumer of what was committed (option `after_commit`).

They are no part of serving clients: none of them is waited for at a start, and one that ends again
and again is started again and again, with back-off, while the server runs on.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import structlog

from imfast.config.consumers import split_consumer
from imfast.config.worker_document import STOP_SIGNALS, feed_path
from imfast.errors import DataDirectoryError
from imfast.outbox.document import ConsumerDocument
from imfast.supervisor.backoff import Backoff
from imfast.supervisor.opened import Opened

__all__ = ["Consumers"]

log = structlog.get_logger(__name__)

DOCUMENT_BYTES_MAX = 256 * 1024
"""Far above the longest, with the paths of 256 partitions."""


@dataclass(slots=True)
class _Consumer:
    document: ConsumerDocument
    backoff: Backoff = field(default_factory=Backoff)
    pid: int | None = None
    started: int = 0
    """Processes so far, the present one included."""


class Consumers:
    """The processes of all consumers."""

    def __init__(self, opened: Opened) -> None:
        self._prepare(opened)
        self._keepers: list[asyncio.Task[None]] = []

    def _prepare(self, opened: Opened) -> None:
        self._patience_s = opened.settings.drain_s
        self._consumers = [
            _Consumer(_document(opened, text)) for text in opened.settings.after_commit
        ]

    async def __aenter__(self) -> Self:
        """Starts them, and from now on whichever ends."""
        self._start()
        return self

    def _start(self) -> None:
        self._keepers = [asyncio.create_task(self._keep(one)) for one in self._consumers]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Lets each finish its call within the drain time, then ends it."""
        await self._stop()

    async def renew(self, opened: Opened) -> None:
        """Replaces all of them: what is configured or installed is something else."""
        await self._stop()
        self._prepare(opened)
        self._start()

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def status(self) -> list[dict[str, Any]]:
        """Each as `/v1/status` shows it."""
        return [_status(one) for one in self._consumers]

    async def _keep(self, consumer: _Consumer) -> None:
        loop = asyncio.get_running_loop()
        name = consumer.document.name
        while True:
            began = loop.time()
            try:
                status: int | None = await self._live(consumer)
            except OSError as error:
                log.error("consumer_not_spawned", consumer=name, error=str(error))
                status = None
            lived_s = loop.time() - began
            log.warning("consumer_died", consumer=name, status=status, lived_s=round(lived_s, 3))
            await asyncio.sleep(consumer.backoff.delay_s(lived_s))

    async def _live(self, consumer: _Consumer) -> int:
        """Starts a process and stays with it until it is reaped; returns its exit status."""
        process = _Process.start(consumer.document)
        consumer.pid = process.pid
        consumer.started += 1
        log.info("consumer_started", consumer=consumer.document.name, pid=process.pid)
        try:
            await process.ended()
        except asyncio.CancelledError:
            process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await process.ended()
            raise
        finally:
            consumer.pid = None
            status = process.reap()
        return status


class _Process:
    """A running process of a consumer. Not by the event loop's own means: uvloop's know of no
    process groups, and the supervisor has a process descriptor of every other child too."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._watch = os.pidfd_open(pid)

    @classmethod
    def start(cls, document: ConsumerDocument) -> _Process:
        """Starts it with its document.

        Raises:
            OSError: the machine has no process, memory or descriptor left.
        """
        reading, writing = os.pipe()
        try:
            # The document fits: writing it never waits for the process.
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, DOCUMENT_BYTES_MAX)
            os.write(writing, document.encode() + b"\n")
            return cls(
                os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-P", "-m", "imfast.outbox"],
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
                    setpgroup=0,  # a terminal's interrupt is for the supervisor
                    setsigmask=STOP_SIGNALS,
                )
            )
        finally:
            os.close(reading)
            os.close(writing)

    async def ended(self) -> None:
        """Waits for the end."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self._watch, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._watch)

    def send_signal(self, number: signal.Signals) -> None:
        """Signals it; to one that has ended that does nothing."""
        signal.pidfd_send_signal(self._watch, number)

    def reap(self) -> int:
        """Kills it if it lives; returns its exit status, negative for a signal."""
        self.send_signal(signal.SIGKILL)
        os.close(self._watch)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def _status(consumer: _Consumer) -> dict[str, Any]:
    # Only where somebody asks.
    from imfast.outbox.store import Store, store_path

    document = consumer.document
    found: dict[str, Any] = {
        "consumer": document.name,
        "pid": consumer.pid,
        "restarts": max(0, consumer.started - 1),
    }
    try:
        with Store(store_path(document.data_dir, document.name), create=False) as store:
            found["waiting"], found["dead"] = store.count()
            found["positions"] = {str(at): to for at, to in sorted(store.positions().items())}
    except DataDirectoryError as error:
        # It has not run yet, or its file is damaged, which it says itself.
        found["reason"] = str(error)
    return found


def _document(opened: Opened, text: str) -> ConsumerDocument:
    settings, layout = opened.settings, opened.layout
    name, module, function = split_consumer(text)
    paths = [feed_path(str(path)) for path in opened.links.paths]
    return ConsumerDocument(
        name=name,
        module=module,
        function=function,
        server=f"{settings.node}.{name}",
        data_dir=settings.data_dir,
        supervisor_pid=os.getpid(),
        generation=layout.generation,
        feeds=tuple(paths[partition % len(paths)] for partition in range(layout.partitions)),
        log_level=settings.log_level,
        log_format=settings.log_format,
        batch_effects=settings.outbox_batch_effects,
        call_timeout_s=settings.outbox_call_timeout_s,
        backoff_s=settings.outbox_backoff_s,
        backoff_max_s=settings.outbox_backoff_max_s,
        attempts_max=settings.outbox_attempts_max,
        expiry_s=settings.outbox_expiry_s,
        waiting_max=settings.outbox_waiting_max,
    )
