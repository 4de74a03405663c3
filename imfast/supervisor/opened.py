"""What outlives a worker, opened in the order of the cheapest refusal, and the first workers.

Configuration, secret, data directory, ports: nothing is changed on disk before the configuration
is known to be usable. Then every worker is told to start at once: until it serves, somebody waits.
Whatever else the supervisor needs is loaded after that, beside them; so this module and all that it
imports stay clear of asyncio, logging and the admin's HTTP server.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imfast.config.affinity import cores
from imfast.config.keys import ensure_development_secret, uses_development_secret
from imfast.config.server_settings import ServerSettings
from imfast.config.worker_document import Layout, WorkerDocument, WorkerSockets, partitions_of
from imfast.errors import ConfigError, DataDirectoryError, InsecureSecretError
from imfast.supervisor.data_directory import DataDirectory, unusable
from imfast.supervisor.layout import open_layout
from imfast.supervisor.listeners import (
    Address,
    Links,
    Listeners,
    close_unix,
    listen,
    listen_unix,
    open_links,
    resolve,
)
from imfast.supervisor.open_files import raise_open_files, resolve_connections
from imfast.supervisor.routes import EngineRouteTable, RouteTable
from imfast.supervisor.zygote import Child, Zygote

if TYPE_CHECKING:
    from imfast.supervisor.tls import TlsKeeper

__all__ = ["Opened", "open_server", "resolved"]

ADMIN_ADDRESS = Address(socket.AF_INET, "127.0.0.1")
"""Status tells too much for strangers, and has no authentication yet."""

ROUTE_BUCKETS_MIN = 1 << 12
"""512 KiB: as small as is worth while."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A server's sockets, files and memory, and how workers get them."""

    settings: ServerSettings
    """Resolved: workers, partitions and connections_max are never None."""
    layout: Layout
    links: Links
    listeners: Listeners
    routes: RouteTable
    admin: socket.socket
    host: str
    ports: dict[str, int]
    """`http`, `tcp`, `admin`, and `tls` where there is TLS."""
    zygote: Zygote
    tls: TlsKeeper | None = None

    def server_name(self, index: int) -> str:
        """What clients of worker `index` see in `connected`."""
        return f"{self.settings.node}.w{index}"

    def partitions(self, index: int) -> tuple[int, ...]:
        """Those that worker `index` owns."""
        return partitions_of(index, self.settings.worker_count, self.layout.partitions)

    def fork(self) -> Child:
        """Starts a worker that may become any slot's.

        Raises:
            OSError: see `Zygote.fork`.
        """
        return self.zygote.fork(
            [
                *self.listeners.descriptors,
                *(link.fileno() for link in self.links.sockets),
                self.routes.descriptor,
            ]
        )

    def give(self, child: Child, index: int, incarnation: int) -> None:
        """Tells a worker what to be, once.

        Raises:
            OSError: it has ended already.
        """
        with child.document as pipe:
            pipe.write(self._document(child, index, incarnation).encode())

    def first_workers(self) -> list[Child]:
        """Starts the first worker of every slot, up to one that cannot be started.

        The supervisor tries that one again, and says why it fails.
        """
        children: list[Child] = []
        try:
            for index in range(self.settings.worker_count):
                child = self.fork()
                children.append(child)
                self.give(child, index, incarnation=1)
        except OSError:
            return children
        return children

    def _document(self, child: Child, index: int, incarnation: int) -> WorkerDocument:
        numbers, listeners = child.numbers, self.listeners
        return WorkerDocument(
            index=index,
            incarnation=incarnation,
            server=self.server_name(index),
            workers=self.settings.worker_count,
            partitions=self.partitions(index),
            supervisor_pid=os.getpid(),
            link_paths=tuple(map(str, self.links.paths)),
            fds=WorkerSockets(
                http=tuple(numbers[listener.fileno()] for listener in listeners.http),
                tcp=tuple(numbers[listener.fileno()] for listener in listeners.tcp),
                links=numbers[self.links.sockets[index].fileno()],
                control=child.control_number,
                routes=numbers[self.routes.descriptor],
                tls=tuple(numbers[listener.fileno()] for listener in listeners.tls),
                unix=-1 if listeners.unix is None else numbers[listeners.unix.fileno()],
            ),
            layout=self.layout,
            options=self.settings.options,
            tls=self.tls.document() if self.tls else None,
        )


@contextmanager
def open_server(
    settings: ServerSettings,
    zygote: Zygote,
    *,
    make_routes: Callable[[int], RouteTable] = EngineRouteTable,
) -> Iterator[Opened]:
    """Opens everything, and closes it in the end. Workers die with this process, at the latest.

    Args:
        zygote: closed in the end too.
        make_routes: makes the route table from its number of buckets.

    Raises:
        StartError: with the reason and the exit code.
    """
    with ExitStack() as stack:
        stack.callback(zygote.close)
        yield _open(settings, zygote, make_routes, stack)


def _open(
    settings: ServerSettings,
    zygote: Zygote,
    make_routes: Callable[[int], RouteTable],
    stack: ExitStack,
) -> Opened:
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
    tls = _open_tls(settings)
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
    tls_sockets: list[socket.socket] = []
    if tls is not None:
        tls_sockets = listen(
            address,
            settings.tls_port,
            workers,
            option="tls_port",
            backlog=backlog,
            unsent_bytes=unsent,
        )
        stack.callback(_close_all, tls_sockets)
    unix = None
    if settings.unix_path is not None:
        unix = listen_unix(settings.unix_path, int(settings.unix_mode, 8), backlog=backlog)
        stack.callback(close_unix, unix, settings.unix_path)
    listeners = Listeners(http, tcp, tls_sockets, unix)

    known = resolved(settings, partitions=layout.partitions, connections=connections)
    ports = {**listeners.ports, "admin": admin.getsockname()[1]}
    routes = make_routes(_route_buckets(known))
    stack.callback(routes.close)
    return Opened(
        settings=known,
        layout=layout,
        links=links,
        listeners=listeners,
        routes=routes,
        admin=admin,
        host=address.host,
        ports=ports,
        zygote=zygote,
        tls=tls,
    )


def resolved(
    settings: ServerSettings, *, partitions: int | None, connections: int
) -> ServerSettings:
    """The settings with everything in place of what was left to the machine and the layout."""
    return settings.resolved(
        workers=settings.worker_count,
        partitions=partitions,
        connections_max=connections,
        unauthenticated_max=min(settings.unauthenticated_max, connections),
    )


def _open_tls(settings: ServerSettings) -> TlsKeeper | None:
    if not settings.tls_cert:
        return None
    # Only here: it loads what reads certificates.
    from imfast.supervisor.tls import TlsKeeper

    return TlsKeeper(settings)


def _route_buckets(settings: ServerSettings) -> int:
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
