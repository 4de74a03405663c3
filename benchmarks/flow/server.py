"""A server to be measured: `imfast serve` in a directory of its own, and tokens for its users."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt

from imfast.bench.generator import Event, Generator
from imfast.bench.target import pss_kib

__all__ = ["ROOT", "Server", "messages_lost"]

ROOT = Path(__file__).parents[2]

START_SECONDS = 30.0
STOP_SECONDS = 60.0
TOKEN_SECONDS = 3600
TOKENS_SPARE = 16
"""Publishers of a fan-out come on top of its connections."""


class Server:
    """Runs while the context lasts; its data is removed afterwards."""

    def __init__(
        self,
        directory: Path,
        *arguments: object,
        workers: int,
        durability: str = "fsync",
    ) -> None:
        """`arguments`: further flags of `imfast serve`."""
        self.directory = directory
        self.data = directory / "data"
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
        given += [str(one) for one in arguments]
        self._command = [sys.executable, "-m", "imfast", "serve", *given]

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        self._start()
        return self

    def _start(self) -> None:
        ready = self.directory / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT
            )
        give_up = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self._process.kill()
                log_text = (self.directory / "server.log").read_text()
                raise RuntimeError(f"the server did not start: {log_text[-2000:]}")
            time.sleep(0.02)
        self._ready = json.loads(ready.read_text())

    def kill_and_start(self) -> dict[str, Any]:
        """Kills the server with all it has in memory; what a partition says of its opening then."""
        self._process.kill()
        self._process.wait()
        self._start()
        lines = (self.directory / "server.log").read_text().splitlines()
        opened = [json.loads(line) for line in lines if '"partition open"' in line]
        return dict(opened[0])

    def status(self) -> dict[str, Any]:
        """What `/v1/status` says."""
        url = f"http://127.0.0.1:{self._ready['ports']['admin']}/v1/status"
        with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
            return dict(json.load(answer))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def port(self, name: str) -> int:
        """`http`, `tcp` or `admin`."""
        port: int = self._ready["ports"][name]
        return port

    def reread(self) -> Self:
        """Looks at who serves now, after a worker was replaced."""
        self._ready = json.loads((self.directory / "ready.json").read_text())
        return self

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker["pid"] for worker in self._ready["workers"]]

    def generator(
        self, scenario: str, transport: str, connections: int, *arguments: object
    ) -> Generator:
        """Starts a run with users that are new to the server, so that nothing is caught up.

        Of a fan-out, `connections` are the subscribers that read.
        """
        given = dict(itertools.pairwise(arguments))
        apart = sum(int(str(given.get(flag, 0))) for flag in ("--stalled", "--publishers"))
        port = self.port("tcp" if transport == "tcp" else "http")
        return Generator(
            scenario,
            *("--transport", transport),
            *("--port", port),
            *("--connections", connections),
            *("--tokens", self.tokens(connections + apart + TOKENS_SPARE)),
            *("--server-pids", ",".join(map(str, self.worker_pids))),
            *arguments,
        )

    def run(self, scenario: str, transport: str, connections: int, *arguments: object) -> Event:
        """Runs a scenario; every message must have arrived, or the figures are worth nothing."""
        with self.generator(scenario, transport, connections, *arguments) as generator:
            figures = generator.result()
        assert not messages_lost(figures), figures
        return figures

    def users(self, count: int) -> list[tuple[str, str]]:
        """Users that never were here before, each with a token."""
        lines = self._tokens(count).read_text().splitlines()
        return [(user, token) for user, _, token in (line.partition(" ") for line in lines[:count])]

    @property
    def http_port(self) -> int:
        """Where WebSockets are served."""
        port: int = self._ready["ports"]["http"]
        return port

    def cpu_ns(self) -> int:
        """What all threads of all workers have spent on processors so far."""
        return sum(
            int(schedstat.read_text().split()[0])
            for pid in self.worker_pids
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )

    def memory_kib(self) -> float:
        """Proportional set size of all workers."""
        return sum(pss_kib(pid) for pid in self.worker_pids)

    def tokens(self, count: int) -> Path:
        """A file of users that never were here before."""
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


def messages_lost(run: Event) -> bool:
    """Whether a message of this run did not arrive, or was refused."""
    return any(run.get(name, 0) for name in ("lost", "failed"))
