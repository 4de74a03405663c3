"""The whole server: opens what outlives a worker, runs the supervisor, cleans up.

The order is that of the cheapest refusal: configuration, secret, data directory, ports. Nothing
is changed on disk before the configuration is known to be usable.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import orjson
import structlog

from imfast.config.keys import ensure_development_secret, uses_development_secret
from imfast.config.schema import Settings, cores
from imfast.config.worker_document import STOP_SIGNALS, Layout
from imfast.errors import ConfigError, DataDirectoryError, InsecureSecretError
from imfast.supervisor.admin import Admin
from imfast.supervisor.data_directory import DataDirectory, unusable
from imfast.supervisor.durable_file import write_atomically
from imfast.supervisor.layout import open_layout
from imfast.supervisor.listeners import (
    Address,
    Links,
    Listeners,
    listen,
    open_links,
    resolve,
)
from imfast.supervisor.open_files import raise_open_files, resolve_connections
from imfast.supervisor.routes import EngineRouteTable, RouteTable
from imfast.supervisor.slot import ready_document
from imfast.supervisor.supervisor import Supervisor, Timing
from imfast.supervisor.worker_process import WORKER_COMMAND

__all__ = ["Running", "run_server"]

log = structlog.get_logger(__name__)

ADMIN_ADDRESS = Address(socket.AF_INET, "127.0.0.1")
"""Status tells too much for strangers, and has no authentication yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that clients can reach, for the announcement on the terminal."""

    settings: Settings
    """Resolved: workers, partitions and connections_max are never None."""
    host: str
    ports: dict[str, int]
    """`http`, `tcp`, `admin`."""


ROUTE_BUCKETS_MIN = 1 << 12
"""512 KiB: as small as is worth while."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What outlives a worker."""

    settings: Settings
    layout: Layout
    links: Links
    listeners: Listeners
    admin: socket.socket
    host: str
    ports: dict[str, int]


async def run_server(
    settings: Settings,
    *,
    announce: Callable[[Running], None],
    command: Sequence[str] = WORKER_COMMAND,
    make_routes: Callable[[int], RouteTable] = EngineRouteTable,
    timing: Timing | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT and the end of the drain.

    Args:
        announce: called once, when clients can connect.
        command: the worker's program, see `WorkerProcess.start`.
        make_routes: makes the route table from its number of buckets.

    Returns:
        0 after a drain, 128 + n when a second signal n ended everything at once.

    Raises:
        StartError: with the reason and the exit code.
    """
    with ExitStack() as stack:
        opened = _open(settings, stack)
        routes = make_routes(_route_buckets(opened.settings))
        stack.callback(routes.close)
        ready = _ReadyFile(opened, announce)
        stack.callback(ready.remove)
        supervisor = Supervisor(
            settings=opened.settings,
            layout=opened.layout,
            listeners=opened.listeners,
            links=opened.links,
            routes=routes,
            on_change=lambda: ready.update(supervisor),
            command=command,
            timing=timing,
        )
        signals = _Signals(supervisor)
        admin = Admin(supervisor, opened.admin, _about(opened))
        await admin.start()
        try:
            await supervisor.run()
        finally:
            await admin.close()
        return signals.status


def _open(settings: Settings, stack: ExitStack) -> _Opened:
    address = resolve(settings.host)
    connections = resolve_connections(settings, raise_open_files())
    if uses_development_secret(settings) and not address.is_loopback:
        raise InsecureSecretError(
            f"option host: {settings.host!r}: others can reach it, and tokens would be signed with"
            " the development secret; set jwt_secret_file, or jwt_algorithm and"
            " jwt_public_key_file"
        )
    if settings.ready_file is not None and not settings.ready_file.parent.is_dir():
        raise ConfigError(f"option ready_file: {settings.ready_file}: its directory does not exist")
    stack.enter_context(DataDirectory(settings.data_dir))
    try:
        layout = open_layout(
            settings.data_dir, partitions=settings.partitions, partitions_default=cores()
        )
        ensure_development_secret(settings)
        links = open_links(settings.data_dir, settings.worker_count)
    except OSError as error:
        raise DataDirectoryError(unusable(settings.data_dir, error)) from None
    stack.callback(links.close)

    workers, backlog = settings.worker_count, settings.accept_backlog
    unsent = settings.socket_unsent_bytes
    http = listen(
        address, settings.port, workers, option="port", backlog=backlog, unsent_bytes=unsent
    )
    stack.callback(_close_all, http)
    tcp = listen(
        address, settings.tcp_port, workers, option="tcp_port", backlog=backlog, unsent_bytes=unsent
    )
    stack.callback(_close_all, tcp)
    [admin] = listen(ADMIN_ADDRESS, settings.admin_port, 1, option="admin_port")
    stack.callback(admin.close)
    listeners = Listeners(http, tcp)

    resolved = settings.model_copy(
        update={
            "workers": workers,
            "partitions": layout.partitions,
            "connections_max": connections,
            "unauthenticated_max": min(settings.unauthenticated_max, connections),
        }
    )
    ports = {**listeners.ports, "admin": admin.getsockname()[1]}
    return _Opened(resolved, layout, links, listeners, admin, address.host, ports)


def _route_buckets(settings: Settings) -> int:
    """The route table's buckets: a power of two with room for every connection's user.

    Untouched pages of it take no memory, but users are spread over all of it by their hash: a
    table much larger than its users costs each of them a page.
    """
    if settings.route_buckets is not None:
        return settings.route_buckets
    connections = settings.worker_count * (settings.connections_max or 0)
    return 1 << max(ROUTE_BUCKETS_MIN, connections).bit_length() - 1


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for listener in sockets:
        listener.close()


def _about(opened: _Opened) -> dict[str, object]:
    return {
        "node": opened.settings.node,
        "ports": opened.ports,
        "durability": opened.settings.durability,
        "partitions": opened.layout.partitions,
        "layout_generation": opened.layout.generation,
    }


class _ReadyFile:
    """Tells others that clients can connect: once on the terminal, always in the ready file."""

    def __init__(self, opened: _Opened, announce: Callable[[Running], None]) -> None:
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
    """The first SIGTERM or SIGINT drains, the second ends at once."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._received = 0
        self.status = 0
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._receive, number)
        # Whoever started this process may have blocked them; it could not be stopped then.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _receive(self, number: int) -> None:
        self._received += 1
        if self._received > 1:
            self.status = 128 + number
        self._supervisor.stop()
