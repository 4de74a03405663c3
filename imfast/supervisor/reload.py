"""New configuration, or newly installed code, worker by worker, while the server serves.

`imfast reload` or SIGHUP. Listening sockets, routes and links stay where they are. One worker after
the other is told to retire: a sibling accepts for it, its clients are sent away in shares and come
back to others, and when they are gone a successor, forked from a process that has loaded what is
installed now, takes over its partitions. Where the first successor does not become ready the old
configuration and the old code go on. The supervisor itself keeps the code that it was started with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import orjson
import structlog

from imfast.config.durable_file import write_atomically
from imfast.config.keys import token_key
from imfast.config.server_settings import ServerSettings
from imfast.errors import ConfigError
from imfast.observe.logs import configure_logs
from imfast.supervisor.data_directory import reload_outcome
from imfast.supervisor.open_files import raise_open_files, resolve_connections
from imfast.supervisor.opened import Opened, resolved
from imfast.supervisor.supervisor import Supervisor
from imfast.supervisor.zygote import Child, Zygote

__all__ = ["FIXED", "Reload"]

log = structlog.get_logger(__name__)

FIXED = (
    "host",
    "port",
    "tcp_port",
    "tls_port",
    "unix_path",
    "unix_mode",
    "admin_port",
    "accept_backlog",
    "socket_unsent_bytes",
    "node",
    "role",
    "workers",
    "spare_workers",
    "partitions",
    "data_dir",
    "ready_file",
    "route_buckets",
)
"""What sockets, files and shared memory were made from: only a restart changes it."""


class Reload:
    """Reloads one after the other. Several wishes while one runs are one more reload."""

    def __init__(
        self,
        supervisor: Supervisor,
        opened: Opened,
        load: Callable[[], ServerSettings],
        renewed: Callable[[Opened], Awaitable[None]],
    ) -> None:
        """`load` reads flags, environment and file again; it raises ConfigError. `renewed` is
        told what every worker was made from, once they all are.
        """
        self._supervisor = supervisor
        self._opened = opened
        self._load = load
        self._tell_renewed = renewed
        self._wanted = asyncio.Event()
        self._workers_wanted = False
        self._number = 0
        self._made: list[Zygote] = []
        """Zygotes of reloads that are still needed; the server closes its first one itself."""
        reload_outcome(opened.settings.data_dir).unlink(missing_ok=True)

    def request(self) -> None:
        """Reloads as soon as a reload under way is over."""
        self._workers_wanted = True
        self._wanted.set()

    def request_certificates(self) -> None:
        """Reads the files of TLS again, as soon as a reload under way is over."""
        self._wanted.set()

    async def run(self) -> None:
        """Serves requests until it is cancelled."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._reload()
        finally:
            for zygote in self._made:
                zygote.close()

    async def _reload(self) -> None:
        error: str | None = None
        try:
            if self._workers_wanted:
                self._workers_wanted = False
                await self._take_over(self._renewed())
            else:
                self._supervisor.reload_certificates()
        except ConfigError as refused:
            error = str(refused)
            log.error("reload_refused", reason=error)
        else:
            log.info("reloaded", workers=len(self._supervisor.slots))
        self._number += 1
        content = orjson.dumps({"number": self._number, "error": error})
        with suppress(OSError):  # of a full disk the log tells
            path = reload_outcome(self._opened.settings.data_dir)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, content, mode=0o600, durable=False)

    def _renewed(self) -> Opened:
        """What workers are made from under the configuration of now.

        Raises:
            ConfigError: it is not usable, or changes what only a restart can change.
        """
        present, wanted = self._opened.settings, self._load()
        changed = [name for name in FIXED if self._differs(name, present, wanted)]
        if changed:
            raise ConfigError(
                "\n".join(
                    f"option {name}: {present.options[name]!r} cannot become"
                    f" {wanted.options[name]!r} by a reload; stop the server and start it"
                    for name in changed
                )
            )
        token_key(wanted)
        tls = self._opened.tls
        if (tls is not None) != bool(wanted.tls_cert):
            raise ConfigError(
                "option tls_cert: TLS is switched on and off by a restart, not by a reload"
            )
        return replace(
            self._opened,
            settings=resolved(
                wanted,
                partitions=present.partitions,
                connections=resolve_connections(wanted, raise_open_files()),
            ),
            zygote=self._opened.zygote.another(),
            tls=tls.under(wanted) if tls else None,
        )

    @staticmethod
    def _differs(name: str, present: ServerSettings, wanted: ServerSettings) -> bool:
        before, after = present.options[name], wanted.options[name]
        # None leaves these two to the machine and the layout, which were asked at the start.
        left_open = after is None and name in ("workers", "partitions")
        return bool(before != after) and not left_open

    async def _take_over(self, renewed: Opened) -> None:
        """Replaces every worker.

        Raises:
            ConfigError: what is installed, or the configuration, does not start.
        """
        former = self._opened
        try:
            first = await self._first_of(renewed)
            await self._supervisor.renew(renewed, first)
            for index, slot in enumerate(self._supervisor.slots):
                otherwise = former if index == 0 else None
                if not await self._supervisor.replace(slot, otherwise) and otherwise:
                    raise ConfigError(
                        f"worker {slot.server} does not start with what is installed or configured"
                        " now; the server goes on as it was; its log has the reason"
                    )
        except ConfigError:
            renewed.zygote.close()
            raise
        self._opened = renewed
        configure_logs(renewed.settings.log_level, renewed.settings.log_format)
        self._made.append(renewed.zygote)
        if former.zygote in self._made:
            self._made.remove(former.zygote)
        former.zygote.close()
        await self._tell_renewed(renewed)

    async def _first_of(self, renewed: Opened) -> Child:
        """Waits for a first worker: what is installed can be loaded.

        Raises:
            ConfigError: it cannot.
        """
        try:
            renewed.zygote.start()
            return await asyncio.to_thread(renewed.fork)
        except OSError as error:
            raise ConfigError(f"what is installed now cannot be loaded: {error}") from None
