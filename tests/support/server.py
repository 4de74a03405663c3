"""A real server: `imfast serve` as processes on a directory, to be killed, paused and restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil

from tests.support.deadline import until

__all__ = ["Ready", "Server", "Worker"]

ROOT = Path(__file__).parents[2]

START_SECONDS = 30.0
STOP_SECONDS = 20.0
# A variable in the environment of every process that a server consists of, wherever it was
# reparented to.
MARK = "TEST_SERVER_MARK"


@dataclass(frozen=True)
class Worker:
    """One entry of the ready file."""

    server: str
    pid: int
    partitions: tuple[int, ...]
    epoch: int


@dataclass(frozen=True)
class Ready:
    """The ready file."""

    pid: int
    http: int
    tcp: int
    admin: int
    workers: tuple[Worker, ...]
    # 0 without TLS.
    tls: int = 0

    @classmethod
    def parse(cls, text: str) -> Ready:
        content = json.loads(text)
        ports = content["ports"]
        workers = tuple(
            Worker(one["server"], one["pid"], tuple(one["partitions"]), one["epoch"])
            for one in content["workers"]
        )
        tls = ports.get("tls", 0)
        return cls(content["pid"], ports["http"], ports["tcp"], ports["admin"], workers, tls)

    def owner(self, position: str) -> str:
        """Return the server that owns the partition of a position, ``"<partition>-<index>"``."""
        partition = int(position.partition("-")[0])
        return next(one.server for one in self.workers if partition in one.partitions)


class Server:
    """Starts in `async with`; at its end everything is stopped, and nothing may be left."""

    # The servers of the test that is running, for the report of its failure.
    started: ClassVar[list[Server]] = []

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        workers: int = 2,
        durability: str = "fsync",
        prefix: Sequence[str] = (),
        program: Sequence[str] = ("-m", "imfast"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`arguments` are further flags of `serve`; `prefix` is a program that runs the server.

        `program` is what Python runs in the place of the command `imfast`; `environment` is added.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.ready_file = directory / "ready.json"
        self.arguments = arguments
        self.workers = workers
        self.durability = durability
        self.prefix = prefix
        self.program = program
        self.environment = dict(environment or {})
        self.ready: Ready = Ready(0, 0, 0, 0, ())
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = uuid.uuid4().hex
        self._tokens: dict[str, str] = {}
        Server.started.append(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            status = await self.stop()
            # Failing the test for it would hide why it failed already.
            if kind is None:
                assert status in (0, None), f"the server exited with {status}"
        finally:
            left = self.processes()
            for process in left:
                process.kill()
            assert not left, f"left behind: {[(one.pid, one.cmdline()) for one in left]}"

    def command(self) -> list[str]:
        """The command line, by the contract that every check uses."""
        flags = {
            "--workers": self.workers,
            "--host": "127.0.0.1",
            "--port": 0,
            "--tcp-port": 0,
            "--admin-port": 0,
            "--tls-port": 0,
            "--data-dir": self.data,
            "--durability": self.durability,
            "--ready-file": self.ready_file,
        }
        given = [text for flag, value in flags.items() for text in (flag, str(value))]
        return [*self.prefix, sys.executable, *self.program, "serve", *given, *self.arguments]

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for anything."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("IMFAST_")
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**environment, **self.environment, MARK: self._mark},
                start_new_session=True,
            )
        return self.process

    async def start(self) -> Ready:
        """Start the server and wait until clients can connect."""
        self.ready_file.unlink(missing_ok=True)
        process = self.spawn()

        def look() -> Ready | None:
            assert process.poll() is None, f"the server exited with {process.returncode}"
            return self.read_ready()

        self.ready = await until(look, "the ready file of a new server", timeout=START_SECONDS)
        return self.ready

    def read_ready(self) -> Ready | None:
        """Read the ready file as it is now; None when there is none."""
        try:
            return Ready.parse(self.ready_file.read_text())
        except FileNotFoundError:
            return None

    async def restarted(self, *, timeout: float = START_SECONDS) -> Ready:
        """Wait until the ready file names only living workers, and not those of before."""
        before = {worker.pid for worker in self.ready.workers}

        def look() -> Ready | None:
            ready = self.read_ready()
            if ready is None or {worker.pid for worker in ready.workers} == before:
                return None
            return ready if all(alive(worker.pid) for worker in ready.workers) else None

        self.ready = await until(look, "the ready file after a restart", timeout=timeout)
        return self.ready

    async def stop(self) -> int | None:
        """Stop in an orderly way; return the exit status, None if it was not running."""
        if self.process is None:
            return None
        for worker in self.ready.workers:
            self._signal(worker.pid, signal.SIGCONT)
        process, self.process = self.process, None
        if process.poll() is None:
            # Not `process`: that may be the prefix, which would not pass the signal on.
            self._signal(self.ready.pid or process.pid, signal.SIGTERM)
        try:
            await until(
                lambda: process.poll() is not None, "the server's exit", timeout=STOP_SECONDS
            )
        except AssertionError:
            process.kill()
            process.wait()
            raise
        return process.returncode

    def worker(self, index: int) -> Worker:
        """Return the worker at `index`."""
        return self.ready.workers[index]

    def index_of(self, server: str) -> int:
        """Return the index of the worker that clients know as `server`."""
        return [worker.server for worker in self.ready.workers].index(server)

    def kill_worker(self, index: int) -> None:
        """SIGKILL one worker."""
        os.kill(self.worker(index).pid, signal.SIGKILL)

    async def kill_supervisor(self) -> None:
        """SIGKILL the supervisor; its workers die with it."""
        os.kill(self.ready.pid, signal.SIGKILL)
        await self._gone("all processes after the supervisor was killed")

    async def kill_all(self) -> None:
        """SIGKILL every process at once."""
        for process in self.processes():
            process.kill()
        await self._gone("all processes after they were killed")

    def pause(self, index: int) -> None:
        """SIGSTOP one worker."""
        os.kill(self.worker(index).pid, signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """SIGCONT one worker, if it is still there."""
        self._signal(self.worker(index).pid, signal.SIGCONT)

    def processes(self) -> list[psutil.Process]:
        """Every living process that came from this server."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(MARK) == self._mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of that name."""
        text = self.log.read_text().splitlines()
        found = [json.loads(line) for line in text if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def url(self, scheme: str = "ws") -> str:
        """Return the address for `imfast.connect`."""
        ports = {"tcp": self.ready.tcp, "tls": self.ready.tcp, "wss": self.ready.tls}
        port = ports.get(scheme, self.ready.http)
        return f"{scheme}://127.0.0.1:{port}"

    async def token(self, user: str, *flags: str) -> str:
        """Return a token from `imfast token`, made once per user and flags."""
        name = " ".join((user, *flags))
        if name not in self._tokens:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "imfast", "token", user),
                *("--data-dir", str(self.data), *flags),
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            self._tokens[name] = output.decode().strip()
        return self._tokens[name]

    async def status(self) -> dict[str, Any]:
        """Return what the admin port says."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ready.admin)
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        content: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return content

    async def _gone(self, what: str) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            await until(lambda: process.poll() is not None, what)
        await until(lambda: not self.processes(), what)

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        if alive(pid):
            os.kill(pid, number)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
