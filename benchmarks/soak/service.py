"""`imfast serve` as a service manager runs it: started again when it ends, on the same ports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt

__all__ = ["Service", "WorkerInfo"]

START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class WorkerInfo:
    """A worker as the ready file tells it."""

    server: str
    pid: int
    partitions: tuple[int, ...]


class Service:
    """A server that is up again as soon as it can be, whatever is killed."""

    def __init__(self, directory: Path, *arguments: str, workers: int = 2) -> None:
        """`arguments` are further flags of `serve`."""
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "server.log"
        self._ready_file = directory / "ready.json"
        self._arguments = arguments
        self._workers = workers
        self._ports = {"http": 0, "tcp": 0, "admin": 0}
        self._process: subprocess.Popen[bytes] | None = None
        self._manager: asyncio.Task[None] | None = None
        self.spawned_at = 0.0
        """When the supervisor of now was started, on the monotonic clock."""

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._spawn()
        ready = await self.wait_ready(frozenset())
        self._ports = ready["ports"]
        # Every start from now on has the same command line, as a service's has: not port 0.
        await asyncio.to_thread(self._stop)
        self._spawn()
        await self.wait_ready(frozenset())
        self._manager = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._manager is not None:
            self._manager.cancel()
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Workers die with their supervisor.
            process.kill()
            process.wait()

    def _spawn(self) -> None:
        flags = {
            "--workers": self._workers,
            "--host": "127.0.0.1",
            "--port": self._ports["http"],
            "--tcp-port": self._ports["tcp"],
            "--admin-port": self._ports["admin"],
            "--data-dir": self.data,
            "--durability": "fsync",
            "--ready-file": self._ready_file,
        }
        given = [str(text) for flag in flags.items() for text in flag]
        self._ready_file.unlink(missing_ok=True)
        self.spawned_at = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "imfast", "serve", *given, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _keep(self) -> None:
        """Start the server again whenever it has ended: at once, as with `RestartSec=0`."""
        while True:
            if self._process is not None and self._process.poll() is not None:
                self._spawn()
            await asyncio.sleep(LOOK_SECONDS)

    async def wait_ready(self, before: frozenset[int]) -> dict[str, Any]:
        """Wait until all workers serve and none of `before` is among them; return what it says."""
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            ready = self.ready()
            if ready is not None and before.isdisjoint(w["pid"] for w in ready["workers"]):
                return ready
            await asyncio.sleep(LOOK_SECONDS)
        log = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the server is not ready after {START_SECONDS} s: {log}")

    def ready(self) -> dict[str, Any] | None:
        """Read the ready file; None when the server is not ready."""
        try:
            content: dict[str, Any] = json.loads(self._ready_file.read_text())
        except FileNotFoundError:
            return None
        return content

    def workers(self) -> list[WorkerInfo]:
        """Tell the workers of a server that is ready."""
        ready = self.ready()
        if ready is None:
            return []
        return [
            WorkerInfo(one["server"], one["pid"], tuple(one["partitions"]))
            for one in ready["workers"]
        ]

    def port(self, transport: str) -> int:
        """Return the port of a transport of the generator."""
        return self._ports["tcp" if transport == "tcp" else "http"]

    @property
    def url(self) -> str:
        """The address for `imfast.connect`."""
        return f"ws://127.0.0.1:{self._ports['http']}"

    @property
    def supervisor_pid(self) -> int:
        """The supervisor of now; 0 when none runs."""
        return self._process.pid if self._process is not None else 0

    def worker_pids(self) -> list[int]:
        """Tell the workers of now, also of a server that is not ready."""
        if self._process is None:
            return []
        pid = self._process.pid
        try:
            return [
                int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            ]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor; its workers die with it."""
        if self._process is not None:
            self._process.kill()

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Signal workers; one that is gone already is passed over."""
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def memory_kib(self) -> float:
        """Return the proportional set size of all processes."""
        pids = [worker.pid for worker in self.workers()]
        if self._process is not None:
            pids.append(self._process.pid)
        return sum(pss_kib(pid) for pid in pids)

    def token(self, user: str, *, seconds: float) -> str:
        """Sign a token that lives as long as the run."""
        # The secret is the file without its line end.
        secret = (self.data / "secret.key").read_bytes().rstrip(b"\n")
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + int(seconds) + 3600}
        return jwt.encode(claims, secret, "HS256")


def pss_kib(pid: int) -> float:
    """Memory of one process, shared pages in proportion; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
