"""The whole server: the supervisor, the admin's endpoint, the ready file, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import termios
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import orjson
import structlog

from imfast.config.durable_file import write_atomically
from imfast.config.server_settings import ServerSettings
from imfast.config.worker_document import STOP_SIGNALS
from imfast.supervisor.consumers import Consumers
from imfast.supervisor.opened import Opened
from imfast.supervisor.reload import Reload
from imfast.supervisor.slot import ready_document
from imfast.supervisor.supervisor import Supervisor, Timing
from imfast.supervisor.zygote import Child

__all__ = ["Running", "run_server"]

log = structlog.get_logger(__name__)

ADMIN_DELAY_S = 10.0
"""When the admin's endpoint is loaded though nobody has asked it yet. That takes the processor for
longer than all of a worker's start, and clients come back just then; who asks earlier has it loaded
at once, and waits in its accept queue."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that clients can reach, for the announcement on the terminal."""

    settings: ServerSettings
    """Resolved: workers, partitions and connections_max are never None."""
    host: str
    ports: dict[str, int]
    """`http`, `tcp`, `admin`."""


async def run_server(
    opened: Opened,
    first: Sequence[Child],
    *,
    announce: Callable[[Running], None],
    load: Callable[[], ServerSettings],
    timing: Timing | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT and the end of the drain. SIGHUP reloads.

    Args:
        first: the workers that `opened` has started.
        announce: called once, when clients can connect.
        load: reads the configuration again; raises ConfigError.

    Returns:
        0 after a drain, 128 + n when a second signal n ended everything at once.

    Raises:
        StartError: with the reason and the exit code.
    """
    with ExitStack() as stack:
        ready = _ReadyFile(opened, announce)
        stack.callback(ready.remove)
        supervisor = Supervisor(
            opened=opened, first=first, on_change=lambda: ready.update(supervisor), timing=timing
        )
        consumers = Consumers(opened)
        reload = Reload(supervisor, opened, load, consumers.renew)
        reloading = asyncio.create_task(reload.run())
        signals = _Signals(supervisor, reload)
        admin = asyncio.create_task(_serve_admin(opened, supervisor, consumers))
        # A server that cannot be looked at must not run on unseen.
        admin.add_done_callback(lambda _: None if supervisor.is_stopping else supervisor.stop())
        try:
            async with consumers:
                await supervisor.run()
        finally:
            for task in (admin, reloading):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return signals.status


async def _serve_admin(opened: Opened, supervisor: Supervisor, consumers: Consumers) -> None:
    await _asked(opened.admin, ADMIN_DELAY_S)
    from imfast.supervisor.admin import Admin

    admin = Admin(supervisor, consumers, opened.admin, opened.settings.data_dir, _about(opened))
    try:
        await admin.start()
        await asyncio.Event().wait()
    finally:
        await admin.close()


async def _asked(listener: socket.socket, patience_s: float) -> None:
    """Returns when somebody has connected to a listening socket, or patience is over."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(listener.fileno(), asked.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), patience_s)
    finally:
        loop.remove_reader(listener.fileno())


def _about(opened: Opened) -> dict[str, object]:
    return {
        "node": opened.settings.node,
        "ports": opened.ports,
        "durability": opened.settings.durability,
        "partitions": opened.layout.partitions,
        "layout_generation": opened.layout.generation,
    }


class _ReadyFile:
    """Tells others that clients can connect: once on the terminal, always in the ready file."""

    def __init__(self, opened: Opened, announce: Callable[[Running], None]) -> None:
        self._path = opened.settings.ready_file
        self._ports = opened.ports
        self._announce: Callable[[], None] | None = partial(
            announce, Running(opened.settings, opened.host, opened.ports)
        )
        self.remove()  # a killed server's file names processes that are gone

    def update(self, supervisor: Supervisor) -> None:
        """All workers are ready, for the first time or again."""
        if self._path is not None:
            document = ready_document(os.getpid(), self._ports, supervisor.slots)
            try:
                content = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
                write_atomically(self._path, content, mode=0o644, durable=False)
            except OSError as error:
                # Clients are served all the same; a full disk must not end that.
                log.error("ready_file_not_written", path=str(self._path), error=str(error))
        announce, self._announce = self._announce, None
        if announce is not None:
            announce()

    def remove(self) -> None:
        """Nobody is served any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Signals:
    """The first SIGTERM or SIGINT drains, the second ends at once. SIGHUP and SIGUSR1 reload."""

    def __init__(self, supervisor: Supervisor, reload: Reload) -> None:
        self._supervisor = supervisor
        self._reload = reload
        self._has_terminal = os.isatty(0)
        self._received = 0
        self.status = 0
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._receive, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR1, reload.request_certificates)
        # Whoever started this process may have blocked them; it could not be stopped then.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _hang_up(self) -> None:
        """Told by `imfast reload`, or by the end of the terminal that this was started in."""
        if self._has_terminal and not _has_terminal_still():
            self._receive(signal.SIGHUP)
        else:
            self._reload.request()

    def _receive(self, number: int) -> None:
        self._received += 1
        if self._received > 1:
            self.status = 128 + number
        self._supervisor.stop()


def _has_terminal_still() -> bool:
    try:
        termios.tcgetattr(0)
    except termios.error:
        return False
    return True
