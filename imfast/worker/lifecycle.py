"""Start, recovery, drain and stop of a worker."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson
import structlog
import uvloop

from imfast._engine import DataDamagedError, DataFormatError, Engine, PanicException, Ticker
from imfast.access.revocations import Revocations
from imfast.access.sign import signer
from imfast.config.affinity import processor_of
from imfast.config.consumers import consumer_names
from imfast.config.keys import token_key, uses_development_secret
from imfast.config.tls_credentials import credentials_from_document
from imfast.config.worker_document import STOP_SIGNALS, WorkerDocument, feed_path
from imfast.errors import ConfigError, ExitCode, WorkerExit
from imfast.gateway.admission import Admission
from imfast.gateway.authenticate import Authenticator
from imfast.gateway.client_certificates import ClientCertificates
from imfast.gateway.control import Control
from imfast.gateway.tickets import Tickets
from imfast.gateway.verbs import Verbs
from imfast.observe.logs import configure_logs
from imfast.partition import PartitionOwner
from imfast.partition.feed import OutboxFeed
from imfast.worker.drain import Drain
from imfast.worker.faults import Faults
from imfast.worker.node import Node
from imfast.worker.options import engine_options, rate_and_burst
from imfast.worker.tick import Tick

if TYPE_CHECKING:
    from imfast.config.worker_settings import WorkerSettings
    from imfast.gateway.jwks import KeySet

__all__ = ["run_worker"]

log = structlog.get_logger(__name__)

LOCK_PATIENCE_S = 5.0
"""How long a predecessor that is just being killed may still hold a partition's lock."""

REOPEN_DELAY_S = 1.0


class FatalError(Exception):
    """What a restart would not cure."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Worker:
    """Wires one worker together and runs it."""

    def __init__(self, document: WorkerDocument) -> None:
        """Raises FatalError for what no restart cures."""
        settings = document.settings
        self._document = document
        self._control = socket.socket(fileno=document.fds.control)
        self._control.setblocking(False)
        try:
            authenticator = Authenticator(
                algorithm=settings.jwt_algorithm,
                key=token_key(settings),
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway_s=settings.jwt_leeway_s,
                key_set=_key_set(settings),
            )
        except ConfigError as error:
            raise FatalError(str(error), ExitCode.USAGE) from None
        self._engine = Engine(engine_options(document), document.fds.routes)
        self._partitions = {
            number: PartitionOwner(
                self._engine,
                number,
                directory=settings.data_dir / "partitions" / str(number),
                fsync=settings.durability == "fsync",
                dedupe_entries=settings.dedupe_entries_max,
                dedupe_window_ms=int(settings.dedupe_window_s * 1000),
            )
            for number in document.partitions
        }
        tickets = Tickets(settings.data_dir / "run" / "tickets")
        certificates = ClientCertificates(settings.tls_client_user)
        try:
            revocations = Revocations(settings.data_dir)
        except (OSError, ValueError, KeyError) as error:
            text = f"{settings.data_dir}/revocations.json: {error}"
            raise FatalError(text, ExitCode.DATA_DIRECTORY) from None
        self._node = Node(self._engine, revocations, self._tell)
        control = Control(
            self._engine,
            data_dir=settings.data_dir,
            node=self._node,
            revocations=revocations,
            sign=signer(settings),
            page_items_max=settings.page_items_max,
            demo=uses_development_secret(settings),
        )
        verbs = Verbs(self._engine, authenticator, tickets, certificates, revocations, control)
        self._faults = Faults(self._tell_faults)
        self._tick = Tick(
            self._engine,
            self._partitions,
            verbs,
            Admission(self._engine, *rate_and_burst(settings.address_rate, settings.rate_burst_s)),
            self._faults,
            self._lost,
            settings.control_slice_s,
        )
        self._feed = OutboxFeed(
            self._engine, self._partitions, consumer_names(settings.after_commit)
        )
        self._listeners: dict[int, list[int]] = {}
        self._lines = b""
        self._reopening: set[int] = set()
        self._stopped = asyncio.Event()
        self._drain = Drain(self._engine, self._stopped.set)

    async def run(self) -> None:
        """Recovers, serves, and returns when drained or when the supervisor is gone.

        Raises:
            FatalError: what a restart would not cure.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._crash)
        for owner in self._partitions.values():
            self._open(owner)
        self._engine.listen_links(self._document.fds.links)
        if self._document.tls is not None:
            self._engine.set_tls(credentials_from_document(self._document.tls))
        self._adopt(self._document.index)
        if self._document.fds.unix >= 0:
            self._engine.listen_http(self._document.fds.unix)
        loop.add_reader(self._engine.fileno(), Ticker(self._engine, self._tick))
        loop.add_reader(self._control.fileno(), self._control_ready)
        loop.add_signal_handler(signal.SIGTERM, self._leave, self._document.settings.drain_s)
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        self._tell(
            ready=True,
            partitions=list(self._partitions),
            epochs={str(owner.number): owner.epoch for owner in self._partitions.values()},
        )
        # What was made until here lives as long as the worker: no collection need look at it. None
        # is made now: clients wait.
        gc.freeze()
        if self._document.settings.after_commit:
            await self._feed.serve(feed_path(self._document.link_paths[self._document.index]))
        await self._stopped.wait()
        self._feed.close()
        # The loop takes its handlers away when it closes.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def _open(self, owner: PartitionOwner) -> None:
        started = time.monotonic()
        while True:
            try:
                commands = owner.open(self._engine.beat)
                break
            except DataDamagedError as error:
                text = f"partition {owner.number}: {error}"
                raise FatalError(text, ExitCode.DATA_DAMAGED) from None
            except DataFormatError as error:
                text = f"partition {owner.number}: {error}"
                raise FatalError(text, ExitCode.DATA_DIRECTORY) from None
            except OSError as error:
                if time.monotonic() - started > LOCK_PATIENCE_S:
                    text = f"partition {owner.number}: {error}"
                    raise FatalError(text, ExitCode.DATA_DIRECTORY) from None
                self._engine.beat()
                time.sleep(0.02)  # nothing runs on the loop yet
        self._warn_of_archive(owner)
        log.info(
            "partition open",
            partition=owner.number,
            epoch=owner.epoch,
            commands=commands,
            replay_ms=round((time.monotonic() - started) * 1000),
        )

    @staticmethod
    def _warn_of_archive(owner: PartitionOwner) -> None:
        if owner.archive_put_aside is not None:
            log.warning(
                "archive put aside and made anew from the log",
                partition=owner.number,
                reason=owner.archive_put_aside,
            )

    def _lost(self, partition: int) -> None:
        if partition not in self._reopening:
            self._reopening.add(partition)
            self._reopen_later(partition)

    def _reopen_later(self, number: int) -> None:
        asyncio.get_running_loop().call_later(REOPEN_DELAY_S, self._reopen, number)

    def _reopen(self, number: int) -> None:
        """Opens a partition again after a failed sync or a fault: the disk has what counts."""
        owner = self._partitions[number]
        try:
            commands = owner.open(self._engine.beat)
        except (OSError, DataDamagedError, DataFormatError) as error:
            log.error("partition stays closed", partition=number, reason=str(error))
            self._reopen_later(number)
            return
        except Exception as error:
            self._faults.exception("partition_exceptions", error, partition=number)
            self._engine.abandon(number)
            self._reopen_later(number)
            return
        self._reopening.discard(number)
        self._warn_of_archive(owner)
        log.warning("partition open again", partition=number, epoch=owner.epoch, commands=commands)
        self._engine.flush()

    def _adopt(self, index: int) -> None:
        if index not in self._listeners:
            fds = self._document.fds
            self._listeners[index] = [
                self._engine.listen_http(fds.http[index]),
                self._engine.listen_tcp(fds.tcp[index]),
            ]
            if fds.tls:
                self._listeners[index].append(self._engine.listen_tls(fds.tls[index]))

    def _release(self, index: int) -> None:
        for listener in self._listeners.pop(index, []):
            self._engine.release(listener)

    def _control_ready(self) -> None:
        try:
            received = self._control.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            received = b""
        if not received:  # the supervisor is gone
            self._stopped.set()
            return
        *lines, self._lines = (self._lines + received).split(b"\n")
        for line in lines:
            self._obey(orjson.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "adopt" in order:
            self._adopt(order["adopt"])
        elif "release" in order:
            self._release(order["release"])
        elif "drain" in order:
            self._leave(float(order["drain"]))
        elif "retire" in order:
            self._leave(float(order["retire"]), successor=True)
        elif "report" in order:
            self._report()
        elif "tls" in order:
            self._engine.set_tls(credentials_from_document(order["tls"]))
        elif "asked" in order:
            self._node.serve(order["asked"]["number"], order["asked"]["question"])
        elif "answered" in order:
            self._node.answered(order["answered"]["number"], order["answered"]["answer"])

    def _leave(self, seconds: float, *, successor: bool = False) -> None:
        if self._drain.is_begun:
            return
        log.info("draining", seconds=seconds)
        self._listeners.clear()
        self._drain.begin(seconds, successor=successor)
        fds = self._document.fds
        for descriptor in (*fds.http, *fds.tcp, *fds.tls, *([fds.unix] if fds.unix >= 0 else ())):
            socket.socket(fileno=descriptor).close()

    def _report(self) -> None:
        # Whoever asked does not wait for long: better none than to stop serving for it.
        with suppress(OSError):
            self._tell(report={**self._tick.latencies(), "counters": self._engine.stats()})

    def _tell(self, **message: object) -> None:
        try:
            self._control.sendall(orjson.dumps(message) + b"\n")
        except ConnectionError:  # the supervisor is gone
            self._stopped.set()

    def _tell_faults(self, counts: Mapping[str, int]) -> None:
        # Totals: the next line makes up for one that finds no room.
        with suppress(OSError):
            self._tell(faults=counts)

    def _crash(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Ends the process after a fault on the loop: what it left half done must not serve.

        The log has what was acknowledged; the successor folds it again.
        """
        error = context.get("exception")
        panic = isinstance(error, PanicException)
        if error is None:
            log.critical("worker fault", what=context.get("message"))
        else:
            self._faults.exception("panics" if panic else "exceptions", error)
        sys.stderr.flush()
        os._exit(int(WorkerExit.PANIC if panic else WorkerExit.EXCEPTION))


def _key_set(settings: WorkerSettings) -> KeySet | None:
    """The issuer's keys, where they are a set. Loading what reads them takes time."""
    if settings.jwt_jwks_file is None:
        return None
    from imfast.gateway.jwks import KeySet

    return KeySet(settings.jwt_jwks_file)


def _pin(document: WorkerDocument) -> None:
    """Keeps this worker, with the log's thread, on its processor, if it is to have one."""
    affinity = document.settings.cpu_affinity
    processor = processor_of(affinity, document.index, os.sched_getaffinity(0))
    if processor is not None:
        os.sched_setaffinity(0, {processor})  # threads started from now on inherit it
        log.info("pinned", processor=processor)


def run_worker(document: WorkerDocument) -> int:
    """Runs a worker to its end; returns its exit status."""
    settings = document.settings
    configure_logs(settings.log_level, settings.log_format, server=document.server)
    _pin(document)

    async def serve() -> None:
        await Worker(document).run()

    try:
        # Never closed: that takes descriptors, and the process ends without tear-down anyway.
        uvloop.new_event_loop().run_until_complete(serve())
    except FatalError as error:
        with socket.socket(fileno=document.fds.control) as control:
            line = {"fatal": str(error), "exit": int(error.exit_code)}
            with suppress(ConnectionError):  # nobody is left to be told
                control.sendall(orjson.dumps(line) + b"\n")
        return int(error.exit_code)
    return int(ExitCode.OK)
