"""A server to be measured: `imfast serve` in a directory of its own, and tokens for its users."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt

from benchmarks.flow.programs import Figures, Generator

__all__ = ["Server"]

START_SECONDS = 30.0
TOKEN_SECONDS = 3600


class Server:
    """Runs while the context lasts; its data is removed afterwards."""

    def __init__(
        self, directory: Path, generator: Path, *, workers: int, durability: str = "fsync"
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self._generator = generator
        self._runs = itertools.count()
        self._ready: dict[str, Any] = {}
        flags = {
            "--workers": workers,
            "--host": "127.0.0.1",
            "--port": 0,
            "--tcp-port": 0,
            "--admin-port": 0,
            "--data-dir": self.data,
            "--durability": durability,
            "--ready-file": directory / "ready.json",
        }
        given = [str(text) for flag in flags.items() for text in flag]
        self._command = [sys.executable, "-m", "imfast", "serve", *given]

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        ready = self.directory / "ready.json"
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        give_up = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self._process.kill()
                log_text = (self.directory / "server.log").read_text()
                raise RuntimeError(f"the server did not start: {log_text[-2000:]}")
            time.sleep(0.02)
        self._ready = json.loads(ready.read_text())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker["pid"] for worker in self._ready["workers"]]

    def generator(
        self, scenario: str, transport: str, connections: int, *arguments: object
    ) -> Generator:
        """Starts a run with users that never were here before, so that nothing is caught up.

        Of `fanout`, `connections` counts the publisher too.
        """
        port = self._ready["ports"]["tcp" if transport == "tcp" else "http"]
        return Generator.start(
            self._generator,
            scenario,
            *("--transport", transport),
            *("--port", port),
            *("--tokens", self._tokens(connections)),
            *("--server-pids", ",".join(map(str, self.worker_pids))),
            *arguments,
        )

    def run(self, scenario: str, transport: str, connections: int, *arguments: object) -> Figures:
        """Runs a scenario; every message must have arrived, or the figures are worth nothing."""
        with self.generator(scenario, transport, connections, *arguments) as generator:
            figures = generator.result()
        assert figures.get("lost", 0) == 0, figures
        assert figures.get("failed", 0) == 0, figures
        return figures

    def memory_kib(self) -> float:
        """Proportional set size of all workers."""
        return sum(pss_kib(pid) for pid in self.worker_pids)

    def _tokens(self, count: int) -> Path:
        run = next(self._runs)
        # The secret is the file without its line end.
        secret = (self.data / "secret.key").read_bytes().rstrip(b"\n")
        now = int(time.time())
        lines = []
        for number in range(count):
            user = f"r{run}-{number}"
            claims = {"sub": user, "iat": now, "exp": now + TOKEN_SECONDS}
            lines.append(f"{user} {jwt.encode(claims, secret, 'HS256')}\n")
        path = self.directory / f"tokens-{run}"
        path.write_text("".join(lines))
        return path


def pss_kib(pid: int) -> float:
    """Memory of one process, shared pages in proportion, from `smaps_rollup`."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError(f"no Pss of process {pid}")
