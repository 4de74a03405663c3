"""What a peer has to say of itself, and a running one that the load generator measures."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.flow.server import ROOT
from imfast.bench.generator import Event, Generator
from imfast.bench.target import pss_kib

__all__ = ["HOME", "INSTALL", "Peer", "PythonEnvironment", "RunningPeer", "cpu_seconds"]

HOME = ROOT / ".peers"
"""Everything that is installed, and nothing outside of it."""

INSTALL = "python -m benchmarks.peers.install"
START_SECONDS = 30.0
STARTS_MAX = 3
"""A port found free may be taken before the server has it."""


class Peer(ABC):
    """A server that does the same work. Each is one module of this package."""

    name: ClassVar[str]
    transport: ClassVar[str]
    """What the load generator calls its protocol."""
    guarantee: ClassVar[str]
    settings: ClassVar[str]
    """What differs from its defaults, and why."""
    slow: ClassVar[bool] = False
    """Whether a window of messages to thousands takes it seconds: its runs have to be longer."""

    @abstractmethod
    def install(self) -> None:
        """Installs it under `HOME`; raises `OSError` or `CalledProcessError` where it cannot."""

    @abstractmethod
    def version(self) -> str | None:
        """Its version; none while it is not installed."""

    @abstractmethod
    def command(self, directory: Path, port: int) -> Sequence[str | Path]:
        """What starts it; `directory` is its own, for its configuration."""

    def environment(self) -> dict[str, str]:
        """Variables in addition to ours."""
        return {}

    def credential(self, _user: str) -> str:
        """What `_user` shows when it connects; empty where the server asks for nothing."""
        return ""


class RunningPeer:
    """Runs while the context lasts."""

    def __init__(self, peer: Peer, directory: Path) -> None:
        self._peer = peer
        self._directory = directory
        self._runs = itertools.count()

    def __enter__(self) -> Self:
        for _ in range(STARTS_MAX):
            if self._start():
                return self
        log = (self._directory / "server.log").read_text()
        raise RuntimeError(f"{self._peer.name} did not start: {log[-2000:]}")

    def _start(self) -> bool:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._port = _free_port()
        with (self._directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                list(self._peer.command(self._directory, self._port)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=os.environ | self._peer.environment(),
                # A group to be ended together. Not a session: the kernel gives each session its
                # own share of a busy processor, and imfast shares the generator's.
                process_group=0,
            )
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=1) as probe:
                    # A port that nobody listens on yet can be given to the probe itself.
                    if probe.getsockname() != probe.getpeername():
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        self._stop()
        return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _stop(self) -> None:
        # Whatever it started ends with it.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def pids(self) -> list[int]:
        """The server and all processes that it started."""
        found = [self._process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def memory_kib(self) -> float:
        """Proportional set size of all its processes."""
        return sum(pss_kib(pid) for pid in self.pids)

    def cpu_seconds(self) -> float:
        """Processor time of all threads of all its processes."""
        return cpu_seconds(self.pids)

    def generator(self, scenario: str, connections: int, *arguments: object) -> Generator:
        """Starts a run. Of `fanout`, `connections` counts the publisher too."""
        return Generator(
            scenario,
            *("--transport", self._peer.transport),
            *("--port", self._port),
            *("--tokens", self._tokens(scenario, connections)),
            *("--server-pids", ",".join(map(str, self.pids))),
            *arguments,
        )

    def run(self, scenario: str, connections: int, *arguments: object) -> Event:
        """Runs a scenario; what was lost stands in the figures."""
        with self.generator(scenario, connections, *arguments) as generator:
            return generator.result()

    def _tokens(self, scenario: str, connections: int) -> Path:
        """A line `user topic credential` for each connection; the first of a fan-out publishes."""
        lines = []
        for number in range(connections):
            user = f"u{number}"
            topic = "fan" if scenario == "fanout" and number > 0 else user
            lines.append(f"{user} {topic} {self._peer.credential(user)}".rstrip() + "\n")
        path = self._directory / f"tokens-{next(self._runs)}"
        path.write_text("".join(lines))
        return path


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time of all threads of `pids`, exact, where ticks alias with paced load."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                # A thread that ended while we looked.
                continue
    return total / 1e9


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PythonEnvironment:
    """A virtual environment of the peers that are Python libraries."""

    def __init__(self, directory: str = "venv", interpreter: Path | None = None) -> None:
        self.directory = HOME / directory
        self._interpreter = interpreter or Path(sys.executable)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin/python"

    def install(self, *packages: str) -> None:
        """Installs the newest releases of `packages`."""
        if not self.python.exists():
            subprocess.run([self._interpreter, "-m", "venv", self.directory], check=True)
        subprocess.run([self.python, "-m", "pip", "install", "--quiet", *packages], check=True)

    def version(self, *packages: str) -> str | None:
        """Versions of `packages`; none where one is missing."""
        found = []
        for package in packages:
            name = package.replace("-", "_")
            info = next(self.directory.glob(f"lib/*/site-packages/{name}-*.dist-info"), None)
            if info is None:
                return None
            found.append(f"{package} {info.name.removesuffix('.dist-info').split('-')[1]}")
        return ", ".join(found)

    def server(self, name: str) -> list[str | Path]:
        """The command for a program of `servers/`, optimised as release builds are."""
        return [self.python, "-O", Path(__file__).parent / "servers" / name]
